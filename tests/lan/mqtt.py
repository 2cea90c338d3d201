"""A tiny MQTT 3.1.1 client side, bytes only: what an outsider says and hears.

It is written apart from the product's codec on purpose, and it can say what a real client
library never would.
"""

from dataclasses import dataclass

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 2, 3, 4, 9, 13
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


@dataclass(frozen=True, slots=True)
class Login:
    """Who a client says it is; without a name it is anonymous."""

    name: str | None = None
    password: str = ""


@dataclass(frozen=True, slots=True)
class Packet:
    kind: int
    flags: int
    body: bytes


ANONYMOUS = Login()


def connect(client_id: str, login: Login = ANONYMOUS, keepalive: int = 30) -> bytes:
    flags, tail = 0x02, b""
    if login.name is not None:
        flags |= 0xC0
        tail = _text(login.name) + _text(login.password)
    head = _text("MQTT") + bytes([4, flags]) + keepalive.to_bytes(2, "big")
    return packet(0x10, head + _text(client_id) + tail)


def subscribe(*topic_filters: str) -> bytes:
    """All filters at QoS 1, in one packet, so that one answer tells that all hold."""
    return packet(0x82, b"\x00\x01" + b"".join(_text(each) + b"\x01" for each in topic_filters))


def publish(topic: str, payload: bytes, *, retained: bool = False, number: int = 0) -> bytes:
    """QoS 1 if it has a number, else QoS 0."""
    flags = 0x30 | (0x02 if number else 0) | (0x01 if retained else 0)
    identifier = number.to_bytes(2, "big") if number else b""
    return packet(flags, _text(topic) + identifier + payload)


def acknowledge(number: int) -> bytes:
    return packet(0x40, number.to_bytes(2, "big"))


def packet(first_byte: int, body: bytes) -> bytes:
    length, head = len(body), bytearray([first_byte])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + body


@dataclass(frozen=True, slots=True)
class Publication:
    """A message as it was delivered. The number is 0 at QoS 0."""

    topic: str
    payload: bytes
    retained: bool
    number: int


def read_publish(received: Packet) -> Publication:
    size = int.from_bytes(received.body[:2], "big")
    topic, rest = received.body[2 : 2 + size].decode(), received.body[2 + size :]
    has_number = bool(received.flags & 0x06)
    number = int.from_bytes(rest[:2], "big") if has_number else 0
    payload = rest[2:] if has_number else rest
    return Publication(topic, payload, bool(received.flags & 1), number)


def take_packet(buffer: bytearray) -> Packet | None:
    """Remove the first whole packet from the buffer, if there is one."""
    length, position, shift = 0, 1, 0
    while True:
        if position >= len(buffer):
            return None
        byte = buffer[position]
        length |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            break
    if len(buffer) < position + length:
        return None
    found = Packet(buffer[0] >> 4, buffer[0] & 15, bytes(buffer[position : position + length]))
    del buffer[: position + length]
    return found


def _text(value: str) -> bytes:
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded
