"""Topics and payloads: the one place that spells a topic, and the only judge of what arrives.

Pure: bytes to values and back. Whatever is wrong with a message becomes a `Rejected` value;
nothing here raises for what somebody sent. Every record, state, will and heartbeat carries a mac
over its content, the group, the broker and the topic (docs/protocol.md, Records), so that a
message copied to another broker or topic is as worthless as a forged one.
"""

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NewType

import orjson

from edge.core.events import Event, HeartbeatSeen, PeerSeen, RecordSeen, StrangerSeen, WillSeen
from edge.core.model import Kind, Link, Pause, Record, RecordId, Role

Payload = dict[str, Any]
Key = NewType("Key", bytes)

# Our own messages stay below 2 KiB; a larger one is not worth parsing.
PAYLOAD_MAX = 16 * 1024
TERM_MAX = 2**53
SESSION = re.compile(r"[0-9a-z]{1,32}-[0-9]{1,12}")
SORTED = orjson.OPT_SORT_KEYS


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that changes nothing. `cause` is a counter's name, `topic` where it stood."""

    cause: str
    topic: str


@dataclass(frozen=True, slots=True)
class Request:
    """A command as somebody published it: a bare word, or a JSON object."""

    command: str
    arguments: Payload
    transaction: Any = None


def mac_key(secret: bytes, group: str) -> Key:
    return Key(hmac.digest(secret, b"edge mac " + group.encode(), "sha256"))


def broker_token(secret: bytes, group: str, node: str, broker: str) -> str:
    """The password with which `node` logs on to `broker`: good there and nowhere else."""
    text = f"edge broker {group} {node} {broker}"
    return hmac.new(secret, text.encode(), sha256).hexdigest()


def secret_digest(secret: bytes) -> str:
    """Tells whether a secret is the one that was good before; does not give it away."""
    return hmac.new(secret, b"edge digest", sha256).hexdigest()[:16]


class Topics:
    """Every topic of one group."""

    def __init__(self, group: str) -> None:
        self.root = f"edge/{group}"
        self.lease = f"{self.root}/lease"
        self.hot = f"{self.root}/hot"
        self.broker = f"{self.root}/broker"
        self.state = f"{self.root}/state"
        self.event = f"{self.root}/event"
        self.history = f"{self.root}/history"
        self.requests = f"{self.root}/request/+"
        self.states = f"{self.root}/node/+/state"
        self.heartbeats = f"{self.root}/node/+/heartbeat"
        self.alerts = f"{self.root}/alert/+"

    def node_state(self, node: str) -> str:
        return f"{self.root}/node/{node}/state"

    def node_heartbeat(self, node: str) -> str:
        return f"{self.root}/node/{node}/heartbeat"

    def node_role(self, node: str) -> str:
        return f"{self.root}/node/{node}/role"

    def alert(self, name: str) -> str:
        return f"{self.root}/alert/{name}"

    def request(self, command: str) -> str:
        return f"{self.root}/request/{command}"

    def response(self, command: str) -> str:
        return f"{self.root}/response/{command}"


def encode(payload: Payload | list[Payload]) -> bytes:
    return orjson.dumps(payload)


def seal(key: Key, broker: str, topic: str, payload: Payload) -> bytes:
    """The payload as JSON with its mac."""
    return orjson.dumps({**payload, "mac": _mac(key, broker, topic, payload)})


def _mac(key: Key, broker: str, topic: str, payload: Payload) -> str:
    text = b"\0".join((broker.encode(), topic.encode(), orjson.dumps(payload, option=SORTED)))
    return hmac.digest(key, text, "sha256").hex()


def _open(key: Key, broker: str, topic: str, raw: bytes) -> Payload | str:
    """The payload without its mac, or the name of what is wrong with it."""
    if len(raw) > PAYLOAD_MAX:
        return "too_large"
    try:
        payload = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "not_json"
    if not isinstance(payload, dict):
        return "not_an_object"
    mac = payload.pop("mac", None)
    if not isinstance(mac, str) or not mac.isascii():
        return "no_mac"
    try:
        expected = _mac(key, broker, topic, payload)
    except orjson.JSONEncodeError:  # integers that JSON allows and orjson does not write
        return "bad_mac"
    return payload if hmac.compare_digest(mac, expected) else "bad_mac"


def record_payload(record: Record) -> Payload:
    payload: Payload = {
        "id": _id_text(record.id),
        "basis": None if record.basis is None else _id_text(record.basis),
        "kind": record.kind,
        "node": record.id.node,
        "session": record.id.session,
        "term": record.term,
    }
    return payload if record.to is None else {**payload, "to": record.to}


def _id_text(record_id: RecordId) -> str:
    return f"{record_id.node}.{record_id.session}.{record_id.counter}"


def heartbeat_payload(event: HeartbeatSeen, loop_late_ms: int) -> Payload:
    twin = {"other_boot": event.other_boot} if event.other_boot else {}
    return {
        **twin,
        "boot": event.boot,
        "seq": event.sequence,
        "loop_late_ms": loop_late_ms,
        "config": event.config,
        "session": event.session,
        "pause": [event.pause.counter, event.pause.is_on],
        "term": event.term,
    }


class Decoder:
    """What arrives on the group's topics, judged. `nodes` are the names that may speak."""

    def __init__(self, key: Key, group: str, nodes: frozenset[str]) -> None:
        self._key = key
        self._topics = Topics(group)
        self._nodes = nodes
        root = re.escape(self._topics.root)
        self._node_topic = re.compile(rf"{root}/node/([^/]+)/(state|heartbeat)")

    def decode(self, link: Link, topic: str, raw: bytes, *, retained: bool) -> Event | Rejected:
        """An event for the core, or why not. An empty payload clears a topic: nobody's word."""
        match = self._node_topic.fullmatch(topic)
        is_lease = topic == self._topics.lease
        if match is None and not is_lease:
            return Rejected("unknown_topic", topic)
        if match is not None and match[1] not in self._nodes:
            return Rejected("unknown_node", topic)
        payload = _open(self._key, link.broker, topic, raw) if raw else "empty"
        if isinstance(payload, str):
            is_forged = is_lease and payload in {"bad_mac", "no_mac"}
            return StrangerSeen(link) if is_forged else Rejected(payload, topic)
        event = self._event(link, match, payload, retained=retained)
        return Rejected("wrong_types", topic) if event is None else event

    def _event(
        self, link: Link, match: re.Match[str] | None, payload: Payload, *, retained: bool
    ) -> Event | None:
        try:
            if match is None:
                return RecordSeen(link, self._record(payload), retained)
            if match[2] == "heartbeat":
                return _heartbeat(link, match[1], payload, retained=retained)
            return _node_state(link, match[1], payload, retained=retained)
        except (KeyError, TypeError, ValueError):
            return None

    def _record(self, payload: Payload) -> Record:
        record_id = self._id(payload["id"])
        if (payload["node"], payload["session"]) != (record_id.node, record_id.session):
            raise ValueError("id and sender differ")
        basis = None if payload["basis"] is None else self._id(payload["basis"])
        to = payload.get("to")
        if to is not None and to not in self._nodes:
            raise ValueError("unknown target")
        return Record(record_id, basis, Kind(payload["kind"]), _term(payload["term"]), to)

    def _id(self, text: object) -> RecordId:
        node, session, counter = _text(text).rsplit(".", 2)
        if node not in self._nodes:
            raise ValueError("unknown node")
        return RecordId(node, _session(session), _natural(int(counter)))


def _heartbeat(link: Link, node: str, payload: Payload, *, retained: bool) -> HeartbeatSeen:
    counter, is_on = payload["pause"]
    return HeartbeatSeen(
        link=link,
        node=node,
        session=_session(payload["session"]),
        boot=_text(payload["boot"]),
        sequence=_natural(payload["seq"]),
        config=_text(payload["config"]),
        pause=Pause(_natural(counter), _flag(is_on)),
        retained=retained,
        term=_term(payload.get("term", 0)),
        other_boot=_text(payload["other_boot"]) if "other_boot" in payload else "",
    )


def _node_state(
    link: Link, node: str, payload: Payload, *, retained: bool
) -> PeerSeen | WillSeen | None:
    session = _session(payload["session"])
    match payload["state"]:
        case "lost":
            return WillSeen(link, node, session, is_clean=False, retained=retained)
        case "stopped":
            return WillSeen(link, node, session, is_clean=True, retained=retained)
        case "online":
            return PeerSeen(
                link=link,
                node=node,
                session=session,
                boot=_text(payload["boot"]),
                version=_natural(payload["seq"]),
                role=Role(payload["role"]),
                term=_term(payload["term"]),
                is_synchronised=_flag(payload["synchronised"]),
                service_level=_natural(payload["service_level"]),
                retained=retained,
            )
    return None


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise ValueError("not a short text")
    return value


def _session(value: object) -> str:
    if not SESSION.fullmatch(_text(value)):
        raise ValueError("not a session")
    return _text(value)


def _natural(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= TERM_MAX:
        raise ValueError("not a natural number")
    return value


def _term(value: object) -> int:
    return _natural(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a truth value")
    return value


def decode_request(command: str, raw: bytes) -> Request | str:
    """A request, or a sentence that says what is wrong with it.

    Bare text is the argument itself (the node's name), an object holds arguments by name.
    """
    if len(raw) > PAYLOAD_MAX:
        return "the request is too large"
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        return "the request is not UTF-8 text"
    if not text.startswith(("{", "[", '"')):
        return Request(command, {"to": text} if text else {})
    try:
        payload = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "the request is not valid JSON"
    if not isinstance(payload, dict):
        return "the request must be a bare word or a JSON object"
    transaction = payload.pop("transaction", None)
    return Request(command, payload, transaction)


def decode_response(raw: bytes) -> Payload | None:
    """A response as an object, or None if it is none."""
    try:
        payload = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return payload if isinstance(payload, dict) else None
