"""A broker as the protocol sees it: a passive register, and the node topics beside it.

It orders what arrives, keeps the last message of a topic, hands it to whoever subscribes and
publishes the will of a connection that breaks: what docs/protocol.md asks of one, and no more.
"""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from edge.core.events import Event, HeartbeatSeen, PeerSeen, RecordSeen, WillSeen
from edge.sim.links import Connection, Loss

Message = RecordSeen | PeerSeen | HeartbeatSeen | WillSeen
Arrive = Callable[[Connection, Event], None]


class Snapshot(StrEnum):
    """How the retained record is handed out to a new subscription.

    `late`: an older one, then the last one live. `twice`: the last one, and live again.
    `reversed`: the last one live, then an older one. All of these leave no record between the
    snapshot and the first live one; `stale` does, which no broker may.
    """

    USUAL = "usual"
    LATE = "late"
    TWICE = "twice"
    REVERSED = "reversed"
    STALE = "stale"


class Register:
    """Retained messages by topic; `before` is the record that the last one replaced."""

    def __init__(self, name: str, arrive: Arrive) -> None:
        self.name = name
        self.is_up = True
        self.frozen_until = 0.0
        self.connections: list[Connection] = []
        self._arrive = arrive
        self._subscribers: list[Connection] = []
        self.record: RecordSeen | None = None
        self._before: RecordSeen | None = None
        self._beats: dict[str, HeartbeatSeen] = {}
        self._words: dict[str, PeerSeen | WillSeen] = {}

    def forget(self, seed: RecordSeen | None) -> None:
        """Empty memory, but for what its own node puts there before anybody can connect."""
        self.record, self._before = seed, None
        self._beats, self._words = {}, {}

    def subscribe(self, connection: Connection, how: Snapshot = Snapshot.USUAL) -> None:
        """Hand out what is retained; from here on everything is forwarded."""
        if not (self.is_up and connection.is_open_at_register):
            return
        for each in (*self._words.values(), *self._beats.values()):
            self._forward(connection, each, retained=True)
        for record, is_retained in self._handed_out(how):
            self._forward(connection, record, retained=is_retained)
        connection.is_subscribed = True
        self._subscribers.append(connection)

    def _handed_out(self, how: Snapshot) -> tuple[tuple[RecordSeen, bool], ...]:
        last, before = self.record, self._before
        if last is None:
            return ()
        if before is None or how is Snapshot.USUAL:
            return ((last, True),)
        if how is Snapshot.STALE:
            return ((before, True),)
        if how is Snapshot.REVERSED:
            return ((last, False), (before, True))
        return ((before if how is Snapshot.LATE else last, True), (last, False))

    def _forward(self, connection: Connection, message: Message, *, retained: bool) -> None:
        event = replace(message, link=connection.link, retained=retained)
        connection.down.send(self._arrive, connection, event)

    def publish(self, message: Message, sender: Connection | None = None) -> None:
        """Give a message its place in the order and forward it to every subscriber."""
        if not self.is_up:
            return
        skipped: Connection | None = None
        if type(message) is RecordSeen:
            if sender is not None and sender.loses == Loss.PUBLISH:
                sender.loses = Loss.NONE
                return
            skipped = self._skipped(sender)
            self._before, self.record = self.record, message
        elif type(message) is HeartbeatSeen:
            self._beats[message.node] = message
        elif type(message) is PeerSeen or type(message) is WillSeen:
            self._words[message.node] = message
        self._send_to_all(message, skipped)

    def _send_to_all(self, message: Message, skipped: Connection | None) -> None:
        """Subscribers over one path share one event."""
        arrive, link = self._arrive, message.link
        others: dict[int, Message] = {}
        for each in self._subscribers:
            event = message if each.link is link else others.get(each.link.path)
            if event is None:
                event = others[each.link.path] = replace(message, link=each.link)
            if each is not skipped:
                each.down.send(arrive, each, event)

    def _skipped(self, sender: Connection | None) -> Connection | None:
        """The one subscriber, if any, for whom this record is lost."""
        if sender is not None and sender.loses == Loss.ECHO:
            sender.loses = Loss.NONE
            return sender
        for each in self._subscribers:
            if each is not sender and each.loses == Loss.DELIVERY:
                each.loses = Loss.NONE
                return each
        return None

    def lose(self, connection: Connection, *, publishes_will: bool = True) -> None:
        """The broker's side of a connection ends."""
        if not connection.is_open_at_register:
            return
        connection.is_open_at_register = False
        self.connections.remove(connection)
        if connection.is_subscribed:
            connection.is_subscribed = False
            self._subscribers.remove(connection)
        if publishes_will:
            self.publish(WillSeen(connection.link, connection.host.name, connection.session))
