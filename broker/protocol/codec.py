"""Bytes to packets and back, pure: what all versions share, and MQTT 3.1 and 3.1.1.

`decode` and `encode` serve every packet; MQTT 5's bodies are in `codec5`. `read_publish`,
`read_packet_id` and `publish_head` are the parts that they share with the broker's fast path,
which makes no object per packet. Whatever is not exactly what the specification allows raises
a PacketError.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from broker.protocol import codec5
from broker.protocol.fields import (
    MalformedPacketError,
    Reader,
    decode_text,
    write_binary,
    write_number,
    write_text,
    write_variable,
)
from broker.protocol.kinds import FLAGS, WILL
from broker.protocol.packets import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    NONE,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    Acknowledge,
    Connack,
    Connect,
    Packet,
    Plain,
    Publish,
    Suback,
    Subscribe,
    Unsubscribe,
    Will,
)
from broker.protocol.properties import read_properties, write_properties
from broker.protocol.reasons import ReasonCode


class UnsupportedProtocolError(MalformedPacketError):
    """A CONNECT in a version that this broker does not speak; it is owed a CONNACK 1."""


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


def decode(packet: bytes, version: int = MQTT_3_1_1) -> Packet:
    """One whole packet, header included."""
    bounds = frame(packet, 0)
    if bounds is None or bounds[1] != len(packet):
        raise MalformedPacketError("not exactly one whole packet")
    return decode_body(packet[0], packet, *bounds, version)


def decode_body(first: int, data: bytes, start: int, end: int, version: int = MQTT_3_1_1) -> Packet:
    """The packet with the first byte `first` whose body is `data[start:end]`."""
    kind = first >> 4
    decoders = _DECODERS_5 if version == MQTT_5 else _DECODERS
    decoder = decoders.get(kind)
    reader = Reader(data, start, end)
    if kind == PUBLISH:
        return _decode_publish(first, reader, version)
    if decoder is None:
        raise MalformedPacketError("a packet type that does not exist")
    if _flags(first, version) != FLAGS.get(kind, 0):
        raise MalformedPacketError("reserved flags are set")
    result = decoder(reader)
    reader.finish()
    return result


def _flags(first: int, version: int) -> int:
    """The low half of the first byte; MQTT 3.1 lets more packets than PUBLISH be duplicates, and
    says nothing about that of a CONNECT."""
    if version == MQTT_3_1 and first >> 4 == CONNECT:
        return 0
    has_dup = version == MQTT_3_1 and first >> 4 in FLAGS
    return first & (0x07 if has_dup else 0x0F)


def read_publish(first: int, data: bytes, start: int, end: int) -> tuple[bytes, int, bytes]:
    """The topic, the packet id (0 for QoS 0) and the payload of a PUBLISH before MQTT 5.

    In MQTT 5 the payload has the properties before it.
    """
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
        raise MalformedPacketError("packet id 0", ReasonCode.PROTOCOL_ERROR)
    return data[start + 2 : topic_end], packet_id, data[topic_end + 2 : end]


def read_packet_id(data: bytes, start: int, end: int) -> int:
    """The packet id of a packet that consists of nothing else."""
    if end - start != 2:
        raise MalformedPacketError("an acknowledgement of a wrong size")
    packet_id = data[start] << 8 | data[start + 1]
    if not packet_id:
        raise MalformedPacketError("packet id 0", ReasonCode.PROTOCOL_ERROR)
    return packet_id


def read_topic(raw: bytes) -> str:
    """The text of a topic that a client publishes to."""
    topic = decode_text(raw)
    if not topic or "#" in topic or "+" in topic:
        raise MalformedPacketError(
            "a topic that is empty or has wildcards", ReasonCode.TOPIC_NAME_INVALID
        )
    return topic


def publish_head(topic: bytes, qos: int, payload_size: int) -> bytes:
    """What stands between a PUBLISH's first byte and its packet id or payload.

    `topic` carries its length already (see `write_text`), so that it is built once per topic.
    In MQTT 5 the properties count as payload.
    """
    return write_variable(len(topic) + payload_size + (2 if qos else 0)) + topic


def acknowledgement(kind: int, packet_id: int) -> bytes:
    """One that says nothing but "yes", the same in all versions."""
    return _ACKNOWLEDGEMENT_HEADS[kind] + packet_id.to_bytes(2, "big")


_ACKNOWLEDGEMENT_HEADS: Final = tuple(
    bytes((kind << 4 | FLAGS.get(kind, 0), 2)) for kind in range(16)
)


def encode(packet: Packet, version: int = MQTT_3_1_1) -> bytes:
    """The inverse of `decode`; a CONNECT says itself which version it is in."""
    match packet:
        case Connect():
            first, body = CONNECT << 4, _connect_body(packet)
        case Plain(kind):
            first, body = kind << 4, b""
        case Publish():
            first, body = _publish_parts(packet, version)
        case _ if version == MQTT_5:
            first, body = codec5.parts(packet)
        case _:
            first, body = _parts(packet)
    return bytes((first,)) + write_variable(len(body)) + body


def _parts(packet: Packet) -> tuple[int, bytes]:
    """The first byte and the body of what MQTT 5 lays out differently."""
    match packet:
        case Acknowledge(kind, packet_id):
            return kind << 4 | FLAGS.get(kind, 0), write_number(packet_id)
        case Connack(present, code):
            return CONNACK << 4, bytes((present, code))
        case Subscribe(packet_id, wanted):
            body = b"".join(write_text(each) + bytes((qos,)) for each, qos in wanted)
            return SUBSCRIBE << 4 | 2, write_number(packet_id) + body
        case Suback(packet_id, codes):
            return SUBACK << 4, write_number(packet_id) + bytes(codes)
        case Unsubscribe(packet_id, filters):
            body = b"".join(map(write_text, filters))
            return UNSUBSCRIBE << 4 | 2, write_number(packet_id) + body
        case _:
            raise AssertionError(f"{packet} is for MQTT 5 only")


def _publish_parts(packet: Publish, version: int) -> tuple[int, bytes]:
    first = PUBLISH << 4 | packet.dup << 3 | packet.qos << 1 | packet.retain
    head = write_text(packet.topic) + (write_number(packet.packet_id) if packet.qos else b"")
    if version == MQTT_5:
        head += write_properties(packet.properties)
    return first, head + packet.payload


def _connect_body(packet: Connect) -> bytes:
    flags = packet.clean_session << 1
    is_5 = packet.version == MQTT_5
    fields = [write_properties(packet.properties)] if is_5 else []
    fields.append(write_text(packet.client_id))
    if packet.will is not None:
        flags |= 0x04 | packet.will.qos << 3 | packet.will.retain << 5
        fields += [write_properties(packet.will.properties)] if is_5 else []
        fields += [write_text(packet.will.topic), write_binary(packet.will.payload)]
    if packet.username is not None:
        flags |= 0x80
        fields.append(write_text(packet.username))
    if packet.password is not None:
        flags |= 0x40
        fields.append(write_binary(packet.password))
    name = b"\x00\x06MQIsdp" if packet.version == MQTT_3_1 else b"\x00\x04MQTT"
    head = name + bytes((packet.version, flags)) + write_number(packet.keep_alive)
    return head + b"".join(fields)


def read_version(data: bytes, start: int, end: int) -> int:
    """The version of a CONNECT, so that what is wrong with the rest can be answered in it."""
    return _read_protocol(Reader(data, start, end))


def _read_protocol(reader: Reader) -> int:
    """An unknown version may lay out the rest differently, so nothing behind it is looked at."""
    name, level = reader.binary(), reader.byte()
    if (name, level) in {(b"MQTT", MQTT_3_1_1), (b"MQTT", MQTT_5), (b"MQIsdp", MQTT_3_1)}:
        return level
    if name in {b"MQTT", b"MQIsdp"}:
        raise UnsupportedProtocolError("a protocol version other than MQTT 3.1, 3.1.1 or 5")
    raise MalformedPacketError("not MQTT")


def _decode_connect(reader: Reader) -> Connect:
    version = _read_protocol(reader)
    flags = reader.byte()
    if (flags & 0x01 and version != MQTT_3_1) or flags & 0x18 == 0x18:
        raise MalformedPacketError("CONNECT flags that do not exist")
    has_lone_password = flags & 0xC0 == 0x40 and version != MQTT_5
    if (not flags & 0x04 and flags & 0x38) or has_lone_password:
        raise MalformedPacketError("CONNECT flags that contradict each other")
    keep_alive = reader.number()
    properties = read_properties(reader, CONNECT) if version == MQTT_5 else NONE
    client_id = reader.text()
    will = _decode_will(reader, flags, version) if flags & 0x04 else None
    username = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    is_clean = bool(flags & 0x02)
    return Connect(client_id, is_clean, keep_alive, will, username, password, version, properties)


def _decode_will(reader: Reader, flags: int, version: int) -> Will:
    properties = read_properties(reader, WILL) if version == MQTT_5 else NONE
    topic = read_topic(reader.binary())
    return Will(topic, reader.binary(), flags >> 3 & 3, bool(flags & 0x20), properties)


def _decode_connack(reader: Reader) -> Connack:
    present, code = reader.byte(), reader.byte()
    if present > 1:
        raise MalformedPacketError("CONNACK flags that do not exist")
    return Connack(bool(present), code)


def _decode_publish(first: int, reader: Reader, version: int) -> Publish:
    raw, packet_id, rest = read_publish(first, reader.data, reader.position, reader.end)
    properties = NONE
    if version == MQTT_5:
        inner = Reader(rest, 0, len(rest))
        properties = read_properties(inner, PUBLISH)
        rest = rest[inner.position :]
    has_alias = properties.topic_alias is not None and not raw
    topic = "" if has_alias else read_topic(raw)
    qos, is_duplicate = first >> 1 & 3, bool(first & 0x08)
    return Publish(topic, rest, qos, bool(first & 0x01), is_duplicate, packet_id, properties)


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

_DECODERS_5: Final = {CONNECT: _decode_connect, **codec5.DECODERS}
