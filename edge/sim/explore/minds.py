"""Every memory that a node can have, as a number, and what each event makes of it.

A step of the core is a pure function, so that each pair of memory and event is computed once;
the exploration, which meets the same pair in millions of worlds, then only looks it up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from edge.core import lease
from edge.core.effects import Beat, Effect, Leave, Persist, Publish, Reconnect, StartDuty, StopDuty
from edge.core.events import (
    DutyStarted,
    DutyStopped,
    Event,
    HeartbeatSeen,
    LinkLost,
    LinkUp,
    NetworkChecked,
    RecordSeen,
    Subscribed,
    WillSeen,
    Woke,
)
from edge.core.model import Group, Link, Saved
from edge.core.state import State
from edge.core.step import start, step
from edge.sim.explore.values import Owner, Ranks, aged, canonical, counters, renumbered

SAME_FILE = "same"
# One draw at each end: the first and the last instant that a random pause can end.
DRAWS = (0.0, 0.999)


# The event that each kind of message becomes at a node.
EVENTS: dict[str, Callable[..., Event]] = {
    "record": RecordSeen,
    "snapshot": partial(RecordSeen, retained=True),
    "will": WillSeen,
    "up": LinkUp,
    "subscribed": Subscribed,
    "lost": LinkLost,
    "beat": lambda link, node, session, boot, pause, term: HeartbeatSeen(
        link, node, session, boot, 0, SAME_FILE, pause, term=term
    ),
    "woke": lambda _: Woke(),
    "checked": lambda _: NetworkChecked(is_reachable=True),
    "started": lambda _, term: DutyStarted(term),
    "stopped": lambda _, term: DutyStopped(term),
}


SIMPLE_ACTS: dict[type, str] = {Beat: "beat", Leave: "leave"}


class Mind(NamedTuple):
    """What a node is: the life that it is in, and its memory, or its disk when it is down."""

    boot: int
    memory: State | Saved


class Traits(NamedTuple):
    """What the exploration asks of a mind."""

    boot: int
    is_alive: bool = False
    is_hot: bool = False
    is_due: bool = False
    hot_term: int = 0


class Draw(float):
    """A random number that knows whether somebody reckoned with it."""

    was_used = False

    def __mul__(self, other: float) -> float:
        self.was_used = True
        return float(self) * other

    __rmul__ = __mul__

    def __add__(self, other: float) -> float:
        self.was_used = True
        return float(self) + other

    __radd__ = __add__

    def __lt__(self, other: float) -> bool:
        self.was_used = True
        return float(self) < other

    def __gt__(self, other: float) -> bool:
        self.was_used = True
        return float(self) > other


@dataclass(frozen=True, slots=True)
class Outcome:
    """One possible result of a step: another mind and what it wants done, in order."""

    mind: int
    acts: tuple[tuple[str, int, int], ...]


class Minds:
    """The tables. Minds and messages are numbers; 0 is no message and no mind."""

    def __init__(self, group: Group, ticks: tuple[float, ...]) -> None:
        self.group = group
        self.ticks = ticks
        self.minds: list[Mind | None] = [None]
        self.traits: list[Traits] = [Traits(0)]
        self.messages: list[tuple[Any, ...]] = [()]
        self.steps = 0
        self._mind_numbers: dict[Mind, int] = {}
        self._message_numbers: dict[tuple[Any, ...], int] = {}
        self._told: dict[tuple[int, int, int], tuple[Outcome, ...]] = {}
        self._aged: dict[tuple[int, int], int] = {}
        self._renumbered: dict[tuple[str, int, Any], int] = {}
        self._known: dict[tuple[str, int], frozenset[tuple[Owner, int]]] = {}

    def message(self, *message: Any) -> int:  # noqa: ANN401
        number = self._message_numbers.get(message)
        if number is None:
            number = self._message_numbers[message] = len(self.messages)
            self.messages.append(message)
        return number

    def mind(self, boot: int, memory: State | Saved) -> int:
        mind = Mind(boot, memory)
        number = self._mind_numbers.get(mind)
        if number is None:
            number = self._mind_numbers[mind] = len(self.minds)
            self.minds.append(mind)
            self.traits.append(_traits(mind))
        return number

    def saved(self, number: int) -> Saved:
        memory = self._mind(number).memory
        return memory.saved if isinstance(memory, State) else memory

    def state(self, number: int) -> State:
        memory = self._mind(number).memory
        assert isinstance(memory, State), "asked only of a living node"
        return memory

    def _mind(self, number: int) -> Mind:
        mind = self.minds[number]
        assert mind is not None, "number 0 is no mind"
        return mind

    def born(self, node: int, down: int) -> int:
        """The next life of a node that is down."""
        name, boot = self.group.members[node].name, self._mind(down).boot + 1
        state = start(name, self.group, SAME_FILE, self.saved(down), 0.0, 0.0)
        return self.mind(boot, canonical(state))

    def fallen(self, number: int, saved: Saved) -> int:
        return self.mind(self._mind(number).boot, saved)

    def older(self, node: int, number: int) -> int:
        """The mind after one tick of the true time, by its own clock."""
        key = node, number
        found = self._aged.get(key)
        if found is None:
            boot, state = self._mind(number).boot, self.state(number)
            found = self._aged[key] = self.mind(boot, aged(state, self.ticks[node]))
        return found

    def told(self, number: int, broker: int, message: int) -> tuple[Outcome, ...]:
        """What the core makes of an event; more than one outcome if it asks the dice."""
        key = number, broker, message
        found = self._told.get(key)
        if found is None:
            found = self._told[key] = self._step(number, broker, message)
        return found

    def _step(self, number: int, broker: int, message: int) -> tuple[Outcome, ...]:
        boot, state = self._mind(number).boot, self.state(number)
        event = self._event(broker, self.messages[message])
        first = Draw(DRAWS[0])
        outcomes = [self._outcome(boot, state, event, first)]
        if first.was_used:
            last = self._outcome(boot, state, event, Draw(DRAWS[-1]))
            outcomes += [last] if last != outcomes[0] else []
        return tuple(outcomes)

    def _outcome(self, boot: int, state: State, event: Event, draw: "Draw") -> Outcome:
        self.steps += 1
        after, effects = step(state, event, 0.0, draw)
        acts = [self._act(each) for each in effects]
        return Outcome(self.mind(boot, canonical(after)), tuple(each for each in acts if each[0]))

    def _event(self, broker: int, message: tuple[Any, ...]) -> Event:
        kind, *rest = message
        return EVENTS[kind](Link(self.group.brokers[broker]), *rest)

    def _act(self, effect: Effect) -> tuple[str, int, int]:
        """An effect as the exploration carries it out; reports and answers are for people."""
        match effect:
            case Persist(saved):
                return "persist", 0, self.message("saved", saved)
            case Publish(link, record):
                return "publish", self._broker(link), self.message("record", record)
            case Reconnect(link):
                return "reconnect", self._broker(link), 0
            case StartDuty(term):
                return "tell", 0, self.message("started", term)
            case StopDuty(term):
                return "tell", 0, self.message("stopped", term)
            case _:
                return SIMPLE_ACTS.get(type(effect), ""), 0, 0

    def _broker(self, link: Link) -> int:
        return self.group.brokers.index(link.broker)

    def known(self, kind: str, number: int) -> frozenset[tuple[Owner, int]]:
        """The records that a mind or a message knows of."""
        key = kind, number
        found = self._known.get(key)
        if found is None:
            value: Any = self.messages[number] if kind == "message" else self._mind(number)
            found = self._known[key] = counters(value)
        return found

    def with_ranks(self, kind: str, number: int, ranks: Ranks, mark: Any) -> int:  # noqa: ANN401
        """The mind or message with ranks for counters; `mark` stands for `ranks` in the table."""
        key = kind, number, mark
        found = self._renumbered.get(key)
        if found is None:
            found = self._renumbered[key] = self._with_ranks(kind, number, ranks)
        return found

    def _with_ranks(self, kind: str, number: int, ranks: Ranks) -> int:
        if kind == "message":
            return self.message(*renumbered(self.messages[number], ranks))
        boot, memory = self._mind(number)
        return self.mind(boot, renumbered(memory, ranks))


def _traits(mind: Mind) -> Traits:
    memory = mind.memory
    if not isinstance(memory, State):
        return Traits(mind.boot)
    is_hot = memory.tenure is not None and lease.lease_until(memory) > 0.0
    is_due = memory.wakeup_at <= 0.0
    hot_term = memory.tenure.term if memory.tenure is not None else 0
    return Traits(mind.boot, is_alive=True, is_hot=is_hot, is_due=is_due, hot_term=hot_term)
