"""docs/protocol.md, The rule of the last will: a holder that is dead before its lease is over."""

import pytest

from edge.core import death
from edge.core.events import Woke
from edge.core.model import Kind, RecordId, Role
from tests.core.lab import CLAIM_AFTER, TIMING, Lab, record, standby_lab, three_group, witness_group


def is_dead(lab: Lab, node: str = "black") -> bool:
    return death.dead_since(lab.state, node) is not None


def test_one_reset_connection_frees_nothing() -> None:
    lab = standby_lab()
    lab.will("router")
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)


def test_a_majority_of_wills_with_the_nodes_own_broker_proves_a_death() -> None:
    lab = standby_lab()
    lab.will("router")
    assert not is_dead(lab)
    lab.will("black")
    assert is_dead(lab)


def test_a_majority_without_the_nodes_own_broker_proves_nothing_while_that_one_is_there() -> None:
    lab = standby_lab()
    lab.will("router")
    lab.will("white")
    assert not is_dead(lab)


def test_a_lost_link_to_the_nodes_own_broker_stands_for_its_will() -> None:
    lab = standby_lab()
    lab.will("router")
    lab.will("white")
    lab.lose("black")
    assert is_dead(lab)


def test_a_lost_link_alone_is_no_will() -> None:
    lab = standby_lab()
    lab.will("router")
    lab.lose("black")
    assert not is_dead(lab)


def test_the_wills_must_come_within_one_fence_delay() -> None:
    lab = standby_lab()
    lab.will("router")
    lab.wait(TIMING.fence_delay + 0.01)
    lab.will("black")
    assert not is_dead(lab)


def test_the_claim_waits_for_fence_delay() -> None:
    lab = standby_lab()
    lab.will("router")
    lab.will("black")
    lab.will("white")
    lab.wait(TIMING.fence_delay - 0.001)
    assert not lab.published(Kind.CLAIM)
    lab.wait(0.002)
    assert lab.role() is Role.HOT
    assert lab.state.tenure is not None
    assert lab.state.tenure.reason == "died"


def test_trust_will_false_turns_the_rule_off() -> None:
    lab = standby_lab(witness_group(trust_will=False))
    for broker in lab.group.brokers:
        lab.will(broker)
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)


def test_another_living_session_of_the_node_speaks_for_its_life() -> None:
    """One of two paths was lost; the other one was heard within claim_after."""
    lab = standby_lab()
    for broker in ("router", "black", "white"):
        lab.beat(broker=broker, session="1-2")
    for broker in ("router", "black", "white"):
        lab.will(broker)
    assert not is_dead(lab)
    for broker in ("router", "black", "white"):
        lab.will(broker, session="1-2")
    assert is_dead(lab)


def test_a_sign_of_life_after_the_wills_makes_them_void() -> None:
    """Late wills of sessions that were replaced long ago, by a node that is heard elsewhere."""
    lab = standby_lab()
    lab.will("router")
    lab.will("black")
    assert is_dead(lab)
    lab.wait(0.01)
    lab.beat(broker="white", session="1-1")
    assert not is_dead(lab)
    lab.wait(CLAIM_AFTER / 2)
    assert not lab.published(Kind.CLAIM)


def test_a_retained_will_tells_of_the_past() -> None:
    lab = standby_lab()
    for broker in lab.group.brokers:
        lab.will(broker, retained=True)
    assert not is_dead(lab)


def test_the_will_of_a_session_that_is_not_the_holders_last_one_proves_nothing() -> None:
    lab = standby_lab()
    for broker in lab.group.brokers:
        lab.will(broker, session="0-1")
    assert not is_dead(lab)


def test_a_holder_that_was_only_assumed_is_not_replaced_by_its_death() -> None:
    """The retained record was a lost claim of green, who then dies; black holds, and lives."""
    lab = Lab(three_group())
    lost = record("green", 1, RecordId("black", "1-1", 9), Kind.CLAIM)
    for broker in lab.group.brokers:
        lab.connect(broker, lost)
    lab.wait(0.01)
    for broker in lab.group.brokers:
        lab.will(broker, "green")
    assert is_dead(lab, "green")
    lab.wait(CLAIM_AFTER - 0.05)
    assert not lab.published(Kind.CLAIM)


@pytest.mark.parametrize("broker", ["white", "router"])
def test_a_wills_rule_needs_no_rank_of_the_dead(broker: str) -> None:
    """The dead hot node is no candidate that others would have to wait for."""
    lab = standby_lab(me="white")
    for each in ("black", broker):
        lab.will(each)
    lab.wait(TIMING.fence_delay + 0.001)
    lab.tell(Woke())
    assert lab.role() is Role.HOT
