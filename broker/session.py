"""What the broker remembers of one client: subscriptions, in-flight window, waiting messages.

Pure. A session outlives its connection unless the client asked for a clean one. Order is kept
per lane: urgent messages pass normal ones, messages of one topic never pass each other, because
all messages of a topic share a lane.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from broker.access import Identity
from broker.counters import Counters
from broker.messages import Message
from broker.packets import PUBREL, acknowledgement
from broker.settings import Limits

# Bytes that may be handed to the socket before it is asked again whether it takes more.
ROOM: Final = 256 * 1024
# Urgent messages that may be under way beyond the window, so that they need not wait until
# normal ones are acknowledged. MQTT 3.1.1 clients set no maximum of their own.
URGENT_EXTRA: Final = 5
# Steps of one pump: a client with a long queue must not hold up the others.
PUMP_STEPS: Final = 200
# Steps of snapshots that follow a SUBACK within the same turn.
STEPS_AT_ONCE: Final = 40


class Link(Protocol):
    """The connection that a session is attached to."""

    out: list[bytes]

    def wake(self) -> None:
        """There is something to write."""

    def take_over(self) -> None:
        """The client came back on another connection: end."""


class Delivery(NamedTuple):
    """A message for one client."""

    message: Message
    qos: int
    retain: bool = False


class Snapshot(NamedTuple):
    """Retained messages that a subscription still has to hand out; later ones come live."""

    steps: Iterator[Message | None]
    qos: int
    serial: int


class Lane:
    """Messages that wait, bounded in number and bytes.

    When it is full, messages of QoS 0 go first, then the one that arrives is dropped: the oldest
    acknowledged message is kept, as mosquitto does.
    """

    __slots__ = ("_bytes", "_counters", "_most_bytes", "_most_messages", "_plain", "entries")

    def __init__(self, limits: Limits, counters: Counters) -> None:
        self.entries: deque[Delivery] = deque()
        self._most_messages = limits.queue_messages
        self._most_bytes = limits.queue_bytes
        self._counters = counters
        self._bytes = 0
        self._plain = 0

    def push(self, message: Message, qos: int) -> None:
        if self._is_full():
            if qos and self._plain:
                self.drop_plain()
            if self._is_full():
                self._counters.dropped += 1
                return
        self.entries.append(Delivery(message, qos))
        self._bytes += message.cost()
        self._plain += not qos

    def pop(self) -> Delivery:
        delivery = self.entries.popleft()
        self._bytes -= delivery.message.cost()
        self._plain -= not delivery.qos
        return delivery

    def is_crowded(self) -> bool:
        return len(self.entries) * 2 > self._most_messages or self._bytes * 2 > self._most_bytes

    def drop_plain(self) -> None:
        """Forget every waiting message of QoS 0."""
        self._counters.dropped += self._plain
        self.entries = deque(each for each in self.entries if each.qos)
        self._bytes = sum(each.message.cost() for each in self.entries)
        self._plain = 0

    def _is_full(self) -> bool:
        return len(self.entries) >= self._most_messages or self._bytes >= self._most_bytes


class Session:
    """One client id and what belongs to it. The router creates, attaches and ends sessions."""

    __slots__ = (
        "_counters", "_is_paused", "_link", "_next_id", "_normal", "_room",
        "_snapshots", "_steps_at_once", "_urgent", "_window", "client_id", "identity", "inflight",
        "is_clean", "is_open", "missed_bytes", "received", "subscriptions",
    )  # fmt: skip

    def __init__(
        self, client_id: str, identity: Identity, limits: Limits, counters: Counters
    ) -> None:
        self.client_id = client_id
        self.identity = identity
        self.is_clean = False
        self.subscriptions: dict[str, int] = {}
        self.received: set[int] = set()  # QoS 2 packet ids that wait for their PUBREL
        # QoS 1 and 2 deliveries under way, in order; None: received there, PUBCOMP is to come.
        self.inflight: dict[int, Delivery | None] = {}
        self.is_open = False  # nothing waits, and the socket takes more
        self.missed_bytes = 0  # what waited or was dropped since the client last read
        self._link: Link | None = None
        self._is_paused = False
        self._room = 0
        self._steps_at_once = STEPS_AT_ONCE
        self._next_id = 0
        self._window = limits.inflight
        self._urgent = Lane(limits, counters)
        self._normal = Lane(limits, counters)
        self._snapshots: dict[str, Snapshot] = {}  # by filter: asking again begins again
        self._counters = counters

    @property
    def link(self) -> Link | None:
        return self._link

    def attach(self, link: Link) -> None:
        """Continue on a new connection: what was not acknowledged goes out again, in order."""
        self._link = link
        self._is_paused = False
        self.missed_bytes = 0
        for packet_id, delivery in self.inflight.items():
            link.out.append(_repeat(packet_id, delivery))
        self.is_open = False
        link.wake()

    def detach(self) -> None:
        """The connection is gone. QoS 0 does not wait for a client that is away."""
        self._link = None
        self.is_open = False
        self._urgent.drop_plain()
        self._normal.drop_plain()

    def deliver(self, message: Message, qos: int) -> None:
        """Send now if nothing is in the way, else queue."""
        if self.is_open:
            if not qos:
                self._write(message.plain())
                return
            if len(self.inflight) < self._window:
                packet_id = self._new_id()
                self.inflight[packet_id] = Delivery(message, qos)
                self._write(message.numbered(packet_id, qos))
                return
        self._queue(message, qos)

    def add_snapshot(self, topic_filter: str, snapshot: Snapshot) -> None:
        """Hand out retained messages; live ones wait behind them, so one order is kept."""
        self.drop_snapshot(topic_filter)
        self._snapshots[topic_filter] = snapshot
        self.is_open = False
        if self._link:
            self._link.wake()

    def begin_snapshots(self) -> None:
        """Let the first retained messages follow their SUBACK at once, a few per turn.

        Whoever subscribes twice in a row then knows with the second SUBACK that what is retained
        under the first filter has been handed out, as with other brokers.
        """
        if self._link is not None and not self._is_paused:
            self._steps_at_once = self._pump_snapshots(self._steps_at_once)

    def drop_snapshot(self, topic_filter: str) -> None:
        self._snapshots.pop(topic_filter, None)

    def acknowledge(self, packet_id: int) -> bool:
        """A PUBACK came; False if it answers a delivery of QoS 2."""
        delivery = self.inflight.get(packet_id)
        if delivery is None or delivery.qos != 1:
            return packet_id not in self.inflight
        del self.inflight[packet_id]
        self._continue()
        return True

    def note_received(self, packet_id: int) -> bool:
        """A PUBREC came; False if it answers a delivery of QoS 1."""
        delivery = self.inflight.get(packet_id)
        if delivery is not None:
            if delivery.qos != 2:
                return False
            self.inflight[packet_id] = None
        return True

    def complete(self, packet_id: int) -> None:
        """A PUBCOMP came."""
        if self.inflight.get(packet_id, self) is None:
            del self.inflight[packet_id]
            self._continue()

    def pause(self) -> None:
        """The socket takes nothing more for now."""
        self._is_paused = True
        self.is_open = False

    def resume(self) -> None:
        self._is_paused = False
        self.missed_bytes = 0
        if self._link:
            self._link.wake()

    def pump(self) -> bool:
        """Move what waits to the connection; True if more could go in another turn.

        To be called after what was written before has been handed to the socket.
        """
        self._room = ROOM
        self._steps_at_once = STEPS_AT_ONCE
        if self._link is None or self._is_paused:
            return False
        steps = self._pump_snapshots(PUMP_STEPS)
        for lane, window in (
            (self._urgent, self._window + URGENT_EXTRA),
            (self._normal, self._window),
        ):
            if not self._snapshots:
                steps = self._pump_lane(lane, window, steps)
        self.is_open = self._room > 0 and not (
            self._snapshots or self._urgent.entries or self._normal.entries
        )
        return steps <= 0 or self._room <= 0

    def _pump_snapshots(self, steps: int) -> int:
        while self._snapshots and steps > 0 and self._room > 0:
            topic_filter, snapshot = next(iter(self._snapshots.items()))
            if snapshot.qos and len(self.inflight) >= self._window:
                break
            steps -= 1
            try:
                self._hand_out(next(snapshot.steps), snapshot)
            except StopIteration:
                self.drop_snapshot(topic_filter)
        return steps

    def _hand_out(self, message: Message | None, snapshot: Snapshot) -> None:
        if message is None or message.serial > snapshot.serial:
            return
        if self.identity.role.may_read(message.topic):
            self._start(Delivery(message, min(message.qos, snapshot.qos), retain=True))

    def _pump_lane(self, lane: Lane, window: int, steps: int) -> int:
        entries = lane.entries
        while entries and steps > 0 and self._room > 0:
            if entries[0].qos and len(self.inflight) >= window:
                break
            steps -= 1
            self._start(lane.pop())
        return steps

    def _start(self, delivery: Delivery) -> None:
        message, qos, retain = delivery
        packet_id = 0
        if qos:
            packet_id = self._new_id()
            self.inflight[packet_id] = delivery
        if retain:
            self._write(message.packet(packet_id, qos, retain=True, dup=False))
        else:
            self._write(message.numbered(packet_id, qos) if qos else message.plain())

    def _write(self, packet: bytes) -> None:
        link = self._link
        assert link is not None
        link.out.append(packet)
        link.wake()
        self._counters.sent += 1
        self._room -= len(packet)
        if self._room <= 0:
            self.is_open = False

    def _new_id(self) -> int:
        packet_id = self._next_id
        while True:
            packet_id = packet_id % 0xFFFF + 1
            if packet_id not in self.inflight:
                self._next_id = packet_id
                return packet_id

    def _queue(self, message: Message, qos: int) -> None:
        if self._link is None and not qos:
            return
        if self._is_paused:
            self.missed_bytes += message.cost()
        self.is_open = False
        lane = self._urgent if message.is_urgent else self._normal
        lane.push(message, qos)
        if self._link:
            self._counters.crowded += lane.is_crowded()
            self._link.wake()

    def _continue(self) -> None:
        """There is room in the window again."""
        if not self.is_open and self._link:
            self._link.wake()


def _repeat(packet_id: int, delivery: Delivery | None) -> bytes:
    if delivery is None:
        return acknowledgement(PUBREL, packet_id)
    message, qos, retain = delivery
    return message.packet(packet_id, qos, retain=retain, dup=True)
