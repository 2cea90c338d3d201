"""Cuts a stream of bytes into packets, pure. Holds at most one packet that is not whole."""

from typing import Final

from broker.protocol.codec import frame
from broker.protocol.fields import MalformedPacketError
from broker.protocol.reasons import ReasonCode

_PADDED: Final = "a remaining length that is longer than needed"


class Incoming:
    """What came from one client and has not been handled.

    `data` holds the bytes that `take`'s answers point into; they stay until the next `feed`.
    """

    __slots__ = (
        "_is_strict", "_needed", "_partial", "_position", "_size", "_was_padded", "data",
    )  # fmt: skip

    def __init__(self) -> None:
        self.data = b""
        self._position = 0
        self._size = 0
        self._partial = bytearray()
        self._needed = 0
        self._is_strict = False
        self._was_padded = False

    def refuse_padding(self) -> None:
        """MQTT 5 wants lengths as short as can be, earlier versions do not say; also so far."""
        self._is_strict = True
        if self._was_padded:
            raise MalformedPacketError(_PADDED)

    def feed(self, data: bytes) -> None:
        if self._position < self._size:
            self._keep_partial(0)
        if self._partial:
            # A packet that is cut waits in a bytearray, so that small pieces cost no copies.
            self._partial += data
            if len(self._partial) < self._needed:
                return
            data = bytes(self._partial)
            self._partial.clear()
        self.data, self._position, self._size = data, 0, len(data)

    def has_bytes(self) -> bool:
        """Whether `take` may find something; a packet that is not whole does not count."""
        return self._position < self._size

    def take(self, largest: int) -> tuple[int, int, int] | None:
        """The first byte of the next whole packet and where its body starts and ends."""
        position, data = self._position, self.data
        if position >= self._size:
            return None
        start = position + 2
        if start <= self._size and data[start - 1] < 0x80:
            end = start + data[start - 1]
        elif bounds := frame(data, position):
            start, end = bounds
            if not data[start - 1]:  # the last of several bytes adds nothing
                self._was_padded = True
                if self._is_strict:
                    raise MalformedPacketError(_PADDED)
        else:
            self._keep_partial(0)
            return None
        if end - start > largest:
            raise MalformedPacketError("a packet that is too large", ReasonCode.PACKET_TOO_LARGE)
        if end > self._size:
            self._keep_partial(end - position)
            return None
        self._position = end
        return data[position], start, end

    def _keep_partial(self, needed: int) -> None:
        self._partial += self.data[self._position :]
        self.data, self._position, self._size = b"", 0, 0
        self._needed = needed
