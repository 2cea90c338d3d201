"""What a small world is made of, drawn from its seed: group, timings, network, machines."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

from edge.core.model import Group, Link, Member, Policy, Saved, Timing
from edge.core.state import State
from tests.core.network import Connection


class ViolationError(AssertionError):
    """The protocol did not keep its word."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a world is like, before anything goes wrong in it."""

    seed: int
    group: Group
    paths: int
    delay: float
    drift: float
    silence_timeout: float
    keepalive: float
    memory: bool


@dataclass(slots=True, eq=False)
class Host:
    """One node's machine: its clock, its disk, its process."""

    name: str
    rate: float
    offset: float
    disk: Saved = field(default_factory=Saved)
    state: State | None = None
    boot: int = 0
    sessions: int = 0
    version: int = 0
    sequence: int = 0
    is_frozen: bool = False
    told_at: float = -inf
    backlog: deque[Callable[[], None]] = field(default_factory=deque)
    connections: dict[Link, Connection] = field(default_factory=dict)
    connecting: set[Link] = field(default_factory=set)
    said: tuple[object, ...] = ()
    steps: int = 0
    dies_after: int | None = None


def draw_plan(seed: int, *, kind: str = "any") -> Plan:
    """A group of the given kind: `witness` (two nodes and a third vote), `three`, or `paths`."""
    rng = random.Random(seed)
    kind = rng.choice(("witness", "three", "paths")) if kind == "any" else kind
    lease_time = rng.choice((0.25, 1.0, 1.0, 2.0))
    timing = Timing(
        heartbeat=lease_time * rng.uniform(0.12, 0.25),
        lease=lease_time,
        fence_delay=lease_time * rng.uniform(0.05, 0.2),
        stagger=lease_time * rng.uniform(0.1, 0.25),
    )
    names = ("white", "black", "green")[: 3 if kind == "three" else 2]
    members = tuple(Member(name, rng.randint(1, 3)) for name in names)
    brokers = names if kind == "three" else (*names, "router")
    group = Group("group", members, brokers, Policy.MAJORITY, timing)
    return Plan(
        seed=seed,
        group=replace(group, preempt=rng.random() < 0.1, trust_will=rng.random() < 0.85),
        paths=2 if kind == "paths" else 1,
        delay=lease_time * rng.choice((0.002, 0.01, 0.03, 0.08)),
        drift=rng.choice((0.0, 0.01, 0.03)),
        silence_timeout=lease_time * rng.uniform(1.5, 3.0),
        # A will by silence must come later than the end of the lease: 1.5 times keep-alive.
        keepalive=lease_time * rng.uniform(1.1, 3.0),
        memory=rng.random() < 0.6,
    )
