"""Never two hot, judged from outside: each node's own claims become intervals, which must not meet.

A claim is the node's own word (its state topic) on its own broker, seen from inside its own
namespace, so that an isolated node is heard too and no network delay blurs the order. It begins
when "hot" is delivered there and ends at the earliest of: the node's own word that it is no
longer hot; the moment at which its process was killed or frozen. A frozen or killed process
holds no lease and acts on nothing; what it left on a broker is stale, not a claim. So is the one
word that it may have been about to say, if its next one takes that back at once.

Precision. Both ends are seen late by the broker's and the observer's turn-round, which the
observer measures all the time with pings. Seeing the old one's end late can only invent an
overlap, so one counts only if it is longer than the slowest ping around that moment plus
HAND_OVER, the time that an agent's own network thread may need on a busy machine.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from tests.lan.observer import Attached, Delivered, Detached, Entry

HAND_OVER = 0.02
PING_WINDOW = 1.0
# From the word that was interrupted by a freeze to the one after it: a turn of the agent's loop.
ONE_TURN = 0.1


@dataclass(frozen=True, slots=True)
class Started:
    """The node's process was started: what its new broker says is the node's word."""

    at: float
    node: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The node's process was killed or frozen: it claims nothing any more."""

    at: float
    node: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """A frozen process runs again; what is retained at its broker is from before."""

    at: float
    node: str


Mark = Started | Ended | Resumed


@dataclass(frozen=True, slots=True)
class Claim:
    """One interval in which a node said by itself that it is hot."""

    node: str
    start: float
    end: float
    term: int
    since: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two nodes claimed to be hot at one time, for longer than the way of observing explains."""

    first: Claim
    second: Claim
    seconds: float
    tolerance: float


RoundTrips = Sequence[tuple[float, float]]


def overlaps(claims: Iterable[Claim], round_trips: Mapping[str, RoundTrips]) -> list[Overlap]:
    """Every proven moment of two hot nodes."""
    found = []
    for first, second in combinations(sorted(claims, key=lambda claim: claim.start), 2):
        if first.node == second.node:
            continue
        seconds = min(first.end, second.end) - second.start
        tolerance = HAND_OVER + max(
            slowest(round_trips.get(claim.node, ()), second.start) for claim in (first, second)
        )
        if seconds > tolerance:
            found.append(Overlap(first, second, seconds, tolerance))
    return found


def slowest(round_trips: RoundTrips, at: float) -> float:
    """The longest turn-round measured around a moment."""
    near = [seconds for when, seconds in round_trips if abs(when - at) < PING_WINDOW + seconds]
    return max(near, default=0.0)


def claims_of(
    node: str, group: str, entries: Sequence[Entry], marks: Sequence[Mark]
) -> list[Claim]:
    """The intervals of one node, in order; the last one may be open (its end is infinity)."""
    reader = _ClaimReader(node, f"edge/{group}/node/{node}/state")
    story: list[Entry | Mark] = [*entries, *(mark for mark in marks if mark.node == node)]
    for item in sorted(story, key=lambda item: item.at):
        reader.read(item)
    return reader.finish()


class _ClaimReader:
    def __init__(self, node: str, topic: str) -> None:
        self.node = node
        self.topic = topic
        self.claims: list[Claim] = []
        self.open: Claim | None = None
        self.may_claim = False
        self.believes_retained = True
        self.own_broker_seen = False
        self.is_interrupted = False
        self.was_interrupted = False

    def read(self, item: Entry | Mark) -> None:
        match item:
            case Started():
                self.may_claim, self.believes_retained = True, True
            case Resumed():
                self.may_claim, self.believes_retained = True, False
                self.is_interrupted = True
            case Ended():
                self.may_claim = False
                self._close(item.at)
            case Attached():
                self.own_broker_seen |= item.via == self.node
            case Detached():
                self.own_broker_seen &= item.via != self.node
            case Delivered():
                if item.topic == self.topic:
                    self._hear(item)

    def finish(self) -> list[Claim]:
        self._close(math.inf)
        return self.claims

    def _hear(self, message: Delivered) -> None:
        state = parse(message.payload)
        # A will is the broker's word about the node, not the node's own.
        if state.get("state") not in {"online", "stopped"}:
            return
        is_hot = state["state"] == "online" and state.get("role") == "hot"
        if is_hot and message.via == self.node:
            self._claim(message, state)
        elif not is_hot and self._may_end(message, state):
            self._take_back(message.at)
            self._close(message.at)
        if message.via == self.node and not message.retained:
            self.is_interrupted = False

    def _claim(self, message: Delivered, state: dict[str, object]) -> None:
        if self.open or not self.may_claim or (message.retained and not self.believes_retained):
            return
        self.was_interrupted = self.is_interrupted
        term = state.get("term")
        self.open = Claim(
            self.node,
            message.at,
            math.inf,
            term if isinstance(term, int) else -1,
            str(state.get("since")),
        )

    def _may_end(self, message: Delivered, state: dict[str, object]) -> bool:
        """Another broker's copy counts only while the own broker is down, and only if newer."""
        if message.via == self.node:
            return True
        newer = self.open is not None and str(state.get("since")) > self.open.since
        return newer and not self.own_broker_seen

    def _take_back(self, at: float) -> None:
        if self.open is not None and self.was_interrupted and at - self.open.start < ONE_TURN:
            self.open = None

    def _close(self, at: float) -> None:
        if self.open is not None:
            last = self.open
            self.claims.append(Claim(last.node, last.start, at, last.term, last.since))
            self.open = None


def parse(payload: bytes) -> dict[str, object]:
    """The JSON object in a payload; an empty one for anything else."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
