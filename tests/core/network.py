"""The passive parts of the small world: brokers, connections, pipes. Nothing here decides.

A broker orders what arrives, keeps the last message of a topic, hands it to whoever subscribes and
publishes the will of a connection that breaks: what docs/protocol.md, Records asks of one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from math import inf

from edge.core.events import Event, HeartbeatSeen, PeerSeen, RecordSeen, WillSeen
from edge.core.model import Link

Message = RecordSeen | PeerSeen | HeartbeatSeen | WillSeen


class Agenda:
    """True time, and what happens next in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, instant: float, call: Callable[[], None]) -> None:
        if instant < inf:
            heappush(self._queue, (max(instant, self.now), next(self._numbers), call))

    def after(self, delay: float, call: Callable[[], None]) -> None:
        self.at(self.now + delay, call)

    def run_until(self, end: float) -> None:
        while self._queue and self._queue[0][0] <= end:
            self.now, _, call = heappop(self._queue)
            call()
        self.now = end


@dataclass(slots=True, eq=False)
class Pipe:
    """One direction of one connection: ordered, delayed; what a cut stops waits, as TCP does."""

    agenda: Agenda
    delay: Callable[[], float]
    is_cut: Callable[[], bool]
    last_at: float = 0.0
    waiting: list[Callable[[], None]] = field(default_factory=list)

    def send(self, call: Callable[[], None]) -> None:
        if self.waiting or self.is_cut():
            self.waiting.append(call)
            return
        self.last_at = max(self.last_at, self.agenda.now + self.delay())
        self.agenda.at(self.last_at, call)

    def flush(self) -> None:
        if self.is_cut():
            return
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            self.send(call)


@dataclass(slots=True, eq=False)
class Connection:
    """One session of one node with one broker."""

    node: str
    link: Link
    session: str
    up: Pipe
    down: Pipe
    tell: Callable[["Connection", Event], None]
    is_open: bool = True
    is_open_at_broker: bool = True
    is_subscribed: bool = False
    broker_heard_at: float = 0.0
    node_heard_at: float = 0.0


def topic_of(message: Message) -> str:
    match message:
        case RecordSeen():
            return "lease"
        case HeartbeatSeen():
            return f"heartbeat {message.node}"
        case PeerSeen() | WillSeen():
            return f"state {message.node}"


class Broker:
    """A passive ordered register, and the node topics beside it."""

    def __init__(self, agenda: Agenda, name: str) -> None:
        self.agenda = agenda
        self.name = name
        self.is_up = True
        self.retained: dict[str, Message] = {}
        self.connections: list[Connection] = []

    def subscribe(self, connection: Connection) -> None:
        """Hand out what is retained, then say so; from here on everything is forwarded."""
        if not (self.is_up and connection.is_open_at_broker):
            return
        connection.is_subscribed = True
        for message in self.retained.values():
            self._forward(connection, replace(message, retained=True))

    def publish(self, message: Message) -> None:
        if not self.is_up:
            return
        self.retained[topic_of(message)] = message
        for connection in list(self.connections):
            if connection.is_subscribed:
                self._forward(connection, message)

    def _forward(self, connection: Connection, message: Message) -> None:
        event = replace(message, link=connection.link)
        connection.down.send(lambda: connection.tell(connection, event))

    def lose(self, connection: Connection, *, publishes_will: bool = True) -> None:
        """The broker's side of a connection ends."""
        if not connection.is_open_at_broker:
            return
        connection.is_open_at_broker = False
        connection.is_subscribed = False
        self.connections.remove(connection)
        if publishes_will:
            self.publish(WillSeen(connection.link, connection.node, connection.session))
