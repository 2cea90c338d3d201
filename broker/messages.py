"""One message on its way, and the route that all messages of its topic share.

These are the objects of the fast path, so they are plain slotted classes: building a frozen
dataclass costs more than everything else that happens to a message. They are written once.
"""

from typing import Final

from broker.packets import publish_head

# What a waiting message costs beside its payload, for the limits that are in bytes.
OVERHEAD: Final = 200


class Message:
    """A published message. Its packets are encoded once, whoever and how many they go to."""

    __slots__ = (
        "_head",
        "_plain",
        "encoded_topic",
        "is_urgent",
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
        self._plain = b""
        self._head = b""

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
            head = self._head = publish_head(self.encoded_topic, qos, len(self.payload))
        first = b"\x32" if qos == 1 else b"\x34"
        return b"".join((first, head, packet_id.to_bytes(2, "big"), self.payload))

    def packet(self, packet_id: int, qos: int, *, retain: bool, dup: bool) -> bytes:
        """The whole packet with flags, for the rare cases."""
        whole = self.numbered(packet_id, qos) if qos else self.plain()
        return bytes((whole[0] | retain | dup << 3,)) + whole[1:]

    def cost(self) -> int:
        return len(self.payload) + OVERHEAD
