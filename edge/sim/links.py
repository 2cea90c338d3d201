"""What is between a node and a broker: wires that can be cut and clogged, pipes, connections.

Delivery is TCP's: in order, delayed; what a cut stops waits and comes later.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Any

from edge.core.model import Link
from edge.sim.agenda import Agenda, Call

if TYPE_CHECKING:
    from edge.sim.host import Host
    from edge.sim.register import Register


@dataclass(slots=True, eq=False)
class Wire:
    """One direction of one path between a node and a broker, whatever runs over it."""

    usual_delay: float
    delay: float
    cut_until: float = -inf
    clogged_until: float = -inf
    pipes: list["Pipe"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Pipe:
    """One direction of one connection."""

    agenda: Agenda
    wire: Wire
    random: Callable[[], float]
    last_at: float = 0.0
    waiting: list[tuple[Call, Any, Any]] = field(default_factory=list)

    def send(self, call: Call, first: Any = None, second: Any = None) -> None:  # noqa: ANN401  passed on
        agenda, wire = self.agenda, self.wire
        if self.waiting or wire.cut_until > agenda.now:
            self.waiting.append((call, first, second))
            return
        instant = agenda.now + wire.delay * (0.2 + 0.8 * self.random())
        if instant < self.last_at:  # noqa: PLR1730  `max` costs a call for each message
            instant = self.last_at
        self.last_at = instant
        agenda.at(instant, call, first, second)

    def flush(self) -> None:
        """The wire is whole again: what waited goes on its way."""
        waiting, self.waiting = self.waiting, []
        for call, first, second in waiting:
            self.send(call, first, second)


class Loss(StrEnum):
    """What a broker does to one record on a connection that stays up.

    `publish` never takes its place in the order; `echo` does, but does not come back to its
    sender: an echo that is not back costs that connection, so both are within the promise.
    `delivery` is lost for one other subscriber, which the protocol does not promise to survive.
    """

    NONE = "none"
    PUBLISH = "publish"
    ECHO = "echo"
    DELIVERY = "delivery"


@dataclass(slots=True, eq=False)
class Connection:
    """One session of one node with one broker; each side learns of its end by itself."""

    host: "Host"
    register: "Register"
    link: Link
    session: str
    up: Pipe
    down: Pipe
    is_open: bool = True
    is_open_at_register: bool = True
    is_subscribed: bool = False
    heard_at: float = 0.0
    register_heard_at: float = 0.0
    # The broker's next mistake on this connection.
    loses: Loss = Loss.NONE
