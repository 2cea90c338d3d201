"""The fields of a packet's body, read and written one after the other, pure."""

import re
from collections.abc import Callable
from typing import Final, TypeVar

from broker.protocol.reasons import ReasonCode

Field = TypeVar("Field")

# Mosquitto, too, refuses control characters and the two non-characters of the basic plane.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")


class PacketError(Exception):
    """Something came that ends the connection. `code` is what an MQTT 5 client is told."""

    def __init__(self, sentence: str, code: ReasonCode) -> None:
        super().__init__(sentence)
        self.code = code


class MalformedPacketError(PacketError):
    """The bytes are no MQTT packet. Only closing helps."""

    def __init__(self, sentence: str, code: ReasonCode = ReasonCode.MALFORMED_PACKET) -> None:
        super().__init__(sentence, code)


class ProtocolError(PacketError):
    """A packet that can be read, but may not come here, not now, or not with these values."""

    def __init__(self, sentence: str, code: ReasonCode = ReasonCode.PROTOCOL_ERROR) -> None:
        super().__init__(sentence, code)


class Reader:
    """A position in a body; every read checks that it does not leave the body."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data = data
        self.position = start
        self.end = end

    def take(self, size: int) -> bytes:
        start = self.position
        if start + size > self.end:
            raise MalformedPacketError("a field reaches beyond its packet")
        self.position = start + size
        return self.data[start : self.position]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def long(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def variable(self) -> int:
        """A number in one to four bytes, as short as it can be written."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if shift and not byte:
                    raise MalformedPacketError("a number that is longer than needed")
                return value
        raise MalformedPacketError("a number of more than four bytes")

    def packet_id(self) -> int:
        value = self.number()
        if not value:
            raise MalformedPacketError("packet id 0", ReasonCode.PROTOCOL_ERROR)
        return value

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return decode_text(self.binary())

    def free_text(self) -> str:
        return decode_free_text(self.binary())

    def part(self, size: int) -> "Reader":
        """A reader for the next `size` bytes, which are behind this one then."""
        start = self.position
        self.take(size)
        return Reader(self.data, start, start + size)

    def is_at_end(self) -> bool:
        return self.position >= self.end

    def rest(self, read: Callable[[], Field]) -> tuple[Field, ...]:
        """One field after the other up to the end of the body."""
        fields = []
        while self.position < self.end:
            fields.append(read())
        return tuple(fields)

    def finish(self) -> None:
        if self.position < self.end:
            raise MalformedPacketError("bytes behind the last field")


def decode_text(raw: bytes) -> str:
    """A name: what broker and operators handle as text."""
    value = _decode(raw)
    if _FORBIDDEN.search(value):
        raise MalformedPacketError("a control character in a string")
    return value


def decode_free_text(raw: bytes) -> str:
    """Words between clients, which may have several lines: only what must be refused is."""
    value = _decode(raw)
    if "\0" in value:
        raise MalformedPacketError("a null character in a string")
    return value


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedPacketError("a string that is not UTF-8") from error


_SHORT_NUMBERS: Final = tuple(bytes((value,)) for value in range(0x80))


def write_variable(value: int) -> bytes:
    """The one to four bytes of a number: remaining lengths, property lengths and identifiers."""
    if value < 0x80:
        return _SHORT_NUMBERS[value]
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def write_number(value: int) -> bytes:
    return value.to_bytes(2, "big")


def write_long(value: int) -> bytes:
    return value.to_bytes(4, "big")


def write_binary(value: bytes) -> bytes:
    return write_number(len(value)) + value


def write_text(value: str) -> bytes:
    """A string with its length before it."""
    return write_binary(value.encode())
