"""What the broker remembers of one client: subscriptions, in-flight window, waiting messages.

Pure. A session outlives its connection unless the client asked for a clean one. Order is kept
per lane: urgent messages pass normal ones, messages of one topic never pass each other, because
all messages of a topic share a lane.
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from broker.admission.access import Identity
from broker.admission.refusals import Limit
from broker.protocol.codec import acknowledgement
from broker.protocol.packets import PUBREL
from broker.routing.agenda import Agenda
from broker.routing.counters import Counters
from broker.routing.lane import Delivery, Lane
from broker.routing.messages import Message
from broker.routing.subscriptions import Grant, Subscription
from broker.routing.terms import BEFORE_MQTT_5
from broker.settings import Limits

# Bytes that may be handed to the socket before it is asked again whether it takes more.
ROOM: Final = 256 * 1024
# Urgent messages that may be under way beyond the window, so that they need not wait until
# normal ones are acknowledged; never beyond the client's own maximum.
URGENT_EXTRA: Final = 5
# Steps of one pump: a client with a long queue must not hold up the others.
PUMP_STEPS: Final = 200
# Seconds between two messages from one client to another that has fallen behind.
PAUSE: Final = 0.005
# Pauses that are made until it has caught up. A client that cannot keep up loses messages; it must
# not slow down those that can. On a busy broker a pause takes a turn, if that is longer.
MOST_PAUSES: Final = 200
# Steps of snapshots that follow a SUBACK within the same turn.
STEPS_AT_ONCE: Final = 40


class Link(Protocol):
    """The connection that a session is attached to."""

    out: list[bytes]

    def wake(self) -> None:
        """There is something to write."""

    def take_over(self) -> None:
        """The client came back on another connection: end."""


class Snapshot(NamedTuple):
    """Retained messages that a subscription still has to hand out; later ones come live."""

    steps: Iterator[Message | None]
    grant: Grant
    serial: int


class Session:
    """One client id and what belongs to it. The router creates, attaches and ends sessions.

    `expiry` is how many seconds it stays without a connection: 0 for a clean one, inf for ever.
    """

    __slots__ = (
        "_agenda", "_counters", "_inflight_limit", "_is_paused", "_link", "_next_id", "_normal",
        "_pauses", "_pauses_until", "_repeats", "_room", "_snapshots", "_steps_at_once", "_urgent",
        "_urgent_window", "_window", "client_id", "ends_at", "expiry", "identity", "inflight",
        "is_open", "missed_bytes", "received", "subscriptions", "terms",
    )  # fmt: skip

    def __init__(
        self,
        client_id: str,
        identity: Identity,
        limits: Limits,
        counters: Counters,
        agenda: Agenda,
    ) -> None:
        self.client_id = client_id
        self.identity = identity
        self.expiry = 0.0
        self.ends_at = math.inf  # while the client is away
        self.subscriptions: dict[str, Subscription] = {}
        self.received: set[int] = set()  # QoS 2 packet ids that wait for their PUBREL
        # QoS 1 and 2 deliveries under way, in order; None: received there, PUBCOMP is to come.
        self.inflight: dict[int, Delivery | None] = {}
        self.is_open = False  # nothing waits, and the socket takes more
        self.missed_bytes = 0  # what waited or was dropped since the client last read
        self._link: Link | None = None
        self.terms = BEFORE_MQTT_5  # of the connection, or of the last one
        self._is_paused = False
        self._pauses = 0  # that others have made for it; 0: it has not fallen behind
        self._pauses_until = 0.0
        self._room = 0
        self._steps_at_once = STEPS_AT_ONCE
        self._next_id = 0
        self._inflight_limit = limits.inflight
        self._window = limits.inflight
        self._urgent_window = limits.inflight
        self._urgent = Lane(limits, counters, agenda)
        self._normal = Lane(limits, counters, agenda)
        self._snapshots: dict[str, Snapshot] = {}  # by filter: asking again begins again
        self._repeats: list[int] = []  # under way, but not on this connection yet
        self._counters = counters
        self._agenda = agenda

    @property
    def link(self) -> Link | None:
        return self._link

    @property
    def is_clean(self) -> bool:
        return not self.expiry

    @property
    def held_messages(self) -> int:
        """That wait for the client, or for its acknowledgement."""
        return len(self._urgent.entries) + len(self._normal.entries) + len(self.inflight)

    @property
    def held_bytes(self) -> int:
        """What those that wait cost."""
        return self._urgent.bytes + self._normal.bytes

    def attach(self, link: Link) -> None:
        """Continue on a new connection: what was not acknowledged goes out again, in order."""
        self._link = link
        most = self.terms.receive_maximum
        self._window = min(self._inflight_limit, most)
        self._urgent_window = min(self._inflight_limit + URGENT_EXTRA, most)
        self._is_paused = False
        self.missed_bytes = 0
        self._repeats = list(self.inflight)
        self._repeat()
        self.is_open = False
        link.wake()

    def detach(self) -> None:
        """The connection is gone. QoS 0 does not wait for a client that is away."""
        self._link = None
        self.is_open = False
        self._urgent.drop_plain()
        self._normal.drop_plain()

    def deliver(self, delivery: Delivery) -> None:
        """Send now if nothing is in the way, else queue. The short way, before MQTT 5."""
        if self.is_open:
            qos = delivery.qos
            if not qos:
                self._write(delivery.message.plain())
                return
            if len(self.inflight) < self._window:
                packet_id = self._new_id()
                self.inflight[packet_id] = delivery
                self._write(delivery.message.numbered(packet_id, qos))
                return
        self._queue(delivery)

    def deliver_any(self, delivery: Delivery) -> None:
        """The same for any version."""
        if self.is_open and (not delivery.qos or len(self.inflight) < self._window):
            self._start(delivery)
        else:
            self._queue(delivery)

    def readiness(self, qos: int) -> int:
        """0: it would be sent now; 1: it would wait; 2: until the client comes back."""
        if self._link is None:
            return 2
        return int(not self.is_open or (qos > 0 and len(self.inflight) >= self._window))

    def leave(self) -> Iterator[Delivery]:
        """What another member of a shared subscription may get when this session ends.

        What is under way at QoS 2 may have arrived, so nobody else may have it.
        """
        yield from (each for each in self.inflight.values() if each and each.qos == 1)
        yield from self._urgent.entries
        yield from self._normal.entries

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

    def complete(self, packet_id: int) -> bool:
        """A PUBCOMP came, or a PUBREC that refuses; False if it answers what was not released."""
        if packet_id not in self.inflight:
            return True
        if self.inflight[packet_id] is not None:
            return False
        del self.inflight[packet_id]
        self._continue()
        return True

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
        if self.is_open or self._link is None or self._is_paused:
            return False
        if self._repeats:
            self._repeat()
        steps = self._pump_snapshots(PUMP_STEPS) if self._snapshots else PUMP_STEPS
        if self._urgent.entries and not self._snapshots:
            steps = self._pump_lane(self._urgent, self._urgent_window, steps)
        if self._normal.entries and not self._snapshots:
            steps = self._pump_lane(self._normal, self._window, steps)
        self.is_open = self._room > 0 and not (
            self._snapshots or self._repeats or self._urgent.entries or self._normal.entries
        )
        if self.is_open:
            self._pauses = 0
        return steps <= 0 or self._room <= 0

    def _pump_snapshots(self, steps: int) -> int:
        while self._snapshots and steps > 0 and self._room > 0:
            topic_filter, snapshot = next(iter(self._snapshots.items()))
            if snapshot.grant.qos and len(self.inflight) >= self._window:
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
        if message.expires_at > self._agenda.now and self.identity.role.may_read(message.topic):
            qos, _, identifiers = snapshot.grant
            delivery = Delivery(message, min(message.qos, qos), True, identifiers)  # noqa: FBT003
            self._start(delivery)

    def _pump_lane(self, lane: Lane, window: int, steps: int) -> int:
        entries, now = lane.entries, self._agenda.now
        while entries and steps > 0 and self._room > 0:
            if entries[0].qos and len(self.inflight) >= window:
                break
            steps -= 1
            delivery = lane.pop()
            if delivery.message.expires_at > now:
                self._start(delivery)
            else:
                self._drop(delivery.packet_id)
        return steps

    def _drop(self, packet_id: int) -> None:
        """It has expired, or is too large for the client that came back."""

    def _start(self, delivery: Delivery) -> None:
        message, qos, retain, _, _, packet_id = delivery
        if qos and not packet_id:
            packet_id = self._new_id()
        if self.terms.is_5 or retain:
            packet = self.terms.packet(delivery, packet_id, self._agenda.now)
            if len(packet) > self.terms.maximum_packet_size:
                self._counters.dropped += 1  # as if it had been delivered, says MQTT 5
                return
        else:
            packet = message.numbered(packet_id, qos) if qos else message.plain()
        if qos:
            self.inflight[packet_id] = delivery
        self._write(packet)

    def _repeat(self) -> None:
        """Send again what was under way on an earlier connection, as much as the client takes."""
        link, terms, repeats = self._link, self.terms, self._repeats
        assert link is not None
        while repeats and len(self.inflight) - len(repeats) < terms.receive_maximum:
            packet_id = repeats.pop(0)
            if packet_id not in self.inflight:
                continue
            delivery = self.inflight[packet_id]
            packet = (
                terms.packet(delivery, packet_id, self._agenda.now, dup=True)
                if delivery
                else acknowledgement(PUBREL, packet_id)
            )
            if len(packet) <= terms.maximum_packet_size:
                link.out.append(packet)
            else:
                del self.inflight[packet_id]
                self._drop(packet_id)

    def _write(self, packet: bytes) -> None:
        link = self._link
        assert link is not None
        out = link.out
        if not out:  # else somebody has woken it already
            link.wake()
        out.append(packet)
        self._counters.sent += 1
        self._room -= len(packet)
        if self._room <= 0:
            self.is_open = False

    def _new_id(self) -> int:
        packet_id = self._next_id % 0xFFFF + 1
        while packet_id in self.inflight:
            packet_id = packet_id % 0xFFFF + 1
        self._next_id = packet_id
        return packet_id

    def _queue(self, delivery: Delivery) -> bool:
        """False if it is dropped."""
        message = delivery.message
        if self._link is None and not delivery.qos:
            return False
        if self._is_paused:
            self.missed_bytes += message.cost()
        self.is_open = False
        lane = self._urgent if message.is_urgent else self._normal
        is_queued = lane.push(delivery)
        if not is_queued:
            self._counters.refusals.note(
                Limit.QUEUE, self.client_id, "its queue is full, messages for it are dropped"
            )
        if self._link:
            is_crowded = lane.is_crowded()
            self._counters.crowded += is_crowded
            if delivery.qos and (is_crowded or self._pauses):
                self._counters.overtaken += self._is_worth_a_pause()
            self._link.wake()
        return is_queued

    def _is_worth_a_pause(self) -> bool:
        """The client has fallen behind: is whoever sends to wait for it?"""
        now = self._agenda.now
        if now >= self._pauses_until:
            self._pauses += 1
            self._pauses_until = now + PAUSE
        return self._pauses <= MOST_PAUSES

    def _continue(self) -> None:
        """There is room in the window again."""
        if not self.is_open and self._link:
            self._link.wake()
