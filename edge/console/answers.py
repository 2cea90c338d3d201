"""What each HTTP path answers, from a snapshot of this node. Pure.

A load balancer sends traffic where /hot says 200. That must never outlast the lease: whether this
node may act is decided for the moment of the answer, not by its role alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
# The text format of Prometheus.
METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """This node now. `is_acting`: hot, its duty runs, its lease has not run out; `is_ready`:
    standby and able to take over; `is_witness`: it only votes; `is_public`: anybody may read the
    state."""

    group: str
    node: str
    role: str
    phase: str
    reason: str
    term: int
    hot: str | None
    service_level: int
    is_acting: bool
    is_ready: bool
    is_witness: bool
    is_public: bool
    state: Callable[[], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


def answer(path: str, snapshot: Snapshot) -> Answer:
    """For GET and HEAD; `path` without the query."""
    if path in {"/hot", "/standby", "/health"}:
        return _verdict(snapshot, is_good=_is_good(path, snapshot))
    if path in {"/api/state", "/metrics"} and not snapshot.is_public:
        return problem(403, 'the file says: access.anonymous = "none"')
    match path:
        case "/":
            return Answer(200, PLAIN, _front(snapshot))
        case "/api/state":
            return Answer(200, JSON, orjson.dumps(snapshot.state()) + b"\n")
        case "/metrics":
            return Answer(200, METRICS, _metrics(snapshot))
    return problem(404, "there is / /hot /standby /health /metrics /api/state")


def _is_good(path: str, snapshot: Snapshot) -> bool:
    if path == "/hot":
        return snapshot.is_acting
    if path == "/standby":
        return snapshot.is_ready
    return snapshot.is_acting or snapshot.is_ready or snapshot.is_witness


def problem(status: int, sentence: str) -> Answer:
    return Answer(status, PLAIN, f"{sentence}\n".encode())


def _verdict(snapshot: Snapshot, *, is_good: bool) -> Answer:
    content = {
        "node": snapshot.node,
        "role": snapshot.role,
        "phase": snapshot.phase,
        "term": snapshot.term,
        "hot": snapshot.hot,
        "reason": snapshot.reason,
    }
    return Answer(200 if is_good else 503, JSON, orjson.dumps(content) + b"\n")


def _front(snapshot: Snapshot) -> bytes:
    hot = f"{snapshot.hot} is hot" if snapshot.hot else "nobody is hot"
    return (
        f"edge, group {snapshot.group}: this is {snapshot.node}, {snapshot.role}; {hot}, "
        f"term {snapshot.term}\n"
        "/hot /standby /health /metrics /api/state\n"
    ).encode()


def _metrics(snapshot: Snapshot) -> bytes:
    """A few gauges do not need a library of 5 MB; names of groups and nodes need no escaping."""
    state = snapshot.state()
    votes = state.get("votes")
    held, needed = (votes["held"], votes["needed"]) if isinstance(votes, dict) else (0, 0)
    gauges = (
        (
            "edge_acting",
            "this node is hot, its duty runs and its lease holds",
            int(snapshot.is_acting),
        ),
        ("edge_ready", "this node is standby and can take over", int(snapshot.is_ready)),
        ("edge_term", "the term of the hot node as this node sees it", snapshot.term),
        ("edge_service_level", "as in OPC UA, 255 is hot", snapshot.service_level),
        ("edge_has_hot", "somebody is hot as this node sees it", int(snapshot.hot is not None)),
        ("edge_redundant", "any one machine may fail", int(state.get("redundant") is True)),
        ("edge_votes_held", "brokers that the hot node holds", held),
        ("edge_votes_needed", "brokers that it needs", needed),
    )
    labels = f'{{group="{snapshot.group}",node="{snapshot.node}"}}'
    lines = (
        f"# HELP {name} {text}\n# TYPE {name} gauge\n{name}{labels} {value}\n"
        for name, text, value in gauges
    )
    return "".join(lines).encode()
