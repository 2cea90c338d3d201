"""A session that outlives the broker: it tells the journal what happens to it. Pure.

A delivery that is kept has its packet id from the moment it is queued, because that is its name on
disk. At QoS 1 it is sent at once: what is lost with the power is sent again by whoever was not
acknowledged. At QoS 2 it waits until it is on disk, and everything behind it does, too: an id that
the broker forgets, but the client does not, would swallow another message.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import Final

from broker.admission.access import Identity
from broker.routing.agenda import Agenda
from broker.routing.counters import Counters
from broker.routing.journal import DiskJournal
from broker.routing.lane import Delivery, Lane
from broker.routing.session import URGENT_EXTRA, Session, Snapshot
from broker.settings import Limits

# Some ids are left to what is not kept.
MOST_IDS: Final = 0xF000


class KeptSession(Session):
    """Made by the router when there is a journal that keeps sessions."""

    __slots__ = ("_gate", "_held", "_journal", "_snapshots_from", "_stored_at")

    def __init__(
        self,
        client_id: str,
        identity: Identity,
        limits: Limits,
        counters: Counters,
        agenda: Agenda,
        journal: DiskJournal,
    ) -> None:
        super().__init__(client_id, identity, limits, counters, agenda)
        self._journal = journal
        self._stored_at: dict[int, int] = {}  # the serial of each delivery that is kept
        self._held: deque[tuple[int, bytes]] = deque()  # packets and what they wait for
        self._gate = 0  # the serial that the last message at QoS 2 waits for
        self._snapshots_from = 0
        self._urgent = KeptLane(limits, counters, agenda, self._finish)
        self._normal = KeptLane(limits, counters, agenda, self._finish)
        self.received = KeptIds(self)

    @property
    def journal(self) -> DiskJournal:
        return self._journal

    def detach(self) -> None:
        super().detach()
        self._held.clear()  # all of it is under way, and is repeated

    # Deliveries

    def deliver(self, delivery: Delivery) -> None:
        if delivery.qos:
            self.deliver_any(delivery)
        else:
            super().deliver(delivery)

    def add_snapshot(self, topic_filter: str, snapshot: Snapshot) -> None:
        super().add_snapshot(topic_filter, snapshot)
        self._snapshots_from = self._journal.serial

    def begin_snapshots(self) -> None:
        """Not before the SUBACK, which waits for the disk."""
        if self._journal.durable >= self._snapshots_from:
            super().begin_snapshots()

    def pump(self) -> bool:
        journal, link, held = self._journal, self._link, self._held
        while held and held[0][0] <= journal.durable:
            super()._write(held.popleft()[1])
        waits = bool(held) or (bool(self._snapshots) and journal.durable < self._snapshots_from)
        if waits and link:
            journal.wait(link)
            return False
        return super().pump()

    def _queue(self, delivery: Delivery) -> bool:
        if not self._journal.records(self, delivery):
            return super()._queue(delivery)
        if len(self._stored_at) >= MOST_IDS:
            self._counters.dropped += 1
            return False
        numbered = delivery._replace(packet_id=self._new_id())
        is_queued = super()._queue(numbered)
        if is_queued:
            self._stored_at[numbered.packet_id] = self._journal.queue(self, numbered)
        return is_queued

    def _start(self, delivery: Delivery) -> None:
        packet_id = delivery.packet_id
        if not packet_id and self._journal.records(self, delivery):
            packet_id = self._new_id()
            delivery = delivery._replace(packet_id=packet_id)
            self._stored_at[packet_id] = self._journal.queue(self, delivery)
        if delivery.qos == 2:
            self._gate = self._stored_at.get(packet_id, 0)
        super()._start(delivery)
        if packet_id and packet_id not in self.inflight:
            self._finish(packet_id)  # too large for this client

    def _drop(self, packet_id: int) -> None:
        self._finish(packet_id)

    def _write(self, packet: bytes) -> None:
        if not self._held and self._gate <= self._journal.durable:
            super()._write(packet)
            return
        assert self._link is not None
        self._held.append((self._gate, packet))
        self.is_open = False
        self._journal.wait(self._link)

    def _new_id(self) -> int:
        while True:
            packet_id = super()._new_id()
            if packet_id not in self._stored_at:
                return packet_id

    # Acknowledgements

    def acknowledge(self, packet_id: int) -> bool:
        was_under_way = packet_id in self.inflight
        is_right = super().acknowledge(packet_id)
        if was_under_way and packet_id not in self.inflight:
            self._finish(packet_id)
        return is_right

    def note_received(self, packet_id: int) -> bool:
        was_on_its_way = self.inflight.get(packet_id) is not None
        is_right = super().note_received(packet_id)
        if is_right and was_on_its_way:
            self._journal.receive(self, packet_id)
        return is_right

    def complete(self, packet_id: int) -> bool:
        was_under_way = packet_id in self.inflight
        is_right = super().complete(packet_id)
        if was_under_way and packet_id not in self.inflight:
            self._finish(packet_id)
        return is_right

    def _finish(self, packet_id: int) -> None:
        if self._stored_at.pop(packet_id, None) is not None:
            self._journal.finish(self, packet_id)

    # The disk

    def restate(self) -> None:
        """Everything about this session again."""
        journal = self._journal
        journal.begin(self)
        for text, subscription in self.subscriptions.items():
            journal.subscribe(self, text, subscription)
        for packet_id in self.received:
            journal.take_in(self, packet_id)
        for packet_id, delivery in self.inflight.items():
            if delivery is None:
                journal.receive(self, packet_id)
            elif packet_id in self._stored_at:
                journal.queue(self, delivery)
        if self._link is None:
            journal.leave(self)
        for delivery in (*self._urgent.entries, *self._normal.entries):
            if delivery.packet_id in self._stored_at:
                journal.queue(self, delivery)

    def recall(
        self,
        deliveries: Iterable[tuple[int, Delivery | None]],
        unsent: Container[int],
        received: Iterable[int],
    ) -> None:
        """What was found on disk. As much as may have been sent already counts as sent."""
        self.received.update(received)
        window = self._inflight_limit
        room = {self._normal: window, self._urgent: window + URGENT_EXTRA}
        for packet_id, delivery in deliveries:
            self._stored_at[packet_id] = 0
            if delivery is None:
                self.inflight[packet_id] = None
                continue
            lane = self._urgent if delivery.message.is_urgent else self._normal
            if room[lane] and packet_id not in unsent:
                room[lane] -= 1
                self._take_up(packet_id, delivery)
            elif not lane.push(delivery):
                self._finish(packet_id)

    def _take_up(self, packet_id: int, delivery: Delivery) -> None:
        """What has expired is not sent any more; but at QoS 2 the client may hold its id, and
        would take the next message under it for a repetition: it is asked to release it."""
        if delivery.message.expires_at > self._agenda.now:
            self.inflight[packet_id] = delivery
        elif delivery.qos == 2:
            self.inflight[packet_id] = None
        else:
            self._finish(packet_id)


class KeptLane(Lane):
    """Says what it drops, by packet id."""

    __slots__ = ("_on_dropped",)

    def __init__(
        self, limits: Limits, counters: Counters, agenda: Agenda, on_dropped: Callable[[int], None]
    ) -> None:
        super().__init__(limits, counters, agenda)
        self._on_dropped = on_dropped

    def _keep(self, kept: list[Delivery]) -> None:
        dropped = {each.packet_id for each in self.entries} - {each.packet_id for each in kept}
        super()._keep(kept)
        for packet_id in dropped:
            self._on_dropped(packet_id)


class KeptIds(set[int]):
    """The ids of QoS 2 messages that came from the client."""

    def __init__(self, session: KeptSession) -> None:
        super().__init__()
        self._session = session

    def add(self, packet_id: int) -> None:
        super().add(packet_id)
        self._session.journal.take_in(self._session, packet_id)

    def discard(self, packet_id: object) -> None:
        if isinstance(packet_id, int) and packet_id in self:
            super().discard(packet_id)
            self._session.journal.release(self._session, packet_id)
