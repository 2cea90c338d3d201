"""A client's socket for mosquitto's own test cases, which compare what they read byte by byte.

It takes out of packets what the specification leaves to a broker: reason strings, codes that are
no failures, the largest packet if that is our default, and the order of a CONNACK's properties.
Copied beside the cases' own helpers and used in both runs; so it imports nothing of the project.
"""

import os
import socket
from typing import Any

CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT = 2, 4, 5, 6, 7, 9, 11, 14
# Where the properties begin in the body of packets that have a reason string.
PROPERTIES_AT = {
    CONNACK: 2,
    PUBACK: 3,
    PUBREC: 3,
    PUBREL: 3,
    PUBCOMP: 3,
    9: 2,
    11: 2,
    DISCONNECT: 1,
}
# "Nobody has subscribed" and "I do not know it any more": a broker may say so, or not.
NO_FAILURES = ((PUBREC, b"\x10"), (PUBREL, b"\x92"), (PUBCOMP, b"\x92"))
MAY_BE_LEFT_OUT = (PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT)
REASON_STRING, TOPIC_ALIASES, RECEIVE_MAXIMUM, PACKET_SIZE = 0x1F, 0x22, 0x21, 0x27
OUR_PACKET_SIZE = b"\x27" + (1024 * 1024).to_bytes(4, "big")
ONE, TWO, FOUR = (0x24, 0x25, 0x28, 0x29, 0x2A), (0x13, 0x21, 0x22), (0x11, 0x27)
CASES_PORT = 1888  # some cases know no other


class PlainSocket(socket.socket):
    """`recv` gives as many bytes as are asked for, unless the broker closes or falls silent."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._raw = b""
        self._ready = b""
        self._is_5 = False

    def connect(self, address: Any) -> None:
        host, port, *more = address
        super().connect((host, int(os.environ["CASE_PORT"]) if port == CASES_PORT else port, *more))

    def send(self, data: Any, flags: int = 0) -> int:
        if data[:1] == b"\x10" and b"\0\4MQTT" in data[:11]:
            self._is_5 = data[data.index(b"MQTT") + 4 :][:1] == b"\x05"
        return super().send(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        while len(self._ready) < size:
            try:
                data = super().recv(65536, flags)
            except OSError:
                if not self._ready:
                    raise
                break
            if not data:
                break
            self._raw += data
            self._unpack()
        result, self._ready = self._ready[:size], self._ready[size:]
        return result

    def _unpack(self) -> None:
        while (bounds := frame(self._raw)) and bounds[1] <= len(self._raw):
            start, end = bounds
            first, body = self._raw[0], self._raw[start:end]
            self._raw = self._raw[end:]
            body = plain_body(first >> 4, body) if self._is_5 else body
            self._ready += bytes((first,)) + variable(len(body)) + body


def install() -> None:
    """From now on every socket of this process is such a one."""
    socket.socket = PlainSocket  # type: ignore[misc]


def frame(data: bytes) -> tuple[int, int] | None:
    """Where the body of the first packet starts and ends."""
    length = 0
    for index, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return index + 2, index + 2 + length
    return None


def variable(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def plain_body(kind: int, body: bytes) -> bytes:
    if (kind, body[2:3]) in NO_FAILURES:
        return body[:2]
    at = PROPERTIES_AT.get(kind)
    if at is None or len(body) <= at:
        return body
    start, end = frame(b"\0" + body[at:]) or (0, 0)
    kept = [
        each
        for each in properties(body[at + start - 1 : at + end - 1])
        if each[0] != REASON_STRING and each != OUR_PACKET_SIZE
    ]
    if kind == CONNACK:  # in the order of mosquitto's
        kept.sort(key=lambda each: (each[0] == RECEIVE_MAXIMUM) - (each[0] == TOPIC_ALIASES))
    joined = b"".join(kept)
    if not joined and kind in MAY_BE_LEFT_OUT:
        return body[:at]
    return body[:at] + variable(len(joined)) + joined + body[at + end - 1 :]


def properties(data: bytes) -> list[bytes]:
    """One after the other, with their first byte."""
    found = []
    while data:
        size = 1 + _value_size(data)
        found.append(data[:size])
        data = data[size:]
    return found


def _value_size(data: bytes) -> int:
    kind = data[0]
    if kind in ONE:
        return 1
    if kind in TWO:
        return 2
    if kind in FOUR:
        return 4
    first = 2 + int.from_bytes(data[1:3], "big")
    is_pair = kind == 0x26
    return first + (2 + int.from_bytes(data[1 + first : 3 + first], "big") if is_pair else 0)
