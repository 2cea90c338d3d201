"""docs/protocol.md, Two brokers and no witness: what each policy allows, and what it never does."""

import pytest

from edge.core import lease
from edge.core.effects import Report, StopDuty
from edge.core.events import DutyStopped, NetworkChecked, PromoteOrder
from edge.core.model import Group, Kind, Policy, RecordId, Role, Saved
from tests.core.lab import CLAIM_AFTER, TIMING, Lab, hot_lab, pair_group, record

AVAILABILITY = pair_group(Policy.AVAILABILITY)
SAFETY = pair_group(Policy.SAFETY)


def reference(lab: Lab, seconds: float, *, answers: bool = True) -> None:
    """Let time pass; a reference answers every quarter of a second, or does not."""
    end = lab.now + seconds
    while lab.now < end:
        lab.tell(NetworkChecked(is_reachable=answers))
        lab.wait(min(0.25, end - lab.now))


def alone(group: Group, *, answers: bool) -> Lab:
    """A standby whose peer was hot and is out of reach; only its own register is left."""
    lab = Lab(group)
    for broker in group.brokers:
        lab.connect(broker, record("black", 1, None, Kind.CLAIM))
    for _ in range(round(TIMING.reconnect / 0.25) + 1):
        reference(lab, 0.25, answers=answers)
        lab.foreign_everywhere()
    lab.lose("black")
    reference(lab, CLAIM_AFTER - 0.01, answers=answers)
    assert not lab.published(Kind.CLAIM)
    return lab


# availability


def test_availability_takes_over_alone_with_a_reference() -> None:
    lab = alone(AVAILABILITY, answers=True)
    reference(lab, 0.3)
    assert lab.role() is Role.HOT
    assert lab.votes() == 1
    reference(lab, 10)
    assert lab.role() is Role.HOT


def test_availability_never_starts_alone_without_a_reference() -> None:
    lab = alone(AVAILABILITY, answers=False)
    reference(lab, 20, answers=False)
    assert not lab.published(Kind.CLAIM)


def test_availability_never_starts_alone_while_the_peers_broker_is_reachable() -> None:
    lab = Lab(AVAILABILITY)
    lab.connect("white", record("black", 1, None, Kind.CLAIM))
    lab.connect("black", record("black", 1, None, Kind.CLAIM))
    for _ in range(20):
        lab.foreign("black")
        reference(lab, 0.5)
    assert not lab.published(Kind.CLAIM)


def test_availability_counts_a_deaf_session_as_no_contact() -> None:
    """The cable is pulled: TCP notices nothing, but not even our own heartbeats come back."""
    lab = Lab(AVAILABILITY)
    for broker in AVAILABILITY.brokers:
        lab.connect(broker, record("black", 1, None, Kind.CLAIM))
    for _ in range(round(TIMING.reconnect / 0.25) + 1):
        reference(lab, 0.25)
        lab.foreign_everywhere()
    lab.deaf.add("black")
    reference(lab, CLAIM_AFTER + 0.5)
    assert lab.role() is Role.HOT


def test_availability_waits_until_its_own_register_is_silent() -> None:
    lab = alone(AVAILABILITY, answers=True)
    lab.foreign("white", basis=None)
    reference(lab, CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)


def heard_over_its_own_broker() -> Lab:
    """Two brokers. Black is hot, its broker has been out of reach for long, and its heartbeats are
    heard on ours, where it has no holding; a reference has answered all the time."""
    lab = Lab(AVAILABILITY)
    for broker in AVAILABILITY.brokers:
        lab.connect(broker, record("black", 1, None, Kind.CLAIM))
    lab.lose("black")
    lab.word("black", Role.HOT, broker="white", term=1)
    for _ in range(round((TIMING.reconnect + 2 * CLAIM_AFTER) / 0.25)):
        reference(lab, 0.25)
        lab.beat("black", broker="white")
    return lab


def assert_waits(lab: Lab) -> None:
    """Whatever told of a hot node told so just now."""
    reference(lab, CLAIM_AFTER - 0.02)
    assert not lab.published(Kind.CLAIM)
    reference(lab, 0.3)
    assert lab.role() is Role.HOT


def test_availability_never_starts_alone_while_it_hears_a_hot_node() -> None:
    assert_waits(heard_over_its_own_broker())


def test_availability_lets_a_hot_node_that_was_killed_stop_its_outputs() -> None:
    """Its will must not let us begin while its guard is still at work."""
    lab = heard_over_its_own_broker()
    lab.will("white", "black")
    assert_waits(lab)


def test_availability_lets_a_hot_node_that_lost_its_lease_stop_its_outputs() -> None:
    """Its word that it is hot no more is no word that its outputs are off."""
    lab = heard_over_its_own_broker()
    lab.word("black", Role.STANDBY, broker="white", term=1)
    assert_waits(lab)


def test_availability_waits_for_whoever_has_just_taken_a_new_term() -> None:
    """Its claim may have been heard of before its word that it is hot."""
    lab = heard_over_its_own_broker()
    lab.word("black", Role.STANDBY, broker="white", term=1)
    reference(lab, CLAIM_AFTER - 0.1)
    lab.word("black", Role.STANDBY, broker="white", term=7)
    assert_waits(lab)


def test_availability_does_not_take_a_broken_connection_for_a_dead_peer() -> None:
    """Both nodes would, at the same moment, and both be hot alone."""
    lab = Lab(AVAILABILITY)
    lab.connect("white")
    lab.connect("black", record("black", 1, None, Kind.RELEASE, session="0-1", term=0))
    lab.echoes = False
    reference(lab, TIMING.reconnect + 0.5)
    lab.forget()
    lab.echoes = True
    lab.lose("black")
    reference(lab, CLAIM_AFTER - 0.02)
    assert not lab.published(Kind.CLAIM)
    reference(lab, 0.3)
    assert lab.role() is Role.HOT


def test_availability_yields_to_a_hot_node_whose_word_alone_is_heard() -> None:
    """After a cut its words come to our broker seconds before we reach its own."""
    lab = hot_lab(AVAILABILITY)
    lab.tell(NetworkChecked(is_reachable=True))
    lab.lose("black")
    lab.word("black", Role.HOT, broker="white", term=7)
    lab.beat("black", broker="white")
    assert lab.state.handover is not None
    assert [each.event for each in lab.found(Report)] == ["yielded"]


def test_availability_does_not_yield_to_the_word_of_a_lower_term() -> None:
    lab = hot_lab(AVAILABILITY, saved=Saved(term=7))
    lab.tell(NetworkChecked(is_reachable=True))
    lab.lose("black")
    lab.word("black", Role.HOT, broker="white", term=7)
    lab.beat("black", broker="white")
    assert lab.state.handover is None


def test_availability_stays_hot_with_one_broker_and_a_reference() -> None:
    lab = hot_lab(AVAILABILITY)
    lab.tell(NetworkChecked(is_reachable=True))
    lab.lose("black")
    reference(lab, 10)
    assert lab.role() is Role.HOT


def test_availability_stops_within_the_lease_when_no_reference_answers() -> None:
    lab = hot_lab(AVAILABILITY)
    lab.tell(NetworkChecked(is_reachable=True))
    lab.lose("black")
    assert lab.role() is Role.HOT
    assert lab.lease_left() <= TIMING.lease
    reference(lab, TIMING.lease + 0.001, answers=False)
    assert lab.role() is Role.STANDBY
    assert lab.found(StopDuty)


def test_availability_without_any_reference_stops_at_once_with_its_majority() -> None:
    lab = hot_lab(AVAILABILITY)
    lab.lose("black")
    assert lab.role() is Role.STANDBY


def test_availability_needs_no_reference_with_both_brokers() -> None:
    lab = hot_lab(AVAILABILITY)
    reference(lab, 10, answers=False)
    assert lab.role() is Role.HOT
    assert lab.votes() == 2


def hot_and_met(*, term: int, me: str = "white", other: str = "black", priority: int = 3) -> Lab:
    """Two nodes were hot, each alone; now this one sees the other's renewals."""
    members = tuple(
        type(each)(each.name, priority if each.name == me else 3) for each in AVAILABILITY.members
    )
    lab = hot_lab(pair_group(Policy.AVAILABILITY, members=members), me)
    lab.lose(other)
    reference(lab, 0.1)
    lab = hot_again(lab)
    lab.connect(other, record(other, 5, RecordId(other, "1-1", 4), term=term))
    lab.forget()
    lab.foreign(other, node=other, term=term)
    return lab


def hot_again(lab: Lab) -> Lab:
    reference(lab, TIMING.reconnect + 1)
    assert lab.role() is Role.HOT
    return lab


def is_forced(lab: Lab) -> bool:
    return lab.state.is_forced


def own_term(lab: Lab) -> int:
    assert lab.state.tenure is not None
    return lab.state.tenure.term


def test_of_two_hot_nodes_the_lower_term_yields() -> None:
    lab = hot_and_met(term=9)
    assert [each.event for each in lab.found(Report)] == ["yielded"]
    assert lab.found(StopDuty)
    lab.tell(DutyStopped(own_term(lab)))
    assert lab.role() is Role.STANDBY
    assert {each.record.to for each in lab.published(Kind.RELEASE)} == {"black"}


def test_of_two_hot_nodes_the_higher_term_stays_and_says_so() -> None:
    lab = hot_and_met(term=1)
    assert not lab.found(StopDuty)
    assert [each.event for each in lab.found(Report)] == ["conflict"]


@pytest.mark.parametrize(
    ("me", "other", "priority", "yields"),
    [
        ("white", "black", 2, True),
        ("white", "black", 4, False),
        ("white", "black", 3, True),
        ("black", "white", 3, False),
    ],
)
def test_with_equal_terms_priority_and_then_the_name_decide(
    me: str, other: str, priority: int, yields: bool
) -> None:
    """The lower priority steps down, then the greater name."""
    term = own_term(hot_and_met(term=1, me=me, other=other, priority=priority))
    lab = hot_and_met(term=term, me=me, other=other, priority=priority)
    assert bool(lab.found(StopDuty)) is yields


# safety


def test_safety_never_takes_over_by_itself() -> None:
    lab = alone(SAFETY, answers=True)
    reference(lab, 30)
    assert not lab.published(Kind.CLAIM)


def test_safety_stops_when_the_peers_broker_is_gone() -> None:
    lab = hot_lab(SAFETY)
    lab.tell(NetworkChecked(is_reachable=True))
    lab.lose("black")
    assert lab.role() is Role.STANDBY


def test_safety_lets_an_operator_promote_with_force() -> None:
    lab = alone(SAFETY, answers=False)
    lab.wait(5)
    lab.order(PromoteOrder())
    lab.wait(1)
    assert lab.role() is not Role.HOT
    lab.wait(TIMING.election)
    lab.order(PromoteOrder(force=True))
    lab.wait(1)
    assert lab.role() is Role.HOT
    assert is_forced(lab)
    lab.wait(30)
    assert lab.role() is Role.HOT


def test_a_forced_node_is_an_ordinary_one_again_with_its_majority() -> None:
    lab = alone(SAFETY, answers=False)
    lab.order(PromoteOrder(force=True))
    lab.wait(2)
    assert is_forced(lab)
    lab.connect("black", record("black", 900, None, Kind.RELEASE))
    lab.wait(CLAIM_AFTER + 0.1)
    assert lab.votes() == 2
    assert not is_forced(lab)
    assert lease.lease_until(lab.state) == lease.majority_until(lab.state)
