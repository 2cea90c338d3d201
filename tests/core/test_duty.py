"""docs/protocol.md, Around the lease: what the core makes of a duty that fails, and of a veto."""

from dataclasses import replace

import pytest

from edge.core.effects import Answer, AskToSwitch, Leave, Report, StartDuty, StopDuty
from edge.core.events import (
    DutyStarted,
    DutyStopped,
    FitnessChanged,
    PromoteOrder,
    StopOrder,
    SwitchJudged,
    SwitchoverOrder,
)
from edge.core.model import Kind, Member, Pause, Phase, Role
from edge.core.orders import TOO_LATE
from edge.core.peers import betters, service_level
from edge.core.state import State
from tests.core.lab import (
    CLAIM_AFTER,
    TIMING,
    Lab,
    hot_lab,
    of_kind,
    standby_lab,
    three_group,
    with_standby,
    witness_group,
)

BROKEN = "nodered keeps ending"


# A duty that ends by itself


def test_a_duty_that_ends_by_itself_gives_the_lease_to_anybody() -> None:
    lab = with_standby()
    lab.tell(DutyStopped(1))
    assert lab.role() is Role.STANDBY
    released = lab.published(Kind.RELEASE)
    assert {each.link.broker for each in released} == set(lab.group.brokers)
    assert {each.record.to for each in released} == {None}
    (report,) = lab.found(Report)
    assert (report.event, report.reason, report.term) == ("demoted", "duty_lost", 1)


def test_a_duty_that_does_not_start_gives_the_lease_back_and_says_so() -> None:
    lab = Lab()
    lab.connect_all()
    lab.wait(CLAIM_AFTER + 0.01)
    lab.tell(DutyStopped(1))
    assert [each.reason for each in lab.found(Report)] == ["duty_failed"]
    assert lab.published(Kind.RELEASE)


def test_who_lost_its_duty_lets_the_others_try_first_and_then_tries_again() -> None:
    lab = hot_lab()
    lab.tell(DutyStopped(1))
    lab.wait(2 * CLAIM_AFTER - 0.02)
    assert not lab.found(StartDuty)
    lab.wait(CLAIM_AFTER)
    assert [each.term for each in lab.found(StartDuty)] == [2]


def next_start(lab: Lab) -> float:
    """How long this node leaves it to others before it tries again."""
    began, tried = lab.now, len(lab.found(StartDuty))
    while len(lab.found(StartDuty)) == tried:
        lab.wait(0.05)
    return lab.now - began


def test_who_fails_to_start_again_and_again_stands_back_for_longer_each_time() -> None:
    lab = Lab()
    lab.connect_all()
    next_start(lab)
    waits = []
    for term in range(1, 10):
        lab.tell(DutyStopped(term))
        waits.append(next_start(lab))
    least = 2 * CLAIM_AFTER
    assert waits == pytest.approx([least, least, 4, 8, 16, 32, 60, 60, 60], abs=0.5)
    lab.tell(DutyStarted(10))
    lab.tell(DutyStopped(10))
    assert next_start(lab) == pytest.approx(least, abs=0.5)


def test_a_duty_that_is_always_too_late_is_tried_less_and_less_often() -> None:
    lab = Lab()
    lab.connect_all()
    next_start(lab)
    waits = []
    for term in range(1, 5):
        lab.wait(TIMING.starting_to_hot + 0.01)
        assert lab.found(StopDuty)[-1] == StopDuty(term, TOO_LATE)
        lab.tell(DutyStopped(term))
        waits.append(next_start(lab))
    assert waits == pytest.approx([CLAIM_AFTER, 2, 4, 8], abs=0.5)


def test_who_stands_back_comes_at_once_when_he_is_called() -> None:
    lab = Lab()
    lab.connect_all()
    next_start(lab)
    for term in range(1, 5):
        lab.tell(DutyStopped(term))
        next_start(lab)
    lab.tell(DutyStopped(5))
    lab.order(PromoteOrder(force=False))
    assert [each.term for each in lab.found(StartDuty)] == [1, 2, 3, 4, 5, 6]


def test_the_end_of_an_earlier_duty_ends_nothing() -> None:
    lab = hot_lab()
    lab.tell(DutyStopped(0))
    assert lab.role() is Role.HOT
    assert not lab.published(Kind.RELEASE)


def test_a_duty_lost_while_a_switchover_is_judged_answers_the_order() -> None:
    lab = with_standby(asks=True)
    lab.order(SwitchoverOrder("black"))
    lab.tell(DutyStopped(1))
    assert [each.code for each in lab.found(Answer)] == ["failed"]
    assert lab.state.handover is None


# Fitness


def test_a_hot_node_that_is_unfit_hands_over_to_a_standby_that_is_ready() -> None:
    lab = with_standby()
    assert of_kind(lab.tell(FitnessChanged(BROKEN)), StopDuty)
    lab.tell(DutyStopped(1))
    assert {each.record.to for each in lab.published(Kind.RELEASE)} == {"black"}
    assert (lab.role(), lab.state.reason) == (Role.CRASHED, BROKEN)


def test_a_hot_node_that_is_unfit_goes_on_while_nobody_else_is_ready() -> None:
    lab = hot_lab()
    lab.tell(FitnessChanged(BROKEN))
    lab.wait(2)
    assert lab.role() is Role.HOT
    assert service_level(lab.state) < 200
    for broker in lab.group.brokers:
        lab.beat(broker=broker)
    lab.word()
    assert lab.found(StopDuty), "now there is one"


def test_an_unfit_hot_node_stays_in_a_paused_group() -> None:
    lab = with_standby()
    lab.state = paused(lab)
    lab.tell(FitnessChanged(BROKEN))
    assert not lab.found(StopDuty)


def paused(lab: Lab) -> State:
    return replace(lab.state, saved=replace(lab.state.saved, pause=Pause(1, is_on=True)))


def test_an_unfit_node_is_crashed_until_it_is_fit_again() -> None:
    lab = standby_lab()
    lab.tell(FitnessChanged(BROKEN))
    assert (lab.role(), lab.state.reason) == (Role.CRASHED, BROKEN)
    assert service_level(lab.state) < 200
    lab.tell(FitnessChanged(""))
    assert lab.role() is Role.STANDBY


def test_an_unfit_node_claims_after_the_fit_ones_whatever_its_priority() -> None:
    lab = standby_lab(three_group())
    lab.word("green", broker="white")
    lab.beat("green")
    assert betters(lab.state) == []
    lab.tell(FitnessChanged(BROKEN))
    assert len(betters(lab.state)) == 1


def test_an_unfit_node_is_better_than_none() -> None:
    lab = standby_lab()
    lab.tell(FitnessChanged(BROKEN))
    lab.wait(2 * CLAIM_AFTER)
    assert lab.role() is Role.HOT


def test_a_crashed_peer_comes_after_us() -> None:
    lab = standby_lab(witness_group(members=(Member("white", 1), Member("black", 3))))
    lab.word("black", role=Role.CRASHED)
    lab.state = replace(lab.state, last_hot=None)
    assert betters(lab.state) == []


# Veto


def test_whoever_may_object_is_asked_before_anything_stops() -> None:
    lab = with_standby(asks=True)
    effects = lab.order(SwitchoverOrder("black"))
    assert [(each.term, each.to) for each in of_kind(effects, AskToSwitch)] == [(1, "black")]
    assert not lab.found(StopDuty)
    assert (lab.role(), lab.state.phase) == (Role.HOT, Phase.NONE)


def test_no_objection_and_the_switchover_goes_on() -> None:
    lab = with_standby(asks=True)
    lab.order(SwitchoverOrder("black"))
    assert of_kind(lab.tell(SwitchJudged(1, "")), StopDuty)
    lab.tell(DutyStopped(1))
    lab.word(role=Role.HOT, term=2)
    assert [(each.ticket, each.code) for each in lab.found(Answer)] == [(7, "")]


def test_an_objection_is_the_answer_to_the_order() -> None:
    lab = with_standby(asks=True)
    lab.order(SwitchoverOrder("black"))
    lab.tell(SwitchJudged(1, "the tank is filling"))
    (answer,) = lab.found(Answer)
    assert (answer.ticket, answer.code, answer.text) == (7, "vetoed", "the tank is filling")
    assert lab.role() is Role.HOT
    assert not lab.found(StopDuty)


def test_a_judgement_on_an_earlier_term_changes_nothing() -> None:
    lab = with_standby(asks=True)
    lab.order(SwitchoverOrder("black"))
    lab.tell(SwitchJudged(0, ""))
    assert not lab.found(StopDuty)


def test_a_stop_asks_nobody_and_overrides_a_question() -> None:
    lab = with_standby(asks=True)
    lab.order(SwitchoverOrder("black"))
    assert of_kind(lab.order(StopOrder(), ticket=0), StopDuty)
    lab.tell(SwitchJudged(1, "the tank is filling"))
    lab.tell(DutyStopped(1))
    assert lab.found(Leave)


def test_an_unfit_hot_node_asks_nobody() -> None:
    lab = with_standby(asks=True)
    assert of_kind(lab.tell(FitnessChanged(BROKEN)), StopDuty)


def test_who_stops_while_it_asks_answers_before_it_leaves() -> None:
    """The switchover that was ordered happens all the same, and nobody waits in vain."""
    lab = with_standby(asks=True)
    lab.order(SwitchoverOrder("black"))
    lab.order(StopOrder())
    effects = lab.tell(DutyStopped(1))
    (answer,) = of_kind(effects, Answer)
    assert (answer.code, answer.text) == ("", "black")
    assert isinstance(effects[-1], Leave)


def test_a_vetoed_preemption_is_tried_again_after_its_delay() -> None:
    group = witness_group(preempt=True, members=(Member("white", 1), Member("black", 3)))
    lab = with_standby(group, asks=True)
    delay = lab.group.timing.preempt_delay
    keep_alive(lab, delay + 1)
    (first,) = lab.found(AskToSwitch)
    lab.tell(SwitchJudged(first.term, "not now"))
    lab.forget()
    keep_alive(lab, delay - 1)
    assert not lab.found(AskToSwitch)
    keep_alive(lab, 2)
    assert len(lab.found(AskToSwitch)) == 1


def keep_alive(lab: Lab, seconds: float) -> None:
    """Time passes while the standby goes on showing that it lives."""
    for _ in range(round(seconds / 0.5)):
        lab.wait(0.5)
        for broker in lab.group.brokers:
            lab.beat(broker=broker)


def test_the_core_stays_hot_when_the_duty_has_started() -> None:
    lab = with_standby()
    lab.tell(DutyStarted(1))
    assert (lab.role(), lab.state.phase) == (Role.HOT, Phase.NONE)
