"""The fields of a packet's body, read one after the other, pure."""

import re
from collections.abc import Callable
from typing import Final, TypeVar

Field = TypeVar("Field")

# Mosquitto, too, refuses control characters and the two non-characters of the basic plane.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")


class MalformedPacketError(Exception):
    """The bytes are no MQTT packet, or one that may not come here. Only closing helps."""


class Reader:
    """A position in a body; every read checks that it does not leave the body."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data = data
        self._position = start
        self._end = end

    def take(self, size: int) -> bytes:
        start = self._position
        if start + size > self._end:
            raise MalformedPacketError("a field reaches beyond its packet")
        self._position = start + size
        return self._data[start : self._position]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        value = self.number()
        if not value:
            raise MalformedPacketError("packet id 0")
        return value

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return decode_text(self.binary())

    def rest(self, read: Callable[[], Field]) -> tuple[Field, ...]:
        """One field after the other up to the end of the body."""
        fields = []
        while self._position < self._end:
            fields.append(read())
        return tuple(fields)

    def finish(self) -> None:
        if self._position < self._end:
            raise MalformedPacketError("bytes behind the last field")


def decode_text(raw: bytes) -> str:
    try:
        value = raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedPacketError("a string that is not UTF-8") from error
    if _FORBIDDEN.search(value):
        raise MalformedPacketError("a control character in a string")
    return value
