"""What the exploration compares and remembers: a world as one small tuple of numbers, the bounds
on what may go wrong, and how the numbers are read."""

from dataclasses import dataclass
from typing import NamedTuple

from edge.core.model import Group, Policy
from edge.sim.explore.minds import Minds

GENERATIONS = 64
UP, DOWN = 0, 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may go wrong in one run."""

    postponements: int = 1
    crashes: int = 0
    restarts: int = 0
    cuts: int = 0
    freezes: int = 0
    cuts_links: bool = True
    cuts_hosts: bool = True


class World(NamedTuple):
    """Everything that decides what can still happen; no instant but relative to now."""

    minds: tuple[int, ...]
    # For each node and broker: twice the number of its newest connection, and one while it is open.
    connections: tuple[int, ...]
    # For each broker: () while it is down, else the retained message and its connections.
    registers: tuple[tuple[int, ...], ...]
    pipes: tuple[tuple[int, tuple[int, ...]], ...]
    left: tuple[int, ...]
    turn: int
    was_hot: int
    cut: int
    cut_host: int
    frozen: int
    postponements: int
    crashes: int
    restarts: int
    cuts: int
    freezes: int
    top_term: int
    has_forgotten: bool


class Game:
    """What stays the same in all worlds of one exploration, and how numbers are read."""

    def __init__(self, group: Group, ticks: tuple[float, ...], bounds: Bounds) -> None:
        self.group = group
        self.bounds = bounds
        self.minds = Minds(group, ticks)
        self.names = group.brokers
        # Who is hot with one broker alone cannot know what term another one had alone.
        self.checks_terms = group.policy is not Policy.AVAILABILITY
        self.has_reference = group.policy is Policy.AVAILABILITY
        self.node_count, self.broker_count = len(group.members), len(group.brokers)
        self.processes = self.broker_count + self.node_count
        count = self.node_count * self.broker_count * GENERATIONS * 2
        self._decoded = [self._decode(code) for code in range(count)]
        self._takers = [
            broker if way == UP else self.broker_count + node
            for node, broker, _, way in self._decoded
        ]

    def code(self, node: int, broker: int, number: int, way: int) -> int:
        return ((node * self.broker_count + broker) * GENERATIONS + number) * 2 + way

    def _decode(self, code: int) -> tuple[int, int, int, int]:
        rest, way = divmod(code, 2)
        rest, number = divmod(rest, GENERATIONS)
        node, broker = divmod(rest, self.broker_count)
        return node, broker, number, way

    def decoded(self, code: int) -> tuple[int, int, int, int]:
        return self._decoded[code]

    def taker(self, code: int) -> int:
        """The process that takes what comes out of a pipe: a broker, or behind them a node."""
        return self._takers[code]

    def subscriber(self, node: int, number: int, *, is_subscribed: bool) -> int:
        return (node * GENERATIONS + number) * 2 + is_subscribed

    def of_subscriber(self, subscriber: int) -> tuple[int, int]:
        return divmod(subscriber // 2, GENERATIONS)
