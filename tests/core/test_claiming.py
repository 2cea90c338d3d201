"""docs/protocol.md, Claiming and Terms: when a node may claim, and how an attempt ends."""

from dataclasses import replace
from math import inf

import pytest

from edge.core import claims, lease
from edge.core.effects import Beat, Persist, Publish, StartDuty
from edge.core.events import HeartbeatSeen, LinkUp, RecordSeen, Subscribed, Woke
from edge.core.model import Kind, Link, Pause, RecordId, Role, Saved, Timing
from tests.core.lab import (
    BEGIN,
    CLAIM_AFTER,
    SAME,
    TIMING,
    Lab,
    hot_lab,
    of_kind,
    record,
    standby_lab,
    three_group,
    witness_group,
)


@pytest.mark.parametrize("value", [0.05, 0.25, 1.0, 5.0, 60.0])
def test_claim_after_covers_clocks_that_are_three_percent_off(value: float) -> None:
    """A slow holder counts lease / 0.97 of true time, a fast claimant claim_after / 1.03."""
    timing = Timing(lease=value)
    assert timing.claim_after / 1.03 > timing.lease / 0.97


# Rule 1: silence


def test_a_node_claims_after_claim_after_of_silence_and_not_before() -> None:
    lab = standby_lab()
    lab.echoes = False
    assert not of_kind(lab.wait(CLAIM_AFTER - 0.01), Publish)
    claimed = of_kind(lab.wait(0.02), Publish)
    assert [each.record.kind for each in claimed] == [Kind.CLAIM] * 3


def test_the_silence_is_counted_from_the_subscription() -> None:
    """A broker that restarted with empty memory shows nothing, and is not silent for that."""
    lab = Lab()
    lab.wait(30)
    lab.connect_all()
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)
    lab.wait(0.02)
    assert lab.published(Kind.CLAIM)


def test_a_session_that_is_not_subscribed_claims_nothing() -> None:
    lab = Lab()
    for broker in lab.group.brokers:
        lab.up(broker)
    lab.wait(5)
    assert not lab.published(Kind.CLAIM)
    assert all(lease.claimable_at(lab.state, view) == inf for view in lab.state.views)


def test_every_record_of_another_node_restarts_the_wait() -> None:
    lab = standby_lab()
    lab.wait(CLAIM_AFTER - 0.1)
    lab.foreign_everywhere(basis=None)
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)


def test_what_any_path_heard_is_no_silence() -> None:
    """One of two paths lags behind, but the other one hears the holder."""
    lab = Lab()
    retained = record("black", 1, None, Kind.CLAIM)
    lab.connect("white")
    for broker in ("black", "router"):
        lab.connect(broker, retained)
        lab.connect(broker, retained, path=1)
    for counter in range(2, 14):
        lab.wait(0.25)
        for broker in ("black", "router"):
            renewal = record("black", counter, RecordId("black", "1-1", counter - 1))
            lab.tell(RecordSeen(Link(broker), renewal))
    assert not lab.published(Kind.CLAIM)


# Rule 2: release


def test_a_release_may_be_claimed_at_once() -> None:
    lab = standby_lab()
    lab.foreign_everywhere(Kind.RELEASE)
    lab.wait(0.001)
    assert lab.role() is Role.HOT


def test_a_release_to_another_node_leaves_only_the_silence() -> None:
    lab = standby_lab(three_group())
    lab.foreign_everywhere(Kind.RELEASE, to="green")
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)
    lab.wait(0.4)
    assert lab.published(Kind.CLAIM)


def test_a_release_seen_by_a_young_session_may_be_a_replay() -> None:
    lab = Lab()
    for broker in lab.group.brokers:
        lab.connect(broker, record("black", 1, None, Kind.CLAIM))
    lab.wait(0.5)
    lab.foreign_everywhere(Kind.RELEASE)
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)


def test_a_release_soon_after_a_gap_may_be_a_replay() -> None:
    lab = standby_lab()
    gap = RecordId("black", "0-7", 3)
    for broker in lab.group.brokers:
        lab.foreign(broker, session="0-7", basis=gap)
    lab.foreign_everywhere(Kind.RENEW, session="0-7")
    lab.foreign_everywhere(Kind.RELEASE, session="0-7")
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)


def test_a_retained_release_of_the_past_frees_nothing() -> None:
    lab = Lab()
    for broker in lab.group.brokers:
        lab.connect(broker, record("black", 9, RecordId("black", "1-1", 8), Kind.RELEASE))
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)


# A majority at once, in the order of rank


def test_an_attempt_needs_a_majority_of_the_brokers() -> None:
    lab = Lab()
    lab.connect("white")
    lab.wait(10)
    assert not lab.published(Kind.CLAIM)
    lab.connect("router")
    lab.wait(CLAIM_AFTER + 0.01)
    assert lab.role() is Role.HOT
    assert lab.votes() == 2


def test_an_attempt_claims_every_broker_that_it_may() -> None:
    lab = standby_lab()
    lab.wait(CLAIM_AFTER + 0.01)
    assert {each.link.broker for each in lab.published(Kind.CLAIM)} == {"white", "black", "router"}


def test_each_claim_names_the_tail_as_its_basis() -> None:
    lab = standby_lab()
    tails = dict(lab.tails)
    lab.echoes = False
    lab.wait(CLAIM_AFTER + 0.01)
    claimed = {each.link.broker: each.record.basis for each in lab.published(Kind.CLAIM)}
    assert claimed == tails


def test_a_better_living_candidate_goes_first_by_one_stagger() -> None:
    lab = Lab(me="black")
    lab.connect_all()
    lab.word("white", broker="black", boot="5", session="5-1")
    for _ in range(4):
        lab.wait(0.28)
        lab.beat("white", broker="black", boot="5", session="5-1")
    due_at = BEGIN + CLAIM_AFTER + TIMING.stagger
    lab.echoes = False
    lab.wait(due_at - lab.now - 0.01)
    assert not lab.published(Kind.CLAIM)
    lab.wait(0.02)
    assert lab.published(Kind.CLAIM)


def test_the_silent_last_hot_node_is_no_candidate() -> None:
    lab = Lab(me="black")
    for broker in lab.group.brokers:
        lab.connect(broker, record("white", 1, None, Kind.CLAIM))
    lab.word("white", Role.HOT, broker="black", term=1)
    lab.foreign_everywhere(node="white")
    lab.echoes = False
    lab.wait(CLAIM_AFTER + 0.01)
    assert lab.published(Kind.CLAIM)


def test_a_last_hot_node_that_is_back_is_a_candidate_again() -> None:
    """It says in its new life that it is not hot; without the stagger both would claim at once."""
    lab = Lab(me="black")
    for broker in lab.group.brokers:
        lab.connect(broker, record("white", 1, None, Kind.CLAIM))
    lab.word("white", Role.HOT, broker="black", term=1)
    assert lab.state.last_hot == "white"
    lab.word("white", Role.STARTING, broker="black", boot="5", session="5-1")
    for _ in range(4):
        lab.wait(0.28)
        lab.beat("white", broker="black", boot="5", session="5-1")
    due_at = BEGIN + CLAIM_AFTER + TIMING.stagger
    lab.echoes = False
    lab.wait(due_at - lab.now - 0.01)
    assert not lab.published(Kind.CLAIM)
    lab.wait(0.02)
    assert lab.published(Kind.CLAIM)


# Terms


def test_the_new_term_is_one_above_the_highest_ever_seen() -> None:
    lab = standby_lab(term=41)
    lab.wait(CLAIM_AFTER + 0.01)
    assert lab.state.tenure is not None
    assert lab.state.tenure.term == 42


def test_a_snapshot_tells_the_term_too() -> None:
    lab = Lab()
    lab.connect("router", record("black", 1, None, Kind.RELEASE, term=77))
    assert lab.state.term == 77


def test_the_term_is_on_disk_before_the_claim_goes_out() -> None:
    lab = standby_lab()
    lab.echoes = False
    effects = lab.wait(CLAIM_AFTER + 0.01)
    first = next(index for index, each in enumerate(effects) if isinstance(each, Publish))
    saved = [each for each in effects[:first] if isinstance(each, Persist)]
    assert saved[-1].saved.term == 5
    assert effects[effects.index(saved[-1]) : first] == [saved[-1], Beat()]


def test_a_heartbeat_tells_the_term_before_the_claim_goes_out() -> None:
    """What stands on the register may be written over by a record that comes late."""
    lab = standby_lab()
    lab.echoes = False
    effects = lab.wait(CLAIM_AFTER + 0.01)
    first = next(index for index, each in enumerate(effects) if isinstance(each, Publish))
    assert effects[first - 1] == Beat()


@pytest.mark.parametrize("retained", [True, False], ids=["retained", "live"])
def test_a_heartbeat_tells_the_term_also_where_the_register_has_an_older_one(
    retained: bool,
) -> None:
    lab = Lab()
    lab.connect("router", record("white", 1, None, Kind.RENEW, term=4))
    beat = HeartbeatSeen(
        Link("router"), "black", "1-1", "1", 1, SAME, Pause(), retained=retained, term=5
    )
    lab.tell(beat)
    assert lab.state.term == 5


def test_an_attempt_counts_on_nothing_that_an_older_term_still_holds() -> None:
    """Otherwise a node would be hot with a term that no majority has seen."""
    lab = hot_lab()
    state = replace(lab.state, tenure=None)
    assert lease.votes_held(state) == 3
    state, _ = claims.begin(state)
    assert lease.votes_held(state) == 0
    assert state.saved.term == 2


def late_router(term: int) -> Lab:
    """An attempt under way with term 5; the router is released to anybody with the given term."""
    lab = standby_lab(three_group(brokers=("white", "black", "green")))
    lab.wait(0.2)
    lab.foreign("green", node="green", kind=Kind.CLAIM, term=4)
    lab.echoes = False
    lab.wait(CLAIM_AFTER - 0.19)
    assert {each.link.broker for each in lab.published(Kind.CLAIM)} == {"white", "black"}
    lab.forget()
    lab.foreign("green", Kind.CLAIM, node="green", term=term)
    lab.foreign("green", Kind.RELEASE, node="green", term=term)
    lab.wait(0.25)
    return lab


def test_an_attempt_goes_on_claiming_what_becomes_free_meanwhile() -> None:
    claimed = late_router(term=4).published(Kind.CLAIM)
    assert [each.link.broker for each in claimed] == ["green"]


@pytest.mark.parametrize("term", [5, 9])
def test_an_attempt_claims_nothing_further_where_its_term_is_no_longer_new(term: int) -> None:
    """Whoever may have been hot with that term must be followed by a higher one."""
    assert not late_router(term=term).published(Kind.CLAIM)


def test_an_empty_register_is_never_claimed() -> None:
    lab = Lab()
    lab.echoes = False
    lab.connect_all()
    lab.wait(CLAIM_AFTER + 3)
    assert not lab.published(Kind.CLAIM)


def test_whoever_meets_an_empty_witness_or_his_own_empty_register_seeds_it() -> None:
    """With a release that carries the term; another node's register is left to that node."""
    lab = Lab(saved=Saved(term=9))
    lab.connect_all()
    seeds = lab.published(Kind.RELEASE)
    assert {each.link.broker for each in seeds} == {"white", "router"}
    assert {(each.record.term, each.record.basis) for each in seeds} == {(9, None)}


def test_a_register_that_is_not_empty_is_not_seeded() -> None:
    lab = Lab()
    lab.connect("router", record("black", 1, None))
    lab.wait(5)
    assert not lab.published(Kind.RELEASE)


# How an attempt ends


def test_hot_when_a_majority_was_effective() -> None:
    lab = standby_lab()
    lab.echoes = False
    lab.wait(CLAIM_AFTER + 0.01)
    first, second, _ = lab.published(Kind.CLAIM)
    lab.echo(first)
    assert lab.role() is Role.STANDBY
    lab.echo(second)
    assert lab.role() is Role.HOT
    assert [each.term for each in lab.found(StartDuty)] == [5]


def test_an_attempt_without_a_majority_is_given_up_and_released() -> None:
    lab = standby_lab()
    lab.echoes = False
    lab.wait(CLAIM_AFTER + 0.001)
    lab.echo(lab.published(Kind.CLAIM)[0])
    lab.wait(TIMING.claim_timeout + 0.001)
    assert lab.state.attempt is None
    released = lab.published(Kind.RELEASE)
    assert {each.link.broker for each in released} == {"white", "black", "router"}
    assert lab.votes() == 0


def test_a_release_follows_the_claim_that_is_still_under_way() -> None:
    """Its basis is that claim, so that it takes effect behind it, whenever that is."""
    lab = standby_lab()
    lab.echoes = False
    lab.wait(CLAIM_AFTER + TIMING.claim_timeout + 0.01)
    claimed = {each.link.broker: each.record.id for each in lab.published(Kind.CLAIM)}
    released = {each.link.broker: each.record.basis for each in lab.published(Kind.RELEASE)}
    assert released == claimed


def test_an_attempt_that_lost_every_race_ends_at_once() -> None:
    lab = standby_lab()
    lab.echoes = False
    lab.wait(CLAIM_AFTER + 0.001)
    for published in lab.published(Kind.CLAIM):
        lab.foreign(published.link.broker, Kind.CLAIM, term=5)
        lab.echo(published)
    assert lab.state.attempt is None
    assert lab.state.tenure is None


def test_a_lost_race_is_no_reason_for_a_later_change() -> None:
    """Black was only late, and held on: what it hands over now is a switchover."""
    lab = standby_lab()
    lab.echoes = False
    lab.wait(CLAIM_AFTER + 0.001)
    for published in lab.published(Kind.CLAIM):
        lab.foreign(published.link.broker, term=4)
        lab.echo(published)
    assert lab.state.attempt is None
    lab.echoes = True
    for _ in range(8):
        lab.wait(0.25)
        lab.foreign_everywhere(term=4)
        lab.beat()
    lab.word(role=Role.STANDBY, term=5)
    lab.foreign_everywhere(Kind.RELEASE, term=4, to="white")
    assert lab.state.tenure is not None
    assert (lab.state.tenure.reason, lab.state.tenure.term) == ("switchover", 6)
    assert lab.state.tenure.noticed_at == lab.now


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 0.05), (0.999999, 0.3)])
def test_the_back_off_is_drawn_between_its_bounds(jitter: float, pause: float) -> None:
    lab = standby_lab()
    lab.jitter = jitter
    lab.echoes = False
    lab.wait(CLAIM_AFTER + TIMING.claim_timeout + 0.001)
    given_up_at = lab.state.claims_not_before - pause
    assert given_up_at == pytest.approx(lab.now, abs=0.01)


# Being hot


def test_a_hot_node_claims_a_broker_that_comes_back_as_soon_as_it_may() -> None:
    lab = hot_lab()
    lab.lose("router")
    lab.connect("router", record("black", 1, None, Kind.RELEASE))
    lab.wait(CLAIM_AFTER - 0.01)
    assert lab.votes() == 2
    lab.wait(0.02)
    assert lab.votes() == 3


def test_a_witness_that_runs_edge_never_claims() -> None:
    group = witness_group()
    router = replace(group.members[0], name="router", priority=0, can_be_hot=False)
    lab = Lab(replace(group, members=(*group.members, router)), me="router")
    lab.connect_all()
    lab.wait(10)
    assert not lab.published(Kind.CLAIM)
    assert lab.role() is Role.WITNESS


def test_a_new_session_knows_nothing_of_the_old_one() -> None:
    lab = hot_lab()
    lab.tell(LinkUp(Link("router"), "9-99"))
    assert lab.view("router").tail is None
    assert lab.votes() == 2
    lab.tell(Subscribed(Link("router")))
    lab.tell(Woke())
    assert lab.votes() == 2


def test_a_deaf_session_is_not_a_silent_register() -> None:
    """An isolated standby hears nobody, not even itself: it does not claim, its term stays."""
    lab = standby_lab()
    lab.deaf |= {"black", "router"}
    lab.wait(10)
    assert not lab.published(Kind.CLAIM)


def test_an_attempt_claims_the_brokers_that_fall_silent_while_it_lasts() -> None:
    """The first two to fall silent may be our own and the dead one, which never answers."""
    lab = standby_lab()
    lab.wait(0.05)
    lab.foreign("router", term=4)
    lab.wait(CLAIM_AFTER - 0.06)
    lab.links = [link for link in lab.links if link.broker != "black"]
    lab.wait(0.04)
    assert lab.role() is Role.STANDBY
    lab.wait(0.05)
    assert lab.role() is Role.HOT
    assert lab.state.tenure is not None
    assert lab.state.tenure.term == 5
