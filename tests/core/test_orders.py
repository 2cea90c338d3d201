"""docs/protocol.md, Around the lease: switchover, promotion, pause, preemption, stopping."""

from dataclasses import replace

import pytest

from edge.core import peers
from edge.core.effects import Answer, Leave, Report, StopDuty
from edge.core.events import (
    DutyStarted,
    DutyStopped,
    PauseOrder,
    PromoteOrder,
    StopOrder,
    SwitchoverOrder,
    Woke,
)
from edge.core.model import Kind, Member, Pause, Policy, Role, Saved
from tests.core.lab import (
    CLAIM_AFTER,
    TIMING,
    Lab,
    hot_lab,
    of_kind,
    pair_group,
    record,
    standby_lab,
    three_group,
    with_standby,
    witness_group,
)


def only_answer(lab: Lab) -> Answer:
    (answer,) = lab.found(Answer)
    return answer


# Planned switchover


def test_a_switchover_stops_the_outputs_before_it_releases() -> None:
    lab = with_standby()
    effects = lab.order(SwitchoverOrder("black"))
    assert of_kind(effects, StopDuty)
    assert not lab.published(Kind.RELEASE)
    assert lab.role() is Role.HOT
    lab.tell(DutyStopped(1))
    assert lab.role() is Role.STANDBY
    released = lab.published(Kind.RELEASE)
    assert {each.link.broker for each in released} == {"white", "black", "router"}
    assert {each.record.to for each in released} == {"black"}


def test_the_lease_is_kept_until_the_outputs_have_stopped() -> None:
    lab = with_standby()
    lab.order(SwitchoverOrder("black"))
    lab.wait(3)
    assert lab.role() is Role.HOT
    assert lab.votes() == 3


def test_the_target_claims_at_once_and_without_its_stagger() -> None:
    lab = standby_lab(me="white")
    lab.foreign_everywhere(Kind.RELEASE, to="white", term=4)
    lab.tell(Woke())
    assert lab.state.tenure is not None
    assert lab.state.tenure.reason == "switchover"


def test_the_target_waits_for_the_releases_that_are_still_under_way() -> None:
    """A node that stops takes its own broker with it, before the claim there has counted."""
    lab = standby_lab(me="white")
    lab.echoes = False
    for broker in ("white", "black"):
        lab.foreign(broker, Kind.RELEASE, to="white", term=4)
    lab.tell(Woke())
    claims = {each.link.broker: each for each in lab.published(Kind.CLAIM)}
    assert claims.keys() == {"white", "black"}
    lab.lose("black")
    lab.echo(claims["white"])
    assert not lab.published(Kind.RELEASE)
    lab.echoes = True
    lab.foreign("router", Kind.RELEASE, to="white", term=4)
    lab.tell(Woke())
    assert lab.role() is Role.HOT
    assert lab.state.term == 5


def after_a_first_attempt(lab: Lab) -> None:
    """Called by name, and nothing came back in time: given up, and its claims released."""
    lab.echoes = False
    lab.foreign_everywhere(Kind.RELEASE, to="white", term=4)
    lab.wait(TIMING.claim_timeout + 0.001)
    assert lab.state.attempt is None
    lab.echoes = True
    for sent in [*lab.published(Kind.CLAIM), *lab.published(Kind.RELEASE)]:
        lab.echo(sent)


def test_the_second_attempt_of_a_switchover_is_one_as_well() -> None:
    lab = standby_lab(me="white")
    called_at = lab.now
    after_a_first_attempt(lab)
    lab.wait(TIMING.backoff_max + CLAIM_AFTER)
    assert lab.state.tenure is not None
    assert lab.state.term == 6
    assert lab.state.tenure.reason == "switchover"
    assert lab.state.tenure.noticed_at == called_at


def test_a_second_attempt_has_a_cause_of_its_own_when_another_node_has_tried() -> None:
    lab = standby_lab(me="white")
    after_a_first_attempt(lab)
    lab.foreign_everywhere(Kind.CLAIM, term=7)
    lab.foreign_everywhere(Kind.RELEASE, term=7)
    lab.wait(TIMING.backoff_max + CLAIM_AFTER)
    assert lab.state.tenure is not None
    assert lab.state.term == 8
    assert lab.state.tenure.reason == "released"


def test_a_second_attempt_has_a_cause_of_its_own_when_another_node_was_hot() -> None:
    """It may have won with a lower term than the attempt had."""
    lab = standby_lab(three_group(), me="white")
    after_a_first_attempt(lab)
    lab.word("black", role=Role.STANDBY, term=4)
    lab.word("green", role=Role.HOT, term=4)
    lab.wait(TIMING.backoff_max + 2 * CLAIM_AFTER)
    assert lab.state.tenure is not None
    assert lab.state.tenure.origin == "green"
    assert lab.state.tenure.reason != "switchover"


@pytest.mark.parametrize("to", ["black", None], ids=["by name", "the best"])
def test_an_order_switches_over_in_a_paused_group(to: str | None) -> None:
    lab = with_standby()
    lab.order(PauseOrder(is_on=True))
    lab.word("black", level=0)
    lab.order(SwitchoverOrder(to))
    lab.tell(DutyStopped(1))
    assert {each.record.to for each in lab.published(Kind.RELEASE)} == {"black"}


def test_a_degraded_standby_of_a_paused_group_is_refused() -> None:
    lab = with_standby()
    lab.order(PauseOrder(is_on=True))
    lab.word("black", level=100)
    lab.forget()
    lab.order(SwitchoverOrder("black"))
    assert only_answer(lab).code == "not_ready"


def test_a_standby_that_reaches_too_few_brokers_says_so_also_when_paused() -> None:
    lab = Lab()
    lab.order(PauseOrder(is_on=True))
    lab.wait(CLAIM_AFTER)
    assert peers.MAINTENANCE < peers.service_level(lab.state) < peers.HEALTHY


def test_a_stopping_node_makes_nobody_hot_in_a_paused_group() -> None:
    """Only an order does: its end is no order for anybody else."""
    lab = with_standby()
    lab.order(PauseOrder(is_on=True))
    lab.word("black", level=0)
    lab.order(StopOrder())
    lab.tell(DutyStopped(1))
    assert {each.record.to for each in lab.published(Kind.RELEASE)} == {None}


def test_the_target_claims_even_when_the_group_is_paused() -> None:
    lab = standby_lab()
    lab.order(PauseOrder(is_on=True))
    lab.foreign_everywhere(Kind.RELEASE, to="white", term=4)
    lab.tell(Woke())
    assert lab.role() is Role.HOT


def test_only_the_target_claims_for_one_claim_after() -> None:
    lab = standby_lab(three_group())
    lab.foreign_everywhere(Kind.RELEASE, to="green", term=4)
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)


def test_who_handed_over_does_not_claim_back_for_one_claim_after() -> None:
    lab = with_standby()
    lab.order(SwitchoverOrder("black"))
    lab.tell(DutyStopped(1))
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)


def test_the_order_is_answered_when_the_target_is_hot() -> None:
    lab = with_standby()
    lab.order(SwitchoverOrder("black"))
    lab.tell(DutyStopped(1))
    assert not lab.found(Answer)
    lab.word(role=Role.HOT, term=2)
    assert replace(only_answer(lab), took=0.0) == Answer(7, "", "black")


def test_the_order_is_answered_when_nobody_became_hot() -> None:
    lab = with_standby()
    lab.echoes = False
    lab.order(SwitchoverOrder("black"))
    lab.tell(DutyStopped(1))
    lab.wait(2 * CLAIM_AFTER + 2)
    assert only_answer(lab).code == "failed"


def test_a_lease_that_is_lost_on_the_way_ends_the_switchover() -> None:
    lab = with_standby()
    lab.order(SwitchoverOrder("black"))
    lab.echoes = False
    lab.wait(TIMING.lease + 0.01)
    assert only_answer(lab).code == "failed"
    assert lab.state.handover is None


def test_a_switchover_to_nobody_in_particular_takes_the_best_standby() -> None:
    lab = with_standby(three_group())
    lab.word("green", broker="white")
    lab.order(SwitchoverOrder())
    lab.tell(DutyStopped(1))
    assert {each.record.to for each in lab.published(Kind.RELEASE)} == {"black"}


@pytest.mark.parametrize(
    ("to", "code"), [("white", "already_hot"), ("nobody", "not_ready"), ("green", "not_ready")]
)
def test_a_switchover_that_cannot_be_is_refused(to: str, code: str) -> None:
    lab = with_standby(three_group())
    lab.order(SwitchoverOrder(to))
    assert only_answer(lab).code == code
    assert lab.role() is Role.HOT


def test_only_the_hot_node_hands_over() -> None:
    lab = standby_lab()
    lab.order(SwitchoverOrder("white"))
    assert only_answer(lab).code == "not_hot"


def test_one_switchover_at_a_time() -> None:
    lab = with_standby()
    lab.order(SwitchoverOrder("black"), 1)
    lab.order(SwitchoverOrder("black"), 2)
    assert (only_answer(lab).ticket, only_answer(lab).code) == (2, "busy")


@pytest.mark.parametrize("word", [{"synchronised": False}, {"level": 100}, {"role": Role.STARTING}])
def test_a_target_that_is_not_ready_is_refused(word: dict[str, object]) -> None:
    lab = hot_lab()
    lab.beat()
    lab.word(**word)  # type: ignore[arg-type]
    lab.order(SwitchoverOrder("black"))
    assert only_answer(lab).code == "not_ready"


# No fail-back, preemption


def test_a_better_node_that_returns_changes_nothing() -> None:
    """What must hold, 5."""
    lab = with_standby(me="black", other="white")
    for _ in range(40):
        lab.wait(1.0)
        lab.beat("white", broker="black")
    assert lab.role() is Role.HOT
    assert not lab.found(StopDuty)


def test_a_returning_node_stays_standby() -> None:
    lab = standby_lab(me="white")
    for _ in range(40):
        lab.wait(0.25)
        lab.foreign_everywhere(term=4)
    assert not lab.published(Kind.CLAIM)
    assert lab.role() is Role.STANDBY


def alive_for(lab: Lab, seconds: float, node: str) -> None:
    end = lab.now + seconds
    while lab.now < end:
        lab.wait(min(0.5, end - lab.now))
        lab.beat(node, broker=lab.state.me.name)


def test_preempt_hands_over_to_a_better_node_that_was_ready_for_its_delay() -> None:
    lab = with_standby(witness_group(preempt=True), me="black", other="white")
    alive_for(lab, TIMING.preempt_delay - 0.5, "white")
    assert not lab.found(StopDuty)
    alive_for(lab, 1.0, "white")
    assert lab.found(StopDuty)
    lab.tell(DutyStopped(1))
    assert {each.record.to for each in lab.published(Kind.RELEASE)} == {"white"}


def test_preempt_does_nothing_for_a_worse_node() -> None:
    lab = with_standby(witness_group(preempt=True))
    alive_for(lab, TIMING.preempt_delay + 5, "black")
    assert not lab.found(StopDuty)


def test_preempt_does_nothing_while_paused() -> None:
    lab = with_standby(witness_group(preempt=True), me="black", other="white")
    lab.order(PauseOrder(is_on=True))
    alive_for(lab, TIMING.preempt_delay + 5, "white")
    assert not lab.found(StopDuty)


# Promotion


def test_a_promoted_node_becomes_hot_although_it_would_not_by_itself() -> None:
    members = (Member("white", 0), Member("black", 2))
    lab = Lab(witness_group(members=members))
    lab.connect_all()
    lab.wait(5)
    assert lab.role() is Role.STARTING
    lab.order(PromoteOrder())
    lab.wait(0.01)
    assert lab.state.tenure is not None
    assert lab.state.tenure.reason == "promoted"
    assert only_answer(lab).code == ""


def test_force_makes_a_node_hot_that_was_not_synchronised() -> None:
    lab = Lab(saved=Saved(was_synchronised=False))
    lab.connect_all()
    lab.wait(5)
    lab.order(PromoteOrder())
    assert only_answer(lab).code == "not_ready"
    lab.order(PromoteOrder(force=True))
    lab.wait(0.01)
    assert lab.role() is Role.HOT


@pytest.mark.parametrize("force", [False, True])
def test_no_force_makes_a_second_hot_node_where_a_majority_decides(force: bool) -> None:
    lab = standby_lab()
    lab.order(PromoteOrder(force=force))
    assert only_answer(lab).code == "hot_exists"
    for broker in lab.group.brokers:
        lab.lose(broker)
    lab.connect("white", record("black", 900, None))
    lab.wait(4)
    lab.forget()
    lab.order(PromoteOrder(force=force))
    lab.wait(TIMING.election + 0.6)
    assert lab.role() is Role.STANDBY
    assert only_answer(lab).code == "no_majority"


# Pause


def test_paused_nobody_claims_by_itself() -> None:
    lab = standby_lab()
    lab.order(PauseOrder(is_on=True))
    lab.wait(20)
    assert not lab.published(Kind.CLAIM)
    lab.order(PauseOrder(is_on=False))
    lab.wait(0.5)
    assert lab.role() is Role.HOT


def test_a_paused_hot_node_keeps_renewing() -> None:
    lab = hot_lab()
    lab.order(PauseOrder(is_on=True))
    lab.wait(5)
    assert lab.role() is Role.HOT
    assert lab.votes() == 3


def test_the_newer_pause_order_stands_wherever_it_was_given() -> None:
    lab = standby_lab()
    lab.beat(pause=Pause(3, is_on=True))
    assert lab.state.pause == Pause(3, is_on=True)
    lab.beat(pause=Pause(2, is_on=False))
    assert lab.state.pause == Pause(3, is_on=True)
    lab.order(PauseOrder(is_on=False))
    assert lab.state.pause == Pause(4, is_on=False)


@pytest.mark.parametrize("ours", [True, False], ids=["we paused", "we resumed"])
def test_of_two_orders_with_one_number_the_pause_stands(ours: bool) -> None:
    """Two nodes that could not hear each other took them; both must end with the same one."""
    lab = standby_lab()
    lab.order(PauseOrder(is_on=ours))
    number = lab.state.pause.counter
    lab.beat(pause=Pause(number, is_on=not ours))
    assert lab.state.pause == Pause(number, is_on=True)


# Stopping


def test_a_clean_stop_hands_over_and_leaves() -> None:
    lab = with_standby()
    lab.order(StopOrder())
    assert not lab.found(Leave)
    effects = lab.tell(DutyStopped(1))
    assert isinstance(effects[-1], Leave)
    assert {each.record.to for each in lab.published(Kind.RELEASE)} == {"black"}


def test_a_clean_stop_does_not_release_the_broker_that_ends_with_it() -> None:
    """Whoever claimed it would lose that vote as soon as the broker is gone, and the role."""
    lab = with_standby()
    lab.order(StopOrder())
    lab.tell(DutyStopped(1))
    released = {each.link.broker for each in lab.published(Kind.RELEASE)}
    assert released == set(lab.state.group.brokers) - {"white"}


def test_a_clean_stop_of_one_of_two_brokers_releases_both() -> None:
    """The other broker alone is no majority: its node has to begin with both."""
    lab = Lab(pair_group(Policy.SAFETY))
    lab.connect_all()
    lab.wait(CLAIM_AFTER + 0.01)
    lab.order(StopOrder())
    lab.tell(DutyStopped(1))
    assert {each.link.broker for each in lab.published(Kind.RELEASE)} == {"white", "black"}


def test_a_clean_stop_without_a_standby_frees_for_anybody() -> None:
    lab = hot_lab()
    lab.order(StopOrder())
    lab.tell(DutyStopped(1))
    assert {each.record.to for each in lab.published(Kind.RELEASE)} == {None}
    assert lab.found(Leave)


def test_a_standby_leaves_at_once() -> None:
    lab = standby_lab()
    assert of_kind(lab.order(StopOrder()), Leave)
    lab.wait(10)
    assert not lab.published(Kind.CLAIM)


# Duty


def test_a_duty_that_does_not_start_in_time_gives_the_lease_back() -> None:
    lab = Lab()
    lab.connect_all()
    lab.wait(CLAIM_AFTER + 0.01)
    assert lab.role() is Role.HOT
    lab.wait(TIMING.starting_to_hot + 1)
    assert [each.event for each in lab.found(Report)] == ["failed"]
    lab.tell(DutyStopped(1))
    assert lab.role() is Role.STANDBY


def test_the_change_is_reported_with_its_times_when_the_duty_has_started() -> None:
    lab = standby_lab()
    lab.wait(CLAIM_AFTER + 0.01)
    assert not lab.found(Report)
    lab.now += 0.2
    lab.tell(DutyStarted(5))
    (report,) = lab.found(Report)
    assert (report.event, report.origin, report.target, report.term) == (
        "failover",
        "black",
        "white",
        5,
    )
    assert report.duty == pytest.approx(0.2, abs=0.02)
    assert report.detect == pytest.approx(CLAIM_AFTER, abs=0.02)
