"""Websocket (RFC 6455) as a layer, the server's side. Pure.

Frames are not collected: MQTT has its own lengths and bounds, so what a frame carries is passed on
as it comes, and a frame of any length costs no memory. There are no extensions, hence no
compression and nothing that could expand.
"""

import struct
from typing import Final

from broker.server.layers import LayerEnd
from broker.server.upgrade import Upgrade

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FINAL: Final = 0x80
MASKED: Final = 0x80
MASK_SIZE: Final = 4
# A length of up to this is in the second byte; it is also the longest of a control frame.
SHORT: Final = 125
NORMAL, PROTOCOL_ERROR, UNSUPPORTED_DATA, NO_CODE = 1000, 1002, 1003, 1005
INVALID_TEXT: Final = 1007
_WORKING_CODES: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


class _ViolationError(Exception):
    def __init__(self, sentence: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(sentence)
        self.code = code


class Websocket:
    """One connection: the request that opens it, then frames."""

    __slots__ = (
        "_answer", "_close_code", "_held", "_in_message", "_is_closed", "_left", "_mask", "_pong",
        "_upgrade", "end",
    )  # fmt: skip

    def __init__(self, origins: tuple[str, ...] = ()) -> None:
        self.end: LayerEnd | None = None
        self._upgrade: Upgrade | None = Upgrade(origins)
        self._answer = b""  # to the request
        self._pong: bytes | None = None  # to the latest ping
        self._close_code = NORMAL
        self._is_closed = False
        self._in_message = False  # a message was begun, its last frame has not come
        self._held = b""  # a frame's head, or a control frame, that is not whole
        self._left = 0  # bytes that a frame still has
        self._mask = b""

    def receive(self, data: bytes) -> bytes:
        if data and not self.end and self._upgrade:
            data = self._open(self._upgrade, data)
        if self.end or not data:
            return b""
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        try:
            self._take_frames(data, pieces)
        except _ViolationError as error:
            self._close_code = error.code
            self.end = LayerEnd(f"closed: websocket: {error}", is_fault=True)
        return b"".join(pieces)

    def wrap(self, data: bytes) -> bytes:
        answer, self._answer = self._answer, b""
        if self._is_closed or self._upgrade:
            return answer
        if self._pong is not None:
            answer += _frame(PONG, self._pong)
            self._pong = None
        if not data:
            return answer
        frame = _frame(BINARY, data)
        return answer + frame if answer else frame

    def close(self, data: bytes) -> bytes:
        wrapped = self.wrap(data)
        if self._is_closed or self._upgrade:
            return wrapped
        self._is_closed = True
        has_code = self._close_code != NO_CODE
        return wrapped + _frame(CLOSE, struct.pack(">H", self._close_code) if has_code else b"")

    def _open(self, upgrade: Upgrade, data: bytes) -> bytes:
        """The frames that came together with the request."""
        answer = upgrade.receive(data)
        if answer is None:
            return b""
        self._answer = answer.data
        if answer.objection:
            self.end = LayerEnd(f"closed: websocket: {answer.objection}", is_fault=True)
        else:
            self._upgrade = None
        return answer.rest

    # Frames

    def _take_frames(self, data: bytes, pieces: list[bytes]) -> None:
        position, size = 0, len(data)
        if self._left:
            position = self._take_payload(data, 0, pieces)
        while position < size and not self.end:
            after = self._take_frame(data, position, pieces)
            if after is None:
                self._held = data[position:]
                return
            position = after

    def _take_frame(self, data: bytes, position: int, pieces: list[bytes]) -> int | None:
        """Where the next one starts; None if the head is not whole."""
        head = _head(data, position)
        if head is None:
            return None
        start, length = head
        opcode = data[position] & 0x0F
        is_final = data[position] >= FINAL
        if opcode >= CLOSE:
            if length > SHORT or not is_final:
                raise _ViolationError("a control frame in parts or too long")
            end = start + MASK_SIZE + length
            if end > len(data):
                return None
            mask = data[start : start + MASK_SIZE]
            self._on_control(opcode, _unmasked(data[start + MASK_SIZE : end], mask))
            return end
        self._check_order(opcode)
        self._in_message = not is_final
        self._mask = data[start : start + MASK_SIZE]
        self._left = length
        return self._take_payload(data, start + MASK_SIZE, pieces)

    def _take_payload(self, data: bytes, start: int, pieces: list[bytes]) -> int:
        """As much of a frame as there is; the mask goes on where it stopped."""
        payload = data[start : start + self._left]
        size = len(payload)
        if not size:
            return start
        mask = self._mask
        pieces.append(_unmasked(payload, mask))
        self._left -= size
        if self._left:
            turn = size % MASK_SIZE
            self._mask = mask[turn:] + mask[:turn]
        return start + size

    def _check_order(self, opcode: int) -> None:
        if opcode == TEXT:
            raise _ViolationError("a text frame, MQTT is binary", UNSUPPORTED_DATA)
        if opcode > BINARY:
            raise _ViolationError("an unknown kind of frame")
        if (opcode == CONTINUATION) is not self._in_message:
            raise _ViolationError("a frame that does not go on where the last one stopped")

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._pong = payload
        elif opcode == CLOSE:
            self._close_code = _close_code(payload)
            self.end = LayerEnd(f"lost: websocket closed ({self._close_code})", is_fault=False)
        elif opcode != PONG:
            raise _ViolationError("an unknown kind of frame")


def _head(data: bytes, position: int) -> tuple[int, int] | None:
    """Where a frame's mask starts, and how long it is; None if this, or the mask, is not whole."""
    rest = len(data) - position
    if rest < 2:
        return None
    if data[position] & 0x70:
        raise _ViolationError("a frame of an extension")
    second = data[position + 1]
    if second < MASKED:
        raise _ViolationError("a frame without a mask")
    length, start = second & 0x7F, position + 2
    if length > SHORT:
        width = 2 if length == SHORT + 1 else 8
        if rest < 2 + width:
            return None
        start += width
        length = int.from_bytes(data[start - width : start], "big")
        if length <= SHORT or (width == 8 and not 0xFFFF < length < 1 << 63):
            raise _ViolationError("a length in the wrong form")
    return (start, length) if len(data) >= start + MASK_SIZE else None


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    """All at once, as two large numbers."""
    size = len(payload)
    repeated = (mask * (size // MASK_SIZE + 1))[:size]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(size, "little")


def _close_code(payload: bytes) -> int:
    if not payload:
        return NO_CODE
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (code in _WORKING_CODES or 3000 <= code < 5000):
        raise _ViolationError("a close frame that says nothing sensible")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise _ViolationError("a close frame that is not UTF-8", INVALID_TEXT) from None
    return code


def _frame(opcode: int, data: bytes) -> bytes:
    size = len(data)
    if size <= SHORT:
        return bytes((FINAL | opcode, size)) + data
    if size <= 0xFFFF:
        return struct.pack(">BBH", FINAL | opcode, SHORT + 1, size) + data
    return struct.pack(">BBQ", FINAL | opcode, SHORT + 2, size) + data
