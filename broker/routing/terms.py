"""What a client asked of the broker in its CONNECT, and how packets for it look because of that."""

from typing import TYPE_CHECKING, Final

from broker.protocol.fields import write_number

if TYPE_CHECKING:
    from broker.routing.lane import Delivery

# Where MQTT sets no bound, the format does: a first byte, four of length, and what they can say.
LARGEST_PACKET: Final = 5 + 0x0FFFFFFF


class Terms:
    """Of one connection. Before MQTT 5 there are none."""

    __slots__ = (
        "_aliases", "_most_aliases", "is_5", "maximum_packet_size", "receive_maximum",
        "wants_problem_information",
    )  # fmt: skip

    def __init__(
        self,
        *,
        is_5: bool = False,
        receive_maximum: int = 0xFFFF,
        maximum_packet_size: int = LARGEST_PACKET,
        topic_aliases: int = 0,
        wants_problem_information: bool = True,
    ) -> None:
        self.is_5 = is_5
        self.receive_maximum = receive_maximum
        self.maximum_packet_size = maximum_packet_size
        self.wants_problem_information = wants_problem_information
        self._most_aliases = topic_aliases
        self._aliases: dict[bytes, int] = {}

    def packet(
        self, delivery: "Delivery", packet_id: int, now: float, *, dup: bool = False
    ) -> bytes:
        """The PUBLISH for this client."""
        message, qos, retain, identifiers, _, _ = delivery
        if not self.is_5:
            return message.packet(packet_id, qos, retain=retain, dup=dup)
        flags = dup << 3 | qos << 1 | retain
        if not self._most_aliases:
            return message.packet_5(packet_id, flags, identifiers, now)
        return self._with_alias(delivery, packet_id, flags, now)

    def _with_alias(self, delivery: "Delivery", packet_id: int, flags: int, now: float) -> bytes:
        """The first topics get aliases; from the second message on they stand for the topic.

        At QoS 2 the topic goes with its alias: MQTT.js keeps such a packet, but not what its alias
        stands for.
        """
        message, aliases = delivery.message, self._aliases
        topic = message.encoded_topic
        alias = aliases.get(topic, 0)
        is_enough = bool(alias) and delivery.qos < 2
        if not alias and len(aliases) < self._most_aliases:
            alias = len(aliases) + 1
        extra = b"\x23" + write_number(alias) if alias else b""
        packet = message.packet_5(
            packet_id,
            flags,
            extra + delivery.identifiers,
            now,
            topic=b"\0\0" if is_enough else topic,
        )
        if alias and len(packet) <= self.maximum_packet_size:
            aliases[topic] = alias
        return packet


# Shared by all those clients: it never changes.
BEFORE_MQTT_5: Final = Terms()
