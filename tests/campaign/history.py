"""All that a campaign remembers, as values: what was done to the group and what was seen of it.

The checks are pure functions of one `History`. Every instant is CLOCK_MONOTONIC of one machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tests.campaign.ledger import Entry, Hot, Life, hot_intervals
from tests.campaign.plan import Fault


@dataclass(frozen=True, slots=True)
class Rules:
    """The promises and the timings that they are made of (docs/protocol.md, Constants)."""

    policy: str
    nodes: tuple[str, ...]
    brokers: tuple[str, ...]
    lease: float = 1.0
    claim_after: float = 1.12
    fence_delay: float = 0.1
    stagger: float = 0.15
    reconnect: float = 3.0

    @property
    def elects_within(self) -> float:
        """ "What must hold" 3, once all brokers are connected."""
        return self.claim_after + 2 * self.stagger + 0.5


@dataclass(frozen=True, slots=True)
class Suffered:
    """A fault that was done. It was in force at the latest from `began_at`, and `to` is over."""

    fault: Fault
    target: str
    other: str
    struck_at: float
    began_at: float
    ended_at: float
    amount: int = 0

    def over(self, at: float) -> "Suffered":
        return replace(self, ended_at=at)

    def touches(self, *names: str) -> bool:
        return bool({self.target, self.other} & set(names))


@dataclass(frozen=True, slots=True)
class Died:
    """A process is gone: killed by the campaign, or by itself with that exit code."""

    at: float
    node: str
    by_itself: bool = False
    code: int = 0


@dataclass(frozen=True, slots=True)
class Calm:
    """From the end of the last fault with every member started, to the end of the episode.

    `brokers_at` is when the last broker let its observer in, `hold_from` when the group was
    redundant again (infinity: never).
    """

    began_at: float
    brokers_at: float
    hold_from: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class Request:
    """One that was sent. `transaction` names it in its response."""

    sent_at: float
    command: str
    via: str
    to: str
    transaction: str


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, seen by an observer at the broker that was asked."""

    at: float
    via: str
    command: str
    transaction: str
    is_ok: bool
    code: str = ""
    hot: str = ""
    term: int = 0
    node: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """The plain word on the `hot` topic of a broker, as its subscribers got it."""

    at: float
    via: str
    hot: str


@dataclass(frozen=True, slots=True)
class Told:
    """A role change on the event topic of one broker."""

    at: float
    via: str
    event: str
    to: str
    term: int


@dataclass(frozen=True, slots=True)
class Late:
    """The machine let a process sleep that much too long, ending at `at`."""

    at: float
    seconds: float


@dataclass
class History:
    """One run. What is derived from it is computed once: judge a copy, go on with the original."""

    rules: Rules
    notes: dict[str, Sequence[Life | Entry]] = field(default_factory=dict)
    suffered: list[Suffered] = field(default_factory=list)
    deaths: list[Died] = field(default_factory=list)
    calms: list[Calm] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)

    @cached_property
    def hots(self) -> tuple[Hot, ...]:
        """Every interval of every node, by its start."""
        found = [
            hot
            for node, notes in self.notes.items()
            for hot in hot_intervals(node, notes, [d.at for d in self.deaths if d.node == node])
        ]
        return tuple(sorted(found, key=lambda hot: hot.start))

    @cached_property
    def _entries(self) -> dict[str, list[Entry]]:
        return {
            node: [note for note in notes if isinstance(note, Entry)]
            for node, notes in self.notes.items()
        }

    @cached_property
    def _delays(self) -> dict[str, list[Late]]:
        """By node; under "" the machine's own."""
        own = {
            node: [self._own_delay(node, entry) for entry in entries if entry.late > 0]
            for node, entries in self._entries.items()
        }
        return {**own, "": self.late}

    def _own_delay(self, node: str, entry: Entry) -> Late:
        """What remains of an agent's delay without the time for which the campaign froze it."""
        thaws = [
            each.ended_at
            for each in self.suffered
            if each.fault in {Fault.FREEZE_AGENT, Fault.FREEZE_NODE}
            and each.target == node
            and each.struck_at <= entry.at
            and each.ended_at >= entry.at - entry.late
        ]
        return Late(entry.at, min([entry.late, *(max(0.0, entry.at - at) for at in thaws)]))

    def entries(self, node: str) -> list[Entry]:
        return self._entries.get(node, [])

    def lateness(self, begin: float, end: float, *nodes: str) -> float:
        """The worst delay of the machine, or of one of these nodes' agents, between two moments."""
        return max(
            (
                each.seconds
                for name in ("", *nodes)
                for each in self._delays.get(name, ())
                if begin <= each.at <= end + each.seconds
            ),
            default=0.0,
        )

    def copy(self) -> "History":
        return replace(self)
