"""The properties of MQTT 5 packets: one table, one value, bytes and back. Pure.

A property that its packet does not know is malformed; one that comes twice, or with a value that
it may not have, is a protocol error.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from broker.protocol.fields import (
    MalformedPacketError,
    ProtocolError,
    Reader,
    write_binary,
    write_long,
    write_number,
    write_text,
    write_variable,
)
from broker.protocol.kinds import (
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
    WILL,
)
from broker.protocol.reasons import ReasonCode


@dataclass(frozen=True, slots=True)
class Properties:
    """All that any packet may have; None or empty for what is absent."""

    payload_format: int | None = None
    message_expiry: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_ids: tuple[int, ...] = ()
    session_expiry: int | None = None
    assigned_client_id: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: int | None = None
    will_delay: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcards_available: int | None = None
    subscription_ids_available: int | None = None
    shared_available: int | None = None


NONE: Final = Properties()


class PublishExtras(NamedTuple):
    """What the broker does with a PUBLISH's properties: most of them it only passes on."""

    forwarded: bytes = b""
    expiry: int | None = None
    alias: int | None = None


NO_EXTRAS: Final = PublishExtras()


def read_properties(reader: Reader, packet: int) -> Properties:
    """The properties at this place of a packet of this kind (WILL for those of a will)."""
    part = reader.part(reader.variable())
    if part.is_at_end():
        return NONE
    found: dict[str, Any] = {}
    while not part.is_at_end():
        entry = _next_entry(part, packet)
        value = entry.read(part)
        entry.check(value)
        if entry.is_repeated:
            found[entry.name] = (*found.get(entry.name, ()), value)
        elif entry.name in found:
            raise ProtocolError(f"{entry.name} twice")
        else:
            found[entry.name] = value
    if "authentication_data" in found and "authentication_method" not in found:
        raise ProtocolError("authentication data without a method")
    return Properties(**found)


def read_publish_extras(reader: Reader) -> PublishExtras:
    """The properties of a client's PUBLISH; what is passed on stays in its bytes and order."""
    part = reader.part(reader.variable())
    if part.is_at_end():
        return NO_EXTRAS
    forwarded: list[bytes] = []
    seen: dict[str, Any] = {}
    while not part.is_at_end():
        start = part.position
        entry = _next_entry(part, PUBLISH)
        value = entry.read(part)
        entry.check(value)
        if entry.name in seen and not entry.is_repeated:
            raise ProtocolError(f"{entry.name} twice")
        seen[entry.name] = value
        if entry.name in _FORWARDED:
            forwarded.append(part.data[start : part.position])
    if "subscription_ids" in seen:
        raise ProtocolError("a subscription identifier from a client")
    return PublishExtras(b"".join(forwarded), seen.get("message_expiry"), seen.get("topic_alias"))


def _next_entry(part: Reader, packet: int) -> "_Entry":
    entry = _ENTRIES.get(part.byte())
    if entry is None or packet not in entry.packets:
        raise MalformedPacketError("a property that does not exist here")
    return entry


def write_properties(properties: Properties) -> bytes:
    """The properties with their length before them."""
    if properties is NONE:
        return b"\0"
    body = _write_entries(properties, _ENTRIES.values())
    return write_variable(len(body)) + body


def write_forwarded(properties: Properties) -> bytes:
    """Those of a will that its message has, without a length."""
    return _write_entries(
        properties, [each for each in _ENTRIES.values() if each.name in _FORWARDED]
    )


def write_subscription_ids(identifiers: tuple[int, ...]) -> bytes:
    return b"".join(b"\x0b" + write_variable(each) for each in identifiers)


def write_message_expiry(seconds: int) -> bytes:
    return b"\x02" + write_long(seconds)


def _write_entries(properties: Properties, entries: "Iterable[_Entry]") -> bytes:
    pieces = []
    for entry in entries:
        value = getattr(properties, entry.name)
        values = value if entry.is_repeated else () if value is None else (value,)
        pieces += [bytes((entry.id,)) + entry.write(each) for each in values]
    return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the table."""

    id: int
    name: str
    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]
    packets: frozenset[int]
    check: Callable[[Any], None]

    @property
    def is_repeated(self) -> bool:
        return self.id in {0x0B, 0x26}


def _anything(_: Any) -> None:  # noqa: ANN401 - any property
    """Every value is right."""


def _yes_or_no(value: int) -> None:
    if value > 1:
        raise ProtocolError("a property that is neither 0 nor 1")


def _not_zero(value: int) -> None:
    if not value:
        raise ProtocolError("a property that may not be 0")


def _real_alias(value: int) -> None:
    if not value:
        raise ProtocolError("topic alias 0", ReasonCode.TOPIC_ALIAS_INVALID)


def _no_wildcards(value: str) -> None:
    if not value or "#" in value or "+" in value:
        raise ProtocolError("a response topic that is empty or has wildcards")


def _read_pair(reader: Reader) -> tuple[str, str]:
    return reader.free_text(), reader.free_text()


def _write_pair(pair: tuple[str, str]) -> bytes:
    return write_text(pair[0]) + write_text(pair[1])


def _write_byte(value: int) -> bytes:
    return bytes((value,))


_BYTE = (Reader.byte, _write_byte)
_NUMBER = (Reader.number, write_number)
_LONG = (Reader.long, write_long)
_VARIABLE = (Reader.variable, write_variable)
_BINARY = (Reader.binary, write_binary)
_TEXT = (Reader.text, write_text)
_FREE_TEXT = (Reader.free_text, write_text)
_PAIR = (_read_pair, _write_pair)

_WITH_REASON: Final = frozenset(
    (CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)
)
_EVERYWHERE: Final = _WITH_REASON | {CONNECT, WILL, PUBLISH, SUBSCRIBE, UNSUBSCRIBE}
_MESSAGE: Final = frozenset((PUBLISH, WILL))


def _entry(
    number: int,
    name: str,
    way: tuple[Callable[[Reader], Any], Callable[[Any], bytes]],
    packets: "frozenset[int] | int",
    check: Callable[[Any], None] = _anything,
) -> tuple[int, _Entry]:
    found_in = frozenset((packets,)) if isinstance(packets, int) else packets
    return number, _Entry(number, name, *way, found_in, check)


_ENTRIES: Final[dict[int, _Entry]] = dict(
    (
        _entry(0x01, "payload_format", _BYTE, _MESSAGE, _yes_or_no),
        _entry(0x02, "message_expiry", _LONG, _MESSAGE),
        _entry(0x03, "content_type", _FREE_TEXT, _MESSAGE),
        _entry(0x08, "response_topic", _TEXT, _MESSAGE, _no_wildcards),
        _entry(0x09, "correlation_data", _BINARY, _MESSAGE),
        _entry(0x0B, "subscription_ids", _VARIABLE, frozenset((PUBLISH, SUBSCRIBE)), _not_zero),
        _entry(0x11, "session_expiry", _LONG, frozenset((CONNECT, CONNACK, DISCONNECT))),
        _entry(0x12, "assigned_client_id", _TEXT, CONNACK),
        _entry(0x13, "server_keep_alive", _NUMBER, CONNACK),
        _entry(0x15, "authentication_method", _TEXT, frozenset((CONNECT, CONNACK, AUTH))),
        _entry(0x16, "authentication_data", _BINARY, frozenset((CONNECT, CONNACK, AUTH))),
        _entry(0x17, "request_problem_information", _BYTE, CONNECT, _yes_or_no),
        _entry(0x18, "will_delay", _LONG, WILL),
        _entry(0x19, "request_response_information", _BYTE, CONNECT, _yes_or_no),
        _entry(0x1A, "response_information", _TEXT, CONNACK),
        _entry(0x1C, "server_reference", _TEXT, frozenset((CONNACK, DISCONNECT))),
        _entry(0x1F, "reason_string", _FREE_TEXT, _WITH_REASON),
        _entry(0x21, "receive_maximum", _NUMBER, frozenset((CONNECT, CONNACK)), _not_zero),
        _entry(0x22, "topic_alias_maximum", _NUMBER, frozenset((CONNECT, CONNACK))),
        _entry(0x23, "topic_alias", _NUMBER, PUBLISH, _real_alias),
        _entry(0x24, "maximum_qos", _BYTE, CONNACK, _yes_or_no),
        _entry(0x25, "retain_available", _BYTE, CONNACK, _yes_or_no),
        _entry(0x26, "user_properties", _PAIR, _EVERYWHERE),
        _entry(0x27, "maximum_packet_size", _LONG, frozenset((CONNECT, CONNACK)), _not_zero),
        _entry(0x28, "wildcards_available", _BYTE, CONNACK, _yes_or_no),
        _entry(0x29, "subscription_ids_available", _BYTE, CONNACK, _yes_or_no),
        _entry(0x2A, "shared_available", _BYTE, CONNACK, _yes_or_no),
    )
)

_FORWARDED: Final = frozenset(
    ("payload_format", "content_type", "response_topic", "correlation_data", "user_properties")
)
