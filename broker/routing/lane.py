"""Messages that wait for one client, bounded in number and bytes. Pure."""

import math
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.routing.agenda import Agenda
from broker.routing.counters import Counters
from broker.routing.messages import Message
from broker.settings import Limits

if TYPE_CHECKING:
    from broker.routing.shared import SharedGroup


class Delivery(NamedTuple):
    """A message for one client.

    `identifiers` are its MQTT 5 subscription identifiers, encoded; `group` is the shared
    subscription through which it came, if it did. `packet_id` is its id there, if that is certain
    before it is sent.
    """

    message: Message
    qos: int
    retain: bool = False
    identifiers: bytes = b""
    group: "SharedGroup | None" = None
    packet_id: int = 0


# Where nothing ever waits, as for most clients: an empty deque of its own is 0.7 kB.
_NOTHING: Final[deque[Delivery]] = deque(maxlen=0)


class Lane:
    """When it is full, what has expired and messages of QoS 0 go first, then the one that arrives
    is dropped: the oldest acknowledged message is kept, as mosquitto does.
    """

    __slots__ = (
        "_agenda", "_counters", "_expires_at", "_most_bytes", "_most_messages", "_plain", "bytes",
        "entries",
    )  # fmt: skip

    def __init__(self, limits: Limits, counters: Counters, agenda: Agenda) -> None:
        self.entries = _NOTHING
        self._most_messages = limits.queue_messages
        self._most_bytes = limits.queue_bytes
        self._counters = counters
        self._agenda = agenda
        self.bytes = 0
        self._plain = 0
        self._expires_at = math.inf  # nothing in it does earlier

    def push(self, delivery: Delivery) -> bool:
        """False if it is dropped."""
        if self._is_full():
            self._drop_expired()
            if delivery.qos and self._plain and self._is_full():
                self.drop_plain()
            if self._is_full():
                self._counters.dropped += 1
                return False
        if self.entries is _NOTHING:
            self.entries = deque()
        self.entries.append(delivery)
        message = delivery.message
        if message.expires_at < self._expires_at:  # noqa: PLR1730 - a call costs more
            self._expires_at = message.expires_at
        self.bytes += message.cost()
        self._plain += not delivery.qos
        return True

    def pop(self) -> Delivery:
        delivery = self.entries.popleft()
        self.bytes -= delivery.message.cost()
        self._plain -= not delivery.qos
        return delivery

    def is_crowded(self) -> bool:
        return len(self.entries) * 2 > self._most_messages or self.bytes * 2 > self._most_bytes

    def drop_plain(self) -> None:
        """Forget every waiting message of QoS 0."""
        self._counters.dropped += self._plain
        self._keep([each for each in self.entries if each.qos])

    def _drop_expired(self) -> None:
        now = self._agenda.now
        if self._expires_at <= now:
            self._keep([each for each in self.entries if each.message.expires_at > now])

    def _keep(self, kept: list[Delivery]) -> None:
        self.entries.clear()
        self.entries.extend(kept)
        self.bytes = sum(each.message.cost() for each in kept)
        self._plain = sum(not each.qos for each in kept)
        self._expires_at = min((each.message.expires_at for each in kept), default=math.inf)

    def _is_full(self) -> bool:
        return len(self.entries) >= self._most_messages or self.bytes >= self._most_bytes
