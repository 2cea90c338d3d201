"""Random packets, mostly right, few different names in them so that they meet; and mutations."""

from dataclasses import fields
from random import Random
from typing import Any, Final

from broker.protocol import packets
from broker.protocol.codec import encode
from broker.protocol.codec5 import CODES
from broker.protocol.fields import write_variable
from broker.protocol.kinds import WILL
from broker.protocol.packets import (
    MQTT_5,
    NONE,
    Acknowledge,
    Auth,
    Connack,
    Connect,
    Farewell,
    Packet,
    Plain,
    Properties,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)

CLIENTS: Final = ("a", "b", "c", "")
LEVELS: Final = ("", "a", "b", "$x", "urgent", "secret", "é")
TOPICS: Final = ("a", "a/b", "b", "a", "a/b", "b", "urgent/a", "secret", "$SYS/a")
WILD_TOPICS: Final = ("a/b/a/b/a/b", "/", "#", "", "\n")
FILTERS: Final = (
    "#", "+", "a", "a/b", "a/#", "+/b", "urgent/+", "secret", "$SYS/#", "/", "a/b/a/b/a/b",
    "$share/g/a", "$share/g/#", "$share/h/#", "$share/g/secret",
)  # fmt: skip
WILD_FILTERS: Final = ("a#", "", "$share/g", "$share//a", "$share/+/a", "#/a")
LONGS: Final = (0, 1, 2, 5, 60, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
WORDS: Final = (0, 1, 2, 3, 30, 0x7FFF, 0xFFFF)

_MESSAGE: Final = (
    "payload_format", "message_expiry", "content_type", "response_topic", "correlation_data",
)  # fmt: skip
# What a packet may have; anything else is drawn now and then, too.
_ALLOWED: Final[dict[int, tuple[str, ...]]] = {
    packets.CONNECT: (
        "session_expiry", "receive_maximum", "maximum_packet_size", "topic_alias_maximum",
        "request_response_information", "request_problem_information", "user_properties",
    ),
    WILL: (*_MESSAGE, "will_delay", "user_properties"),
    packets.PUBLISH: (*_MESSAGE, "topic_alias", "user_properties"),
    packets.SUBSCRIBE: ("subscription_ids", "user_properties"),
    packets.UNSUBSCRIBE: ("user_properties",),
    packets.DISCONNECT: ("session_expiry", "reason_string", "user_properties"),
    packets.AUTH: ("authentication_method", "authentication_data", "reason_string"),
}  # fmt: skip
_ALL: Final = tuple(each.name for each in fields(Properties))
_HANDSHAKE: Final = (packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP)


class Maker:
    """Draws everything from one source, so that a seed stands for one sequence of packets."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._version = packets.MQTT_3_1_1
        self._wildness = random.choice((0.0, 0.0, 0.02, 0.1, 0.4))  # of this whole execution
        self._wanted = (
            self.publish, self.publish, self.publish, self.publish, self.subscribe, self.subscribe,
            self.unsubscribe, self.acknowledge, self.acknowledge, self.acknowledge,
            self.leave_or_ping,
        )  # fmt: skip

    def packet(self, version: int) -> Packet:
        self._version = version
        if self.random.random() < self._wildness / 2:
            return self.rare()
        return self.random.choice(self._wanted)()

    def data(self, packet: Packet, version: int) -> bytes:
        """The packet's bytes; now and then those of another version, or not quite right."""
        if self.random.random() < self._wildness / 5:
            version = self.random.choice((3, 4, 5))
        if version != MQTT_5 and isinstance(packet, Farewell | Auth | Unsuback):
            packet = Plain(packets.DISCONNECT)
        data = encode(packet, version)
        return self.mutated(data) if self.random.random() < self._wildness else data

    def connect(self, client_id: str | None = None) -> Connect:
        draw = self.random
        version = draw.choice((3, 4, 4, 5, 5, 5))
        user = draw.choice(
            (*(None,) * 5, "machine", "person", "nobody" if self._is_wild() else None)
        )
        return Connect(
            draw.choice(CLIENTS) if client_id is None else client_id,
            draw.random() < 0.4,
            draw.choice((0, 0, 0, 60)),
            self._will() if draw.random() < 0.4 else None,
            user,
            b"token" if user else None,
            version,
            self.properties(packets.CONNECT, 0.25),
        )

    def publish(self) -> Publish:
        draw = self.random
        qos = draw.choice((0, 0, 1, 1, 2, 2, 2))
        return Publish(
            draw.choice(WILD_TOPICS if self._is_wild() else TOPICS),
            self.payload(),
            qos,
            draw.random() < 0.3,
            bool(qos) and draw.random() < 0.1,
            self.packet_id() if qos else 0,
            self.properties(packets.PUBLISH, 0.15),
        )

    def subscribe(self) -> Subscribe:
        draw = self.random
        wanted = tuple((self._filter(), self._options()) for _ in range(draw.choice((1, 1, 2, 4))))
        return Subscribe(self.packet_id(), wanted, self.properties(packets.SUBSCRIBE, 0.3))

    def unsubscribe(self) -> Unsubscribe:
        wanted = tuple(self._filter() for _ in range(self.random.choice((1, 1, 3))))
        return Unsubscribe(self.packet_id(), wanted, self.properties(packets.UNSUBSCRIBE, 0.1))

    def acknowledge(self) -> Acknowledge:
        kind = self.random.choice(_HANDSHAKE) if self._is_wild() else packets.PUBREL
        code = self.random.choice(sorted(CODES[kind])) if self.random.random() < 0.2 else 0
        return Acknowledge(kind, self.packet_id(), code, self.properties(kind, 0.05))

    def leave_or_ping(self) -> Packet:
        draw = self.random
        if draw.random() < 0.8:
            return Plain(packets.PINGREQ)
        if self._version != MQTT_5:
            return Plain(packets.DISCONNECT)
        return Farewell(draw.choice((0, 4)), self.properties(packets.DISCONNECT, 0.3))

    def rare(self) -> Packet:
        """What seldom comes from a client, or must not."""
        draw = self.random
        codes = tuple(draw.randrange(256) for _ in range(draw.randrange(3)))
        return draw.choice(
            (
                Plain(packets.PINGRESP),
                Farewell(draw.choice((0, 0, 4, 0x80, 1)), self.properties(packets.DISCONNECT, 0.3)),
                Auth(draw.choice((0, 24, 25)), self.properties(packets.AUTH, 0.3)),
                Connack(session_present=False, code=0),
                Suback(self.packet_id(), codes),
                Unsuback(self.packet_id(), codes),
                self.connect(),
            )
        )

    def payload(self) -> bytes:
        draw = self.random
        return bytes((draw.randrange(256),)) * draw.choice((0, 1, 1, 5, 40, 300, 900, 5000))

    def packet_id(self) -> int:
        return self.random.choice((1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 0xFFFF))

    def properties(self, kind: int, chance: float) -> Properties:
        draw = self.random
        if draw.random() > 2 * chance:
            return NONE
        names = [each for each in _ALLOWED.get(kind, ()) if draw.random() < chance]
        if draw.random() < self._wildness / 10:
            names.append(draw.choice(_ALL))
        return Properties(**{name: self._value(name) for name in names}) if names else NONE

    def mutated(self, data: bytes) -> bytes:
        """With some changes; half of the time framed well, so that more than the length is met."""
        draw = self.random
        length_end = next((at for at, byte in enumerate(data[1:5], 2) if byte < 0x80), 0)
        if draw.random() < 0.5 or not length_end:
            return self._changed(data)
        body = self._changed(data[length_end:])
        length = write_variable(len(body))
        if len(length) < 4 and draw.random() < 0.05:  # longer than need be
            length = length[:-1] + bytes((length[-1] | 0x80,)) + b"\0"
        return data[:1] + length + body

    def noise(self) -> bytes:
        return self.random.randbytes(self.random.choice((1, 2, 5, 20, 100)))

    def _changed(self, data: bytes) -> bytes:
        draw = self.random
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 4))):
            at = draw.randrange(len(changed) + 1)
            until = min(len(changed), at + draw.choice((1, 1, 2, 8)))
            match draw.randrange(4):
                case 0:
                    changed[at:until] = b""
                case 1:
                    changed[at:at] = draw.randbytes(draw.choice((1, 1, 3)))
                case 2:
                    changed[at:at] = changed[at:until]
                case _:
                    changed[at:until] = bytes(
                        draw.choice((0, 1, 0x7F, 0x80, 0xFF, each ^ 1 << draw.randrange(8)))
                        for each in changed[at:until]
                    )
        return bytes(changed)

    def _other_byte(self, byte: int) -> int:
        draw = self.random
        return draw.choice((0, 1, 0x7F, 0x80, 0xFF, byte ^ 1 << draw.randrange(8)))

    def _will(self) -> Will:
        draw = self.random
        topic = draw.choice(WILD_TOPICS[:2] if self._is_wild() else TOPICS)
        return Will(
            topic,
            self.payload(),
            draw.randrange(3),
            draw.random() < 0.4,
            self.properties(WILL, 0.3),
        )

    def _filter(self) -> str:
        draw = self.random
        if draw.random() < 0.8:
            return draw.choice(WILD_FILTERS if self._is_wild() else FILTERS)
        return "/".join(draw.choices((*LEVELS, "+", "+"), k=draw.choice((1, 2, 3, 7))))

    def _options(self) -> int:
        draw = self.random
        flags: tuple[int, ...] = (0, 0, 0, 0, 8, 16, 32)
        if self._version != MQTT_5 and not self._is_wild():
            flags = (0,)
        elif self._is_wild():
            flags = (4, 12, 36)  # no local, which shared subscriptions may not have
        return draw.choice((0, 1, 2)) | draw.choice(flags)

    def _value(self, name: str) -> Any:
        wild = _WILD.get(name, ()) if self._is_wild() else ()
        return self.random.choice(wild or _CHOICES.get(name, LEVELS))

    def _is_wild(self) -> bool:
        return self.random.random() < self._wildness


_BINARIES: Final = (b"", b"x", bytes(5))
_CHOICES: Final[dict[str, tuple[Any, ...]]] = {
    **dict.fromkeys(("session_expiry", "message_expiry", "will_delay"), LONGS),
    **dict.fromkeys(("topic_alias_maximum", "receive_maximum", "server_keep_alive"), WORDS[1:]),
    **dict.fromkeys(("correlation_data", "authentication_data"), _BINARIES),
    **dict.fromkeys(
        (
            "payload_format", "request_problem_information", "request_response_information",
            "maximum_qos", "retain_available", "wildcards_available",
            "subscription_ids_available", "shared_available",
        ),
        (0, 1),
    ),
    "user_properties": ((("", "b"),), (("a", "b"), ("a", "c"))),
    "subscription_ids": ((1,), (2,), (300,), (0x0FFFFFFF,)),
    "maximum_packet_size": (100, 400, 2000),
    "topic_alias": (1, 2),
}  # fmt: skip
# What ends a connection, or makes it of little use.
_WILD: Final[dict[str, tuple[Any, ...]]] = {
    "maximum_packet_size": (0, 1, 10, 30),
    "topic_alias": (0, 3, 0xFFFF),
    "payload_format": (2,),
    "receive_maximum": (0,),
    "subscription_ids": ((0,), (1, 2)),
    "request_problem_information": (2,),
    "response_topic": ("#", ""),
}
