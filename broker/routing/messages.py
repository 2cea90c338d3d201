"""One message on its way. Its packets are encoded once, whoever and how many they go to.

An object of the fast path, so it is a plain slotted class: building a frozen dataclass costs more
than everything else that happens to a message. It is written once.
"""

import math
from typing import Final

from broker.protocol.codec import publish_head
from broker.protocol.fields import write_variable
from broker.protocol.properties import write_message_expiry

# What a waiting message costs beside its payload, for the limits that are in bytes.
OVERHEAD: Final = 200
# Seconds: what adding and subtracting instants may do, also to the longest expiry.
CLOCK_ERROR: Final = 0.001


class Message:
    """A published message. `forwarded` holds its MQTT 5 properties, but for the expiry."""

    __slots__ = (
        "_head",
        "_parts_5",
        "_plain",
        "encoded_topic",
        "expires_at",
        "forwarded",
        "is_urgent",
        "number",
        "payload",
        "qos",
        "serial",
        "topic",
    )

    def __init__(
        self, topic: str, encoded_topic: bytes, payload: bytes, qos: int, *, is_urgent: bool
    ) -> None:
        self.topic = topic
        self.encoded_topic = encoded_topic
        self.payload = payload
        self.qos = qos
        self.is_urgent = is_urgent
        self.serial = 0
        self.number = 0  # on disk
        self.forwarded = b""
        self.expires_at = math.inf
        self._plain = b""
        self._head = b""
        self._parts_5: tuple[bytes, bytes, bytes] | None = None

    # Before MQTT 5

    def plain(self) -> bytes:
        """The whole packet at QoS 0, not retained."""
        if not self._plain:
            self._plain = b"\x30" + publish_head(self.encoded_topic, 0, len(self.payload))
            self._plain += self.payload
        return self._plain

    def numbered(self, packet_id: int, qos: int) -> bytes:
        """The whole packet at QoS 1 or 2 for one receiver, not retained."""
        head = self._head
        if not head:
            head = publish_head(self.encoded_topic, self.qos, len(self.payload))
            head = self._head = _FIRST[self.qos << 1] + head
        if qos != self.qos:
            head = _FIRST[qos << 1] + head[1:]
        return head + packet_id.to_bytes(2, "big") + self.payload

    def packet(self, packet_id: int, qos: int, *, retain: bool, dup: bool) -> bytes:
        """The whole packet with flags, for the rare cases."""
        whole = self.numbered(packet_id, qos) if qos else self.plain()
        return bytes((whole[0] | retain | dup << 3,)) + whole[1:]

    # MQTT 5

    def packet_5(
        self, packet_id: int, flags: int, extra: bytes, now: float, topic: bytes | None = None
    ) -> bytes:
        """The whole MQTT 5 packet for one receiver.

        `flags` are those of the first byte, `extra` are the properties that only this receiver
        gets; a `topic` is sent in place of the real one (none at all, when an alias stands for it).
        """
        if extra or self.expires_at < math.inf:
            tail = self._tail(extra, now)
            head = publish_head(topic or self.encoded_topic, packet_id, len(tail))
        else:
            plain, numbered, tail = self._parts_5 or self._encode_parts_5()
            if not packet_id:
                return _FIRST[flags] + plain
            head = numbered
        number = packet_id.to_bytes(2, "big") if packet_id else b""
        return b"".join((_FIRST[flags], head, number, tail))

    def _encode_parts_5(self) -> tuple[bytes, bytes, bytes]:
        """All but the first byte at QoS 0, and what stands around a packet id."""
        tail = self._tail(b"", 0.0)
        self._parts_5 = (
            publish_head(self.encoded_topic, 0, len(tail)) + tail,
            publish_head(self.encoded_topic, 1, len(tail)),
            tail,
        )
        return self._parts_5

    def _tail(self, extra: bytes, now: float) -> bytes:
        """The properties and the payload."""
        properties = extra + self.forwarded
        if self.expires_at < math.inf:
            # Less than a float's error makes no second: it must not become more than was asked.
            left = max(math.ceil(self.expires_at - now - CLOCK_ERROR), 0)
            properties += write_message_expiry(left)
        return b"".join((write_variable(len(properties)), properties, self.payload))

    def cost(self) -> int:
        return len(self.payload) + len(self.forwarded) + OVERHEAD


_FIRST: Final = tuple(bytes((0x30 | flags,)) for flags in range(16))
