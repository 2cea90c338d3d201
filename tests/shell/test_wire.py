"""Topics and payloads: what goes out comes back equal, and what is not ours changes nothing."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.events import HeartbeatSeen, PeerSeen, RecordSeen, StrangerSeen, WillSeen
from edge.core.model import Kind, Link, Pause, Record, RecordId, Role
from edge.wire import (
    PAYLOAD_MAX,
    TERM_MAX,
    Decoder,
    Rejected,
    Request,
    Topics,
    broker_token,
    decode_request,
    decode_response,
    heartbeat_payload,
    mac_key,
    record_payload,
    seal,
    secret_digest,
)

TOPICS = Topics("RPI")
KEY = mac_key(b"secret", "RPI")
LINK = Link("router", 1)
NODES = frozenset({"white", "black"})
DECODER = Decoder(KEY, "RPI", NODES)

sessions = st.from_regex(r"[0-9a-z]{1,8}-[0-9]{1,6}", fullmatch=True)
ids = st.builds(RecordId, st.sampled_from(sorted(NODES)), sessions, st.integers(0, TERM_MAX))
records = st.builds(
    Record,
    ids,
    st.none() | ids,
    st.sampled_from(Kind),
    st.integers(0, TERM_MAX),
    st.none() | st.sampled_from(sorted(NODES)),
)
RECORD = Record(RecordId("white", "1a-2", 3), RecordId("black", "2-1", 9), Kind.CLAIM, 5)
STATE: dict[str, Any] = {
    "state": "online",
    "role": "standby",
    "term": 4,
    "session": "1a-2",
    "boot": "1a",
    "seq": 7,
    "synchronised": True,
    "service_level": 250,
}
BEAT = HeartbeatSeen(LINK, "white", "1a-2", "1a", 12, "hash", Pause(3, is_on=True), term=5)


def sealed(topic: str, payload: dict[str, Any], broker: str = "router") -> bytes:
    return seal(KEY, broker, topic, payload)


def decode(topic: str, raw: bytes, *, retained: bool = False) -> object:
    return DECODER.decode(LINK, topic, raw, retained=retained)


@settings(deadline=None, derandomize=True)
@given(record=records, retained=st.booleans())
def test_a_record_comes_back_equal(record: Record, retained: bool) -> None:
    raw = sealed(TOPICS.lease, record_payload(record))
    assert decode(TOPICS.lease, raw, retained=retained) == RecordSeen(LINK, record, retained)


def test_a_heartbeat_comes_back_equal() -> None:
    topic = TOPICS.node_heartbeat("white")
    for beat in (BEAT, replace(BEAT, other_boot="2b")):
        assert decode(topic, sealed(topic, heartbeat_payload(beat, 3))) == beat


def test_a_state_comes_back_as_the_nodes_word() -> None:
    topic = TOPICS.node_state("white")
    assert decode(topic, sealed(topic, STATE)) == PeerSeen(
        LINK, "white", "1a-2", "1a", 7, Role.STANDBY, 4, True, 250
    )


@pytest.mark.parametrize(("word", "is_clean"), [("lost", False), ("stopped", True)])
def test_a_will_and_a_good_bye(word: str, is_clean: bool) -> None:
    topic = TOPICS.node_state("black")
    raw = sealed(topic, {"state": word, "session": "2-1"})
    assert decode(topic, raw, retained=True) == WillSeen(LINK, "black", "2-1", is_clean, True)


def test_a_record_copied_to_another_broker_is_a_strangers() -> None:
    raw = sealed(TOPICS.lease, record_payload(RECORD), broker="white")
    assert decode(TOPICS.lease, raw) == StrangerSeen(LINK)


def test_a_record_under_another_secret_is_a_strangers() -> None:
    raw = seal(mac_key(b"other", "RPI"), "router", TOPICS.lease, record_payload(RECORD))
    assert decode(TOPICS.lease, raw) == StrangerSeen(LINK)


def test_a_record_of_another_group_with_the_same_secret_is_a_strangers() -> None:
    raw = seal(mac_key(b"secret", "other"), "router", TOPICS.lease, record_payload(RECORD))
    assert decode(TOPICS.lease, raw) == StrangerSeen(LINK)


def test_a_state_copied_to_another_nodes_topic_is_rejected() -> None:
    raw = sealed(TOPICS.node_state("white"), STATE)
    topic = TOPICS.node_state("black")
    assert decode(topic, raw) == Rejected("bad_mac", topic)


def test_a_changed_field_breaks_the_mac() -> None:
    raw = sealed(TOPICS.lease, record_payload(RECORD))
    assert decode(TOPICS.lease, raw.replace(b'"term":5', b'"term":6')) == StrangerSeen(LINK)


def test_the_order_of_the_fields_does_not_matter() -> None:
    fields = orjson.loads(sealed(TOPICS.lease, record_payload(RECORD)))
    turned = orjson.dumps(dict(reversed(fields.items())))
    assert decode(TOPICS.lease, turned) == RecordSeen(LINK, RECORD)


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", "empty"),
        (b"hello", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[1]", "not_an_object"),
        (b"{}", "no_mac"),
        (b'{"mac":5}', "no_mac"),
        ('{"mac":"ä"}'.encode(), "no_mac"),
        (b'{"mac":"00"}', "bad_mac"),
        (b'{"a":18446744073709551616,"mac":"00"}', "bad_mac"),
        (b'{"a":"\\ud800","mac":"00"}', "not_json"),
        (b" " * (PAYLOAD_MAX + 1), "too_large"),
        (b"[" * 5000, "not_json"),
    ],
)
def test_what_is_not_ours_is_named_and_changes_nothing(raw: bytes, cause: str) -> None:
    topic = TOPICS.node_state("white")
    assert decode(topic, raw) == Rejected(cause, topic)


@pytest.mark.parametrize(
    "topic",
    [
        "edge/RPI",
        "edge/RPI/leases",
        "edge/RPI/node/white/role",
        "edge/RPI/node/white/state/x",
        "edge/other/lease",
        "edge/RPIx/node/white/state",
    ],
)
def test_a_topic_that_we_do_not_read_is_unknown(topic: str) -> None:
    assert decode(topic, b"{}") == Rejected("unknown_topic", topic)


def test_an_unknown_node_may_not_speak() -> None:
    topic = TOPICS.node_state("nobody")
    assert decode(topic, sealed(topic, STATE)) == Rejected("unknown_node", topic)


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": "white.1a-2"},
        {"id": "nobody.1a-2.3"},
        {"id": "white.1a-2.-3"},
        {"id": "white.1A-2.3"},
        {"id": "white.1a-2.x"},
        {"basis": 5},
        {"basis": "..."},
        {"kind": "steal"},
        {"kind": ["claim"]},
        {"node": "black"},
        {"session": "1a-3"},
        {"term": -1},
        {"term": True},
        {"term": 1.5},
        {"term": TERM_MAX + 1},
        {"to": "nobody"},
        {"to": ["white"]},
    ],
)
def test_a_record_of_wrong_types_is_rejected(change: dict[str, Any]) -> None:
    raw = sealed(TOPICS.lease, {**record_payload(RECORD), **change})
    assert decode(TOPICS.lease, raw) == Rejected("wrong_types", TOPICS.lease)


@pytest.mark.parametrize("name", sorted(record_payload(RECORD)))
def test_a_record_that_lacks_a_field_is_rejected(name: str) -> None:
    payload = record_payload(RECORD)
    del payload[name]
    assert decode(TOPICS.lease, sealed(TOPICS.lease, payload)) == Rejected(
        "wrong_types", TOPICS.lease
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(STATE)), value=values)
def test_no_type_of_a_state_is_taken_for_granted(name: str, value: Any) -> None:
    topic = TOPICS.node_state("white")
    answer = decode(topic, sealed(topic, {**STATE, name: value}))
    assert isinstance(answer, PeerSeen | WillSeen | Rejected)


@settings(deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(heartbeat_payload(BEAT, 0))), value=values)
def test_no_type_of_a_heartbeat_is_taken_for_granted(name: str, value: Any) -> None:
    topic = TOPICS.node_heartbeat("white")
    answer = decode(topic, sealed(topic, {**heartbeat_payload(BEAT, 0), name: value}))
    assert isinstance(answer, HeartbeatSeen | Rejected)


@settings(deadline=None, derandomize=True)
@given(raw=st.binary(max_size=200))
def test_no_bytes_raise(raw: bytes) -> None:
    for topic in (TOPICS.lease, TOPICS.node_state("white"), TOPICS.node_heartbeat("black")):
        assert isinstance(decode(topic, raw), Rejected | StrangerSeen)
    decode_request("ping", raw)
    decode_response(raw)


# Requests


@pytest.mark.parametrize(
    ("raw", "request_"),
    [
        (b"", Request("switchover", {})),
        (b" black \n", Request("switchover", {"to": "black"})),
        (b'{"to":"black"}', Request("switchover", {"to": "black"})),
        (b'{"transaction":5}', Request("switchover", {}, 5)),
    ],
)
def test_a_request_is_a_bare_word_or_an_object(raw: bytes, request_: Request) -> None:
    assert decode_request("switchover", raw) == request_


@pytest.mark.parametrize("raw", [b"\xff", b"{", b"[]", b'"black"', b"x" * (PAYLOAD_MAX + 1)])
def test_a_bad_request_is_a_sentence(raw: bytes) -> None:
    assert isinstance(decode_request("ping", raw), str)


def test_a_response_is_an_object_or_nothing() -> None:
    assert decode_response(b'{"status":"ok"}') == {"status": "ok"}
    assert decode_response(b"[]") is None
    assert decode_response(b"hello") is None


# Secrets


def test_a_token_is_good_for_one_node_at_one_broker_of_one_group() -> None:
    tokens = {
        broker_token(secret, group, node, broker)
        for secret in (b"one", b"two")
        for group in ("RPI", "other")
        for node in ("white", "black")
        for broker in ("white", "black")
    }
    assert len(tokens) == 16


def test_the_digest_tells_secrets_apart_and_does_not_hold_them() -> None:
    assert secret_digest(b"one") == secret_digest(b"one") != secret_digest(b"two")
    assert b"one".hex() not in secret_digest(b"one")
