"""Bad input on every topic that is read, forged and replayed records, noise, a mute broker.

Who may publish at an open witness can disturb the group there, but never fool it: no role
changes, and the group still fails over afterwards.
"""

import json

import pytest

from tests.lan.conftest import MakeGroup
from tests.lan.deadline import holds_for
from tests.lan.group import OUTSIDE, OUTSIDER, Group
from tests.lan.groupfile import WITNESS, GroupFile
from tests.lan.observer import Delivered
from tests.lan.raw import garbage, mute_broker, publish_all

pytestmark = pytest.mark.lan

LONG_ENOUGH = 2.5

READ_TOPICS = (
    "lease",
    "node/white/state",
    "node/black/state",
    "node/white/heartbeat",
    "node/black/heartbeat",
    "node/nobody/state",
    "node/nobody/heartbeat",
)

BAD_PAYLOADS = (
    b"{",
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b"7",
    b'"hot"',
    b'{"state": 5, "role": [], "session": {}, "boot": 1, "term": "many", "mac": 0}',
    b'{"id": 1, "basis": 2, "kind": "steal", "node": 3, "session": null, "term": -1}',
    b'{"id":"x","basis":null,"kind":"claim","node":"nobody","session":"1","term":1e400,"mac":""}',
    b"[" * 100_000,
    b"x" * 1_000_000,
)


BAD_REQUESTS = (
    b"{",
    b"\xff\xfe\x00",
    b"nobody",
    b"[]",
    b'"black"',
    b'{"to": 5}',
    b'{"to": ["black"], "transaction": {"deep": []}}',
    b'{"to": "nobody", "force": "yes"}',
    b'{"to": {"node": "black"}}',
    b"[" * 100_000,
    b"x" * 1_000_000,
)


@pytest.fixture
def group(make_group: MakeGroup) -> Group:
    made = make_group(GroupFile(anonymous="operate"))
    made.start_redundant()
    return made


def survives(group: Group) -> None:
    """White stays hot, nothing was even tried, and black still takes over when it must."""
    holds_for(LONG_ENOUGH, lambda: group.role("white") == "hot", "white stays hot", group.explain)
    group.wait_redundant("white", "black")
    group.assert_undisturbed("white")
    group.kill("white")
    group.wait_hot("black")


def outsider_publishes(
    group: Group, at: str, messages: list[tuple[str, bytes]], *, retained: bool = False
) -> None:
    hosts = group.lan.hosts
    full = [(group.topic(topic), payload) for topic, payload in messages]
    publish_all(hosts[OUTSIDER], hosts[at], full, retained=retained)


@pytest.mark.parametrize("retained", [False, True], ids=["live", "retained"])
def test_bad_input_at_an_open_witness(group: Group, retained: bool) -> None:
    messages = [(topic, payload) for topic in READ_TOPICS for payload in BAD_PAYLOADS]
    outsider_publishes(group, WITNESS, messages, retained=retained)
    survives(group)


def test_cleared_topics_at_an_open_witness(group: Group) -> None:
    """An empty retained message removes what the group keeps there."""
    outsider_publishes(group, WITNESS, [(topic, b"") for topic in READ_TOPICS], retained=True)
    survives(group)


def test_forged_records_at_an_open_witness(group: Group) -> None:
    """Well-formed records and wills of members, without the group's secret."""
    state = group.own_state("white")
    forged = {
        "basis": None,
        "node": "black",
        "session": "forged",
        "term": 1_000_000,
        "mac": "0" * 64,
    }
    messages = [
        ("lease", json.dumps({**forged, "id": f"forged-{kind}", "kind": kind}).encode())
        for kind in ("claim", "renew", "release")
    ]
    will = {**state, "state": "lost"}
    stopped = {**state, "state": "stopped"}
    messages += [("node/white/state", json.dumps(body).encode()) for body in (will, stopped)]
    outsider_publishes(group, WITNESS, messages, retained=True)
    survives(group)


def test_replayed_messages_at_an_open_witness(group: Group) -> None:
    """Everything the group ever said there, said again: old records, sessions and heartbeats."""
    group.kill("white")
    group.wait_hot("black")
    group.start("white")
    group.wait_redundant("black", "white")
    prefix = group.topic("")
    replay = [
        (entry.topic.removeprefix(prefix), entry.payload)
        for entry in list(group.observer.entries)
        if isinstance(entry, Delivered) and entry.via == WITNESS and entry.payload
    ]
    assert {topic for topic, _ in replay} >= {"lease", "node/white/state", "node/white/heartbeat"}
    outsider_publishes(group, WITNESS, replay, retained=True)
    holds_for(LONG_ENOUGH, lambda: group.role("black") == "hot", "black stays hot", group.explain)
    assert len(group.claims("black")) == 1
    group.kill("black")
    group.wait_hot("white")


def test_bad_requests_at_the_hot_node_s_broker(group: Group) -> None:
    """From somebody who may operate: nonsense is answered or ignored, never obeyed."""
    commands = ("switchover", "promote", "no-such-command", "", "switchover/black")
    messages = [(f"request/{command}", payload) for command in commands for payload in BAD_REQUESTS]
    outsider_publishes(group, "white", messages)
    survives(group)


def test_two_hundred_connections_of_garbage_at_the_hot_node_s_broker(group: Group) -> None:
    hosts = group.lan.hosts
    with garbage(hosts[OUTSIDER], hosts["white"], 200):
        holds_for(LONG_ENOUGH, lambda: group.role("white") == "hot", "white hot", group.explain)
        assert group.publish("white", "request/ping", "") == 0
    survives(group)


def test_witness_that_accepts_tcp_and_never_answers(make_group: MakeGroup) -> None:
    """It is no vote, and waiting for it holds nothing up."""
    group = make_group()
    with mute_broker(group.lan.hosts[WITNESS]):
        group.start("white", "black")
        group.wait_for(
            lambda: "hot" in {group.role("white"), group.role("black")}, "one is hot", 40
        )
        hot = "white" if group.role("white") == "hot" else "black"
        group.wait_hot(hot, seen_by=("white", "black"))
        holds_for(LONG_ENOUGH, lambda: group.role(hot) == "hot", "it stays hot", group.explain)
        group.assert_undisturbed(hot)
    group.start(WITNESS)
    group.wait_redundant(hot, "black" if hot == "white" else "white")
    assert group.observer.is_attached(WITNESS + OUTSIDE)
