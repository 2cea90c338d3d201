"""docs/protocol.md, Around the lease: who may become hot at all. Files, secrets, cold start."""

from edge.core import peers
from edge.core.events import LinkDenied, RecordSeen, StrangerSeen
from edge.core.model import Kind, Link, Member, Phase, Role, Saved
from tests.core.lab import (
    CLAIM_AFTER,
    SAME,
    TIMING,
    Lab,
    hot_lab,
    record,
    standby_lab,
    witness_group,
)

# Cold start


def test_a_node_with_priority_zero_never_claims_by_itself() -> None:
    members = (Member("white", 0), Member("black", 2))
    lab = Lab(witness_group(members=members))
    lab.connect_all()
    lab.wait(60)
    assert not lab.published(Kind.CLAIM)


def test_a_node_that_was_not_synchronised_when_it_stopped_does_not_make_itself_hot() -> None:
    lab = Lab(saved=Saved(was_synchronised=False))
    lab.connect_all()
    lab.wait(60)
    assert not lab.published(Kind.CLAIM)


def test_wait_for_all_waits_until_every_node_was_seen() -> None:
    lab = Lab(witness_group(wait_for_all=True))
    lab.connect_all()
    lab.wait(5)
    assert not lab.published(Kind.CLAIM)
    lab.beat()
    lab.wait(0.5)
    assert lab.role() is Role.HOT


def test_wait_for_all_ends_with_waiting_hot() -> None:
    lab = Lab(witness_group(wait_for_all=True))
    lab.connect_all()
    lab.wait(TIMING.waiting_hot - 0.01)
    assert not lab.published(Kind.CLAIM)
    lab.wait(0.5)
    assert lab.role() is Role.HOT


def test_wait_for_all_is_about_the_start_only() -> None:
    """A node that has met the hot one has joined: its later death is no cold start."""
    lab = standby_lab(witness_group(wait_for_all=True))
    assert lab.state.has_joined
    lab.wait(CLAIM_AFTER + 0.1)
    assert lab.role() is Role.HOT


def test_a_node_without_connections_waits_for_the_hot_one() -> None:
    lab = Lab()
    lab.wait(3)
    assert (lab.state.role, lab.state.phase) == (Role.STARTING, Phase.WAITING_HOT)


# The group's file


def test_a_file_that_differs_from_the_hot_nodes_makes_this_node_faulty() -> None:
    lab = Lab()
    lab.connect_all()
    lab.word(role=Role.HOT, term=1)
    lab.beat(config="another file")
    assert lab.role() is Role.FAULTY
    lab.wait(30)
    assert not lab.published(Kind.CLAIM)


def test_a_hot_node_stays_hot_beside_a_node_with_another_file() -> None:
    lab = hot_lab()
    for _ in range(10):
        lab.wait(0.5)
        lab.beat(config="another file")
    assert lab.role() is Role.HOT


def test_with_a_tie_between_two_files_nobody_becomes_hot() -> None:
    lab = Lab()
    lab.connect_all()
    for _ in range(10):
        lab.beat(config="another file")
        lab.wait(0.5)
    assert lab.role() is Role.FAULTY
    assert not lab.published(Kind.CLAIM)


def test_a_mended_file_ends_the_fault() -> None:
    lab = Lab()
    lab.connect_all()
    lab.beat(config="another file")
    assert lab.role() is Role.FAULTY
    lab.beat(boot="2")
    assert lab.role() is not Role.FAULTY


# The group's secret


def stranger(lab: Lab, broker: str) -> None:
    lab.tell(StrangerSeen(Link(broker)))


def test_a_restart_with_a_mended_file_ends_the_fault() -> None:
    """The new life counts its heartbeats anew, and older ones may stand retained somewhere."""
    lab = standby_lab()
    for _ in range(3):
        lab.beat(config="another file", boot="1")
    assert lab.role() is Role.FAULTY
    lab.counter = 0
    lab.word(role=Role.HOT, boot="2", term=4)
    lab.beat(config=SAME, boot="2")
    assert lab.role() is Role.STANDBY
    lab.counter = 2000
    lab.beat(config="another file", boot="1", retained=True)
    assert lab.role() is Role.STANDBY


def test_a_node_with_a_wrong_secret_does_not_claim_beside_the_group() -> None:
    """Until our secret has proven good, the strangers may be the group, and we the stranger."""
    lab = Lab()
    lab.connect_all()
    for _ in range(40):
        stranger(lab, "router")
        stranger(lab, "black")
        lab.wait(0.25)
    assert not lab.published(Kind.CLAIM)


def test_a_stranger_changes_nothing_once_our_secret_has_proven_good() -> None:
    lab = standby_lab()
    assert lab.state.saved.secret_is_proven
    for _ in range(5):
        lab.wait(CLAIM_AFTER / 5)
        stranger(lab, "router")
        stranger(lab, "black")
    lab.wait(0.01)
    assert lab.published(Kind.CLAIM)


def test_a_retained_message_proves_no_secret() -> None:
    lab = Lab()
    lab.connect("router", record("black", 1, None))
    lab.tell(RecordSeen(Link("router"), record("black", 2, None), retained=True))
    assert not lab.state.saved.secret_is_proven


def test_a_node_whose_secret_a_better_node_refuses_is_faulty() -> None:
    lab = Lab(me="black")
    lab.connect("black")
    lab.connect("router")
    lab.tell(LinkDenied(Link("white")))
    lab.wait(20)
    assert lab.role() is Role.FAULTY
    assert not lab.published(Kind.CLAIM)


def test_a_node_whose_secret_a_worse_node_refuses_carries_on() -> None:
    lab = Lab(me="white")
    lab.connect("white")
    lab.connect("router")
    lab.tell(LinkDenied(Link("black")))
    lab.wait(20)
    assert lab.role() is Role.HOT


def test_a_secret_that_was_good_before_is_right() -> None:
    lab = Lab(me="black", saved=Saved(secret_is_proven=True))
    lab.connect("black")
    lab.connect("router")
    lab.tell(LinkDenied(Link("white")))
    assert lab.role() is not Role.FAULTY


# What is believed of others


def test_a_retained_heartbeat_is_no_sign_of_life() -> None:
    """It may be from an earlier life, and is poison after a power-up."""
    lab = Lab()
    lab.connect_all()
    lab.beat(retained=True)
    assert all(peer.heard_at < 0 for peer in lab.state.peers)
    assert not lab.state.saved.secret_is_proven


def test_an_older_word_of_the_same_life_is_ignored() -> None:
    lab = standby_lab()
    lab.word(role=Role.STANDBY, version=1)
    assert lab.state.peers[0].role is Role.HOT


def test_a_peers_term_is_remembered() -> None:
    lab = standby_lab()
    lab.word(role=Role.HOT, term=88)
    assert lab.state.term == 88


def test_a_good_bye_makes_a_node_no_candidate() -> None:
    lab = Lab(me="black")
    lab.connect_all()
    lab.word("white", broker="black", session="1-1")
    lab.will("black", "white", is_clean=True)
    lab.echoes = False
    lab.wait(CLAIM_AFTER + 0.01)
    assert lab.published(Kind.CLAIM)


def test_a_node_that_has_just_come_is_not_ready_for_a_switchover() -> None:
    """It could not use the release yet (R11): nobody would be hot while it waits."""
    lab = Lab()
    for broker in lab.group.brokers:
        lab.connect(broker, record("black", 1, None, Kind.CLAIM))
    lab.word(role=Role.HOT, term=1)
    lab.beat()
    assert lab.role() is Role.STANDBY
    assert peers.service_level(lab.state) < peers.HEALTHY
    lab.wait(CLAIM_AFTER)
    assert peers.service_level(lab.state) >= peers.HEALTHY
