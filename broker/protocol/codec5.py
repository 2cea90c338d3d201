"""The bodies of MQTT 5 packets that are laid out differently from MQTT 3.1.1's. Pure.

A reason code that its packet may not have is a protocol error; the table is at the end.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from broker.protocol.fields import (
    MalformedPacketError,
    ProtocolError,
    Reader,
    write_number,
    write_text,
)
from broker.protocol.kinds import FLAGS
from broker.protocol.packets import (
    AUTH,
    CONNACK,
    DISCONNECT,
    NONE,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    Acknowledge,
    Auth,
    Connack,
    Farewell,
    Packet,
    Plain,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from broker.protocol.properties import Properties, read_properties, write_properties
from broker.protocol.reasons import ReasonCode


def parts(packet: Packet) -> tuple[int, bytes]:  # noqa: PLR0911 - one line per packet
    """The first byte and the body."""
    match packet:
        case Acknowledge(kind, packet_id, code, properties):
            tail = _short_tail(code, properties)
            return kind << 4 | FLAGS.get(kind, 0), write_number(packet_id) + tail
        case Connack(present, code, properties):
            return CONNACK << 4, bytes((present, code)) + write_properties(properties)
        case Subscribe(packet_id, wanted, properties):
            body = b"".join(write_text(each) + bytes((options,)) for each, options in wanted)
            return SUBSCRIBE << 4 | 2, _numbered(packet_id, properties) + body
        case Unsubscribe(packet_id, filters, properties):
            body = b"".join(map(write_text, filters))
            return UNSUBSCRIBE << 4 | 2, _numbered(packet_id, properties) + body
        case Suback(packet_id, codes, properties):
            return SUBACK << 4, _numbered(packet_id, properties) + bytes(codes)
        case Unsuback(packet_id, codes, properties):
            return UNSUBACK << 4, _numbered(packet_id, properties) + bytes(codes)
        case Farewell(code, properties):
            return DISCONNECT << 4, _short_tail(code, properties)
        case Auth(code, properties):
            return AUTH << 4, _short_tail(code, properties)
        case _:
            raise AssertionError(f"{packet} has one layout in all versions")


def _numbered(packet_id: int, properties: Properties) -> bytes:
    return write_number(packet_id) + write_properties(properties)


def _short_tail(code: int, properties: Properties) -> bytes:
    """Success without a word more is left out; so are properties that are none."""
    if properties is not NONE:
        return bytes((code,)) + write_properties(properties)
    return bytes((code,)) if code else b""


def _read_short_tail(reader: Reader, kind: int) -> tuple[int, Properties]:
    code = 0 if reader.is_at_end() else reader.byte()
    if code not in CODES[kind]:
        raise ProtocolError("a reason code that may not stand here")
    return code, NONE if reader.is_at_end() else read_properties(reader, kind)


def _decode_acknowledge(kind: int, reader: Reader) -> Acknowledge:
    packet_id = reader.packet_id()
    return Acknowledge(kind, packet_id, *_read_short_tail(reader, kind))


def _decode_connack(reader: Reader) -> Connack:
    present, code = reader.byte(), reader.byte()
    if present > 1:
        raise MalformedPacketError("CONNACK flags that do not exist")
    return Connack(bool(present), code, read_properties(reader, CONNACK))


def _decode_subscribe(reader: Reader) -> Subscribe:
    packet_id, properties = reader.packet_id(), read_properties(reader, SUBSCRIBE)
    filters = reader.rest(lambda: (reader.text(), reader.byte()))
    if not filters:
        raise ProtocolError("a SUBSCRIBE without a filter")
    if len(properties.subscription_ids) > 1:
        raise ProtocolError("more than one subscription identifier")
    for _, options in filters:
        if options & 0xC0:
            raise MalformedPacketError("reserved subscription options are set")
        if options & 0x03 == 3 or options & 0x30 == 0x30:
            raise ProtocolError("QoS 3 or retain handling 3 in a SUBSCRIBE")
    return Subscribe(packet_id, filters, properties)


def _decode_suback(reader: Reader) -> Suback:
    packet_id, properties = reader.packet_id(), read_properties(reader, SUBACK)
    return Suback(packet_id, reader.rest(reader.byte), properties)


def _decode_unsubscribe(reader: Reader) -> Unsubscribe:
    packet_id, properties = reader.packet_id(), read_properties(reader, UNSUBSCRIBE)
    filters = reader.rest(reader.text)
    if not filters:
        raise ProtocolError("an UNSUBSCRIBE without a filter")
    return Unsubscribe(packet_id, filters, properties)


def _decode_unsuback(reader: Reader) -> Unsuback:
    packet_id, properties = reader.packet_id(), read_properties(reader, UNSUBACK)
    return Unsuback(packet_id, reader.rest(reader.byte), properties)


def _decode_plain(kind: int, _: Reader) -> Plain:
    return Plain(kind)


def _decode_farewell(reader: Reader) -> Farewell:
    return Farewell(*_read_short_tail(reader, DISCONNECT))


def _decode_auth(reader: Reader) -> Auth:
    return Auth(*_read_short_tail(reader, AUTH))


DECODERS: Final[dict[int, Callable[[Reader], Packet]]] = {
    CONNACK: _decode_connack,
    SUBSCRIBE: _decode_subscribe,
    SUBACK: _decode_suback,
    UNSUBSCRIBE: _decode_unsubscribe,
    UNSUBACK: _decode_unsuback,
    DISCONNECT: _decode_farewell,
    AUTH: _decode_auth,
    **{kind: partial(_decode_acknowledge, kind) for kind in (PUBACK, PUBREC, PUBREL, PUBCOMP)},
    **{kind: partial(_decode_plain, kind) for kind in (PINGREQ, PINGRESP)},
}

_RELEASE: Final = frozenset((ReasonCode.SUCCESS, ReasonCode.PACKET_ID_NOT_FOUND))
_RECEIVE: Final = frozenset(
    (
        ReasonCode.SUCCESS,
        ReasonCode.NO_MATCHING_SUBSCRIBERS,
        ReasonCode.UNSPECIFIED_ERROR,
        ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.PACKET_ID_IN_USE,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
    )
)
# A DISCONNECT may say whatever failed, but what only other packets can mean.
_FAREWELL: Final = frozenset(
    (
        ReasonCode.SUCCESS,
        ReasonCode.DISCONNECT_WITH_WILL,
        *(each for each in ReasonCode if each >= ReasonCode.UNSPECIFIED_ERROR),
    )
) - {
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ReasonCode.CLIENT_ID_NOT_VALID,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    ReasonCode.SERVER_UNAVAILABLE,
    ReasonCode.BANNED,
    ReasonCode.BAD_AUTHENTICATION_METHOD,
    ReasonCode.PACKET_ID_IN_USE,
    ReasonCode.PACKET_ID_NOT_FOUND,
}

CODES: Final[dict[int, frozenset[ReasonCode]]] = {
    PUBACK: _RECEIVE,
    PUBREC: _RECEIVE,
    PUBREL: _RELEASE,
    PUBCOMP: _RELEASE,
    DISCONNECT: _FAREWELL,
    AUTH: frozenset(
        (
            ReasonCode.SUCCESS,
            ReasonCode.CONTINUE_AUTHENTICATION,
            ReasonCode.RE_AUTHENTICATE,
        )
    ),
}
