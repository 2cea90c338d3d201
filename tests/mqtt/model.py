"""What each client of a broker must receive, and in which order, said as simply as possible.

Written from the specification and docs/broker.md; knows nothing of the broker's code. Where the
specification leaves a choice, the model has that of this broker, and says so.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

INFLIGHT = 3  # messages of QoS 1 and 2 under way to a client, if it does not want fewer


class Message(NamedTuple):
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    sender: str = ""
    expires_at: float = math.inf


class Options(NamedTuple):
    qos: int = 0
    no_local: bool = False
    keeps_retain: bool = False
    handling: int = 0
    identifier: int = 0


class Delivery(NamedTuple):
    """A message for one client; `group` is the shared subscription that it came through."""

    message: Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    group: str = ""


class Will(NamedTuple):
    message: Message
    delay: float = 0


class Seen(NamedTuple):
    """A packet as a client sees it: a PUBLISH, or a PUBREL if it has no topic."""

    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    identifiers: tuple[int, ...] = ()
    expiry: int | None = None


@dataclass(eq=False)
class Flight:
    """A delivery of QoS 1 or 2 that is not finished."""

    delivery: Delivery
    is_received: bool = False  # the client said PUBREC
    packet_id: int = 0  # as the broker chose it


@dataclass(eq=False)
class Session:
    client: str
    is_5: bool = False
    expiry: float = 0
    receive_maximum: int = 0xFFFF
    will: Will | None = None
    is_connected: bool = True
    subscriptions: dict[str, Options] = field(default_factory=dict)
    flights: list[Flight] = field(default_factory=list)
    repeats: list[Flight] = field(default_factory=list)  # not on this connection yet
    snapshots: dict[str, tuple[int, list[Delivery]]] = field(default_factory=dict)  # by filter
    waiting: list[Delivery] = field(default_factory=list)
    received: set[int] = field(default_factory=set)  # QoS 2 of the client that wait for a PUBREL
    expected: list[tuple[Seen, Flight | None]] = field(default_factory=list)

    def is_full(self) -> bool:
        return len(self.flights) >= min(INFLIGHT, self.receive_maximum)

    def rank(self, qos: int) -> int:
        """0: takes a message at once; 1: later; 2: when the client comes back."""
        if not self.is_connected:
            return 2
        is_busy = self.repeats or self.snapshots or self.waiting
        return 1 if is_busy or (qos and self.is_full()) else 0


class Model:
    """`expected` of each session is what its client must see next."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, Message] = {}  # handed out in this order: the broker's choice
        self.groups: dict[str, list[str]] = {}  # by shared filter; whose turn it is comes first
        self.due: dict[tuple[str, str], float] = {}
        self.wills: dict[str, Message] = {}  # that wait for their delay

    # What clients do

    def connect(self, fresh: Session, *, is_clean: bool) -> bool:
        """Whether the session existed before."""
        old = self.sessions.get(fresh.client)
        if old and old.is_connected:
            self.end(fresh.client, keeps_will=True)
            old = self.sessions.get(fresh.client)
        if old and is_clean:
            self._forget(old)
            old = None
        if old is None:
            self.sessions[fresh.client] = fresh
            return False
        for kind in ("will", "session"):
            self.due.pop((kind, fresh.client), None)
        self.wills.pop(fresh.client, None)
        old.is_5, old.expiry, old.will = fresh.is_5, fresh.expiry, fresh.will
        old.receive_maximum, old.is_connected = fresh.receive_maximum, True
        old.repeats = list(old.flights)
        self._pump(old)
        return True

    def end(self, client: str, *, keeps_will: bool, expiry: float | None = None) -> None:
        """The connection is gone; without its will after a good-bye."""
        session = self.sessions[client]
        session.expiry = session.expiry if expiry is None else expiry
        session.is_connected = False
        session.repeats, session.expected = [], []
        session.waiting = [each for each in session.waiting if each.qos]
        will = session.will if keeps_will else None
        delay = min(will.delay, session.expiry) if will else 0
        if will and delay:
            self.wills[client] = will.message
            self.due["will", client] = self.now + delay
        if not session.expiry:
            self._forget(session)
        elif session.expiry < math.inf:
            self.due["session", client] = self.now + session.expiry
        if will and not delay:
            self.publish(will.message)

    def subscribe(self, client: str, text: str, options: Options) -> None:
        session = self.sessions[client]
        is_new = text not in session.subscriptions
        session.subscriptions[text] = options
        if text.startswith("$share/"):
            members = self.groups.setdefault(text, [])
            members += [client] if is_new else []
        elif options.handling == 0 or (options.handling == 1 and is_new):
            session.snapshots.pop(text, None)
            found = [
                Delivery(each, min(each.qos, options.qos), True, _identifiers([options]))
                for each in self.retained.values()
                if matches(text, each.topic)
            ]
            session.snapshots[text] = options.qos, found
            self._pump(session)

    def unsubscribe(self, client: str, text: str) -> None:
        session = self.sessions[client]
        session.subscriptions.pop(text, None)
        session.snapshots.pop(text, None)
        self._leave_group(text, client)
        self._pump(session)

    def publish(self, message: Message) -> None:
        """A session on MQTT 3.1.1 follows its rules: of a subscription only the QoS counts."""
        if message.retain:
            self.retained[message.topic] = message
            if not message.payload:
                del self.retained[message.topic]
        for session in self.sessions.values():
            found = [
                options
                for text, options in session.subscriptions.items()
                if matches(text, message.topic)
                and not (options.no_local and session.is_5 and message.sender == session.client)
            ]
            if found:  # one copy, whatever matches: the broker's choice
                qos = min(message.qos, max(each.qos for each in found))
                keeps = session.is_5 and any(each.keeps_retain for each in found)
                retain = message.retain and keeps
                identifiers = _identifiers(found) if session.is_5 else ()
                self._deliver(session, Delivery(message, qos, retain, identifiers))
        for group in list(self.groups):
            if matches(group.split("/", 2)[2], message.topic):
                self._share(group, message, retain=message.retain)

    def acknowledge(self, client: str, flight: Flight, *, refuses: bool = False) -> None:
        """The client's next step for this message."""
        session = self.sessions[client]
        if flight.delivery.qos == 2 and not flight.is_received and not refuses:
            flight.is_received = True
            session.expected.append((Seen(), flight))
        else:
            session.flights.remove(flight)
            self._pump(session)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for key in sorted(self.due, key=lambda key: self.due[key]):
            if self.due.get(key, math.inf) <= self.now:
                del self.due[key]
                kind, client = key
                if kind == "session":
                    self._forget(self.sessions[client])
                else:
                    self.publish(self.wills.pop(client))
        gone = [each.topic for each in self.retained.values() if each.expires_at <= self.now]
        for topic in gone:
            del self.retained[topic]

    # What follows

    def _forget(self, session: Session) -> None:
        client = session.client
        del self.sessions[client]
        self.due.pop(("session", client), None)
        for text in session.subscriptions:
            self._leave_group(text, client)
        lost = [each.delivery for each in session.flights if each.delivery.qos == 1]
        for each in lost + session.waiting:
            if each.group in self.groups and each.message.expires_at > self.now:
                self._share(each.group, each.message, retain=each.retain)
        if self.due.pop(("will", client), None) is not None:
            self.publish(self.wills.pop(client))

    def _leave_group(self, text: str, client: str) -> None:
        if client in self.groups.get(text, ()):
            self.groups[text].remove(client)
            if not self.groups[text]:
                del self.groups[text]

    def _share(self, group: str, message: Message, *, retain: bool) -> None:
        """In turns, but first to those that can take it at once: the broker's choice."""

        def rank(client: str) -> int:
            session = self.sessions[client]
            return session.rank(min(message.qos, session.subscriptions[group].qos))

        members = self.groups[group]
        client = min(members, key=rank)
        options = self.sessions[client].subscriptions[group]
        members.remove(client)
        members.append(client)
        keeps = retain and options.keeps_retain and self.sessions[client].is_5
        qos = min(message.qos, options.qos)
        wanted = Delivery(message, qos, keeps, _identifiers([options]), group)
        self._deliver(self.sessions[client], wanted)

    def _deliver(self, session: Session, delivery: Delivery) -> None:
        if session.is_connected or delivery.qos:
            session.waiting.append(delivery)
            self._pump(session)

    def _pump(self, session: Session) -> None:
        """Whatever may be sent now is sent now, in order."""
        if not session.is_connected:
            return
        under_way = len(session.flights) - len(session.repeats)
        count = max(session.receive_maximum - under_way, 0)
        again, session.repeats = session.repeats[:count], session.repeats[count:]
        for flight in again:
            seen = Seen() if flight.is_received else self._seen(session, flight.delivery, dup=True)
            session.expected.append((seen, flight))
        for delivery in self._next_deliveries(session):
            if delivery.message.expires_at > self.now:
                flight_or_none = Flight(delivery) if delivery.qos else None
                session.flights += [flight_or_none] if flight_or_none else []
                session.expected.append((self._seen(session, delivery), flight_or_none))

    def _next_deliveries(self, session: Session) -> Iterator[Delivery]:
        """Retained messages go before live ones, and nothing passes what must wait."""
        for text, (qos, left) in list(session.snapshots.items()):
            while not (qos and session.is_full()):
                if not left:
                    del session.snapshots[text]
                    break
                yield left.pop(0)
            else:
                return
        while session.waiting and not (session.waiting[0].qos and session.is_full()):
            yield session.waiting.pop(0)

    def _seen(self, session: Session, delivery: Delivery, *, dup: bool = False) -> Seen:
        message, qos, retain, identifiers, _ = delivery
        seen = Seen(message.topic, message.payload, qos, retain, dup)
        if not session.is_5:
            return seen
        has_expiry = message.expires_at < math.inf
        left = max(math.ceil(message.expires_at - self.now), 0) if has_expiry else None
        return seen._replace(identifiers=identifiers, expiry=left)


def matches(text: str, topic: str) -> bool:
    """Whether a filter, if it is not shared, matches a topic."""
    wanted, levels = text.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or level not in {"+", levels[index]}:
            return False
    return len(wanted) == len(levels)


def _identifiers(found: list[Options]) -> tuple[int, ...]:
    return tuple(sorted(each.identifier for each in found if each.identifier))
