"""MQTT 3.1.1 packets: bytes to frozen dataclasses and back, pure.

`decode` and `encode` serve every packet. `read_publish`, `read_packet_id` and `publish_head` are
the parts that they share with the broker's fast path, which makes no object per packet.
Whatever is not exactly what the specification allows raises MalformedPacketError.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from broker.fields import MalformedPacketError, Reader, decode_text

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)

ACCEPTED, BAD_PROTOCOL, BAD_CLIENT_ID, UNAVAILABLE, BAD_PASSWORD, NOT_AUTHORIZED = range(6)
SUBSCRIPTION_REFUSED: Final = 0x80

# The low half of the first byte is fixed for every packet but PUBLISH.
_FLAGS: Final = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}


class UnsupportedProtocolError(MalformedPacketError):
    """A CONNECT in a version that this broker does not speak; it is owed a CONNACK 1."""


@dataclass(frozen=True, slots=True)
class Will:
    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Connect:
    client_id: str
    clean_session: bool = True
    keep_alive: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None


@dataclass(frozen=True, slots=True)
class Connack:
    session_present: bool
    code: int


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """PUBACK, PUBREC, PUBREL, PUBCOMP and UNSUBACK: a kind and a packet id, nothing more."""

    kind: int
    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Suback:
    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plain:
    """PINGREQ, PINGRESP and DISCONNECT: a kind, nothing more."""

    kind: int


Packet = Connect | Connack | Publish | Acknowledge | Subscribe | Suback | Unsubscribe | Plain


def frame(data: bytes, position: int) -> tuple[int, int] | None:
    """Where the body of the packet at `position` starts and ends; None while the length is cut.

    The end may lie behind the end of `data`: then the packet is not whole yet.
    """
    length = shift = 0
    for index in range(position + 1, min(position + 5, len(data))):
        byte = data[index]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return index + 1, index + 1 + length
        shift += 7
    if len(data) >= position + 5:
        raise MalformedPacketError("a remaining length of more than four bytes")
    return None


def decode(packet: bytes) -> Packet:
    """One whole packet, header included."""
    bounds = frame(packet, 0)
    if bounds is None or bounds[1] != len(packet):
        raise MalformedPacketError("not exactly one whole packet")
    return decode_body(packet[0], packet, *bounds)


def decode_body(first: int, data: bytes, start: int, end: int) -> Packet:
    """The packet with the first byte `first` whose body is `data[start:end]`."""
    kind = first >> 4
    if kind == PUBLISH:
        return _decode_publish(first, data, start, end)
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise MalformedPacketError("a packet type that does not exist")
    if first & 0x0F != _FLAGS.get(kind, 0):
        raise MalformedPacketError("reserved flags are set")
    reader = Reader(data, start, end)
    result = decoder(reader)
    reader.finish()
    return result


def read_publish(first: int, data: bytes, start: int, end: int) -> tuple[bytes, int, bytes]:
    """The topic, the packet id (0 for QoS 0) and the payload of a PUBLISH."""
    if start + 2 > end:
        raise MalformedPacketError("a PUBLISH without a topic")
    topic_end = start + 2 + (data[start] << 8 | data[start + 1])
    if not first & 0x06:
        if topic_end > end or first & 0x08:
            raise MalformedPacketError("a PUBLISH that is cut, or dup at QoS 0")
        return data[start + 2 : topic_end], 0, data[topic_end:end]
    if topic_end + 2 > end or first & 0x06 == 0x06:
        raise MalformedPacketError("a PUBLISH that is cut, or QoS 3")
    packet_id = data[topic_end] << 8 | data[topic_end + 1]
    if not packet_id:
        raise MalformedPacketError("packet id 0")
    return data[start + 2 : topic_end], packet_id, data[topic_end + 2 : end]


def read_packet_id(data: bytes, start: int, end: int) -> int:
    """The packet id of a packet that consists of nothing else."""
    if end - start != 2:
        raise MalformedPacketError("an acknowledgement of a wrong size")
    packet_id = data[start] << 8 | data[start + 1]
    if not packet_id:
        raise MalformedPacketError("packet id 0")
    return packet_id


def read_topic(raw: bytes) -> str:
    """The text of a topic that a client publishes to."""
    topic = decode_text(raw)
    if not topic or "#" in topic or "+" in topic:
        raise MalformedPacketError("a topic that is empty or has wildcards")
    return topic


def remaining_length(length: int) -> bytes:
    """The one to four bytes that say how long a body is."""
    if length < 0x80:
        return _SHORT_LENGTHS[length]
    encoded = bytearray()
    while length >= 0x80:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


_SHORT_LENGTHS: Final = tuple(bytes((length,)) for length in range(0x80))


def publish_head(topic: bytes, qos: int, payload_size: int) -> bytes:
    """What stands between a PUBLISH's first byte and its packet id or payload.

    `topic` carries its length already (see `text`), so that it is built once per topic.
    """
    return remaining_length(len(topic) + payload_size + (2 if qos else 0)) + topic


def acknowledgement(kind: int, packet_id: int) -> bytes:
    return bytes((kind << 4 | _FLAGS.get(kind, 0), 2, packet_id >> 8, packet_id & 0xFF))


def text(value: str) -> bytes:
    """A string with its length before it."""
    return _binary(value.encode())


def encode(packet: Packet) -> bytes:
    """The inverse of `decode`."""
    match packet:
        case Acknowledge(kind, packet_id):
            return acknowledgement(kind, packet_id)
        case Connack(present, code):
            return bytes((CONNACK << 4, 2, present, code))
        case Plain(kind):
            return bytes((kind << 4, 0))
        case _:
            first, body = _long_body(packet)
            return bytes((first,)) + remaining_length(len(body)) + body


def _long_body(packet: Connect | Publish | Subscribe | Suback | Unsubscribe) -> tuple[int, bytes]:
    """The first byte and the body of a packet whose length varies."""
    match packet:
        case Connect():
            return CONNECT << 4, _connect_body(packet)
        case Publish(topic, payload, qos, retain, dup, packet_id):
            head = text(topic) + (_number(packet_id) if qos else b"")
            return PUBLISH << 4 | dup << 3 | qos << 1 | retain, head + payload
        case Subscribe(packet_id, wanted):
            body = b"".join(text(each) + bytes((qos,)) for each, qos in wanted)
            return SUBSCRIBE << 4 | 2, _number(packet_id) + body
        case Suback(packet_id, codes):
            return SUBACK << 4, _number(packet_id) + bytes(codes)
        case Unsubscribe(packet_id, filters):
            return UNSUBSCRIBE << 4 | 2, _number(packet_id) + b"".join(map(text, filters))


def _number(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _binary(value: bytes) -> bytes:
    return _number(len(value)) + value


def _connect_body(packet: Connect) -> bytes:
    flags = packet.clean_session << 1
    fields = [text(packet.client_id)]
    if packet.will is not None:
        flags |= 0x04 | packet.will.qos << 3 | packet.will.retain << 5
        fields += [text(packet.will.topic), _binary(packet.will.payload)]
    if packet.username is not None:
        flags |= 0x80
        fields.append(text(packet.username))
    if packet.password is not None:
        flags |= 0x40
        fields.append(_binary(packet.password))
    head = b"\x00\x04MQTT\x04" + bytes((flags,)) + _number(packet.keep_alive)
    return head + b"".join(fields)


def _decode_connect(reader: Reader) -> Connect:
    _check_protocol(reader)
    flags = reader.byte()
    if flags & 0x01 or flags & 0x18 == 0x18:
        raise MalformedPacketError("CONNECT flags that do not exist")
    if (not flags & 0x04 and flags & 0x38) or flags & 0xC0 == 0x40:
        raise MalformedPacketError("CONNECT flags that contradict each other")
    keep_alive = reader.number()
    client_id = reader.text()
    will = _decode_will(reader, flags) if flags & 0x04 else None
    username = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    return Connect(client_id, bool(flags & 0x02), keep_alive, will, username, password)


def _check_protocol(reader: Reader) -> None:
    """An unknown version may lay out the rest differently, so nothing behind it is looked at."""
    name, level = reader.binary(), reader.byte()
    if name == b"MQTT" and level == 4:
        return
    if name in {b"MQTT", b"MQIsdp"}:
        raise UnsupportedProtocolError("a protocol version other than MQTT 3.1.1")
    raise MalformedPacketError("not MQTT")


def _decode_will(reader: Reader, flags: int) -> Will:
    topic = read_topic(reader.binary())
    return Will(topic, reader.binary(), flags >> 3 & 3, bool(flags & 0x20))


def _decode_connack(reader: Reader) -> Connack:
    present, code = reader.byte(), reader.byte()
    if present > 1:
        raise MalformedPacketError("CONNACK flags that do not exist")
    return Connack(bool(present), code)


def _decode_publish(first: int, data: bytes, start: int, end: int) -> Publish:
    raw, packet_id, payload = read_publish(first, data, start, end)
    qos, is_duplicate = first >> 1 & 3, bool(first & 0x08)
    return Publish(read_topic(raw), payload, qos, bool(first & 0x01), is_duplicate, packet_id)


def _decode_acknowledge(kind: int, reader: Reader) -> Acknowledge:
    return Acknowledge(kind, reader.packet_id())


def _decode_subscribe(reader: Reader) -> Subscribe:
    packet_id = reader.packet_id()
    filters = reader.rest(lambda: (reader.text(), reader.byte()))
    if not filters or any(qos > 2 for _, qos in filters):
        raise MalformedPacketError("a SUBSCRIBE without a filter, or with an unknown QoS")
    return Subscribe(packet_id, filters)


def _decode_suback(reader: Reader) -> Suback:
    return Suback(reader.packet_id(), reader.rest(reader.byte))


def _decode_unsubscribe(reader: Reader) -> Unsubscribe:
    packet_id, filters = reader.packet_id(), reader.rest(reader.text)
    if not filters:
        raise MalformedPacketError("an UNSUBSCRIBE without a filter")
    return Unsubscribe(packet_id, filters)


def _decode_plain(kind: int, _: Reader) -> Plain:
    return Plain(kind)


_DECODERS: Final[dict[int, Callable[[Reader], Packet]]] = {
    CONNECT: _decode_connect,
    CONNACK: _decode_connack,
    SUBSCRIBE: _decode_subscribe,
    SUBACK: _decode_suback,
    UNSUBSCRIBE: _decode_unsubscribe,
    **{
        kind: partial(_decode_acknowledge, kind)
        for kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK)
    },
    **{kind: partial(_decode_plain, kind) for kind in (PINGREQ, PINGRESP, DISCONNECT)},
}
