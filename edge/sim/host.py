"""One machine that runs an agent: its clock, its disk, its process, its guard."""

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Any

from edge.core.model import Link, Saved
from edge.core.state import State
from edge.sim.agenda import Call
from edge.sim.links import Connection

NEVER = -inf


@dataclass(slots=True, eq=False)
class Host:
    """`rate` and `offset` turn true time into what this machine's clock shows."""

    name: str
    rate: float
    offset: float
    disk: Saved = field(default_factory=Saved)
    # The process: nothing of it outlives a crash, but for the numbers that are never reused.
    state: State | None = None
    # The highest term that must be on its disk, whatever is: known when a step was completed.
    known_term: int = 0
    boot: int = 0
    sessions: int = 0
    version: int = 0
    sequence: int = 0
    said: tuple[object, ...] = ()
    is_frozen: bool = False
    backlog: deque[tuple[Call, Any, Any]] = field(default_factory=deque)
    connections: dict[Link, Connection] = field(default_factory=dict)
    connecting: set[Link] = field(default_factory=set)
    pauses: dict[Link, float] = field(default_factory=dict)
    dies_after: int | None = None
    # It is leaving by an order from before the calm: it starts again as soon as it has left.
    returns: bool = False
    # The timer: what the core wants, and the one call of the agenda that counts.
    wanted_at: float = inf
    wake_at: float = inf
    alarm: int = 0
    wakes: int = 0
    wakes_since: float = NEVER
    # What the world knows of it, in true time.
    hears_resets_until: float = NEVER
    cut_off_at: float = inf
    reference_back_at: float = NEVER
    lease_until: float = NEVER
    # The guard is a process of its own: it goes on while the agent is frozen.
    is_acting: bool = False
    guard_until: float = NEVER

    def clock(self, now: float) -> float:
        return self.offset + self.rate * now

    def true_time(self, instant: float) -> float:
        return (instant - self.offset) / self.rate

    @property
    def hot_until(self) -> float:
        """Until when this host may act as the hot one if nothing else happens: the lease that
        its core counts on, or the last deadline that its guard was told."""
        return max(self.lease_until, self.guard_until)

    def new_session(self) -> str:
        """Begins with the boot id of the life that it is of."""
        self.sessions += 1
        return f"{self.boot}-{self.sessions}"
