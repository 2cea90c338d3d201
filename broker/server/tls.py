"""TLS as a layer: OpenSSL between two buffers in memory, the server's side.

Not asyncio's own: a connection counts, has its time-out and takes turns from its first byte on.
"""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from broker.server.layers import LayerEnd

# A record carries at most this much; OpenSSL gives one at a time.
RECORD_SIZE: Final = 16 * 1024
# A buffer in memory never shrinks: a connection that was sent a megabyte once would keep as much
# until it ends. So only this much (and what a handshake takes) is in one at a time.
PORTION: Final = 4 * 1024


class Tls:
    """The server's side of one connection."""

    __slots__ = ("_incoming", "_is_closed", "_outgoing", "_tls", "end", "is_open")

    def __init__(self, context: ssl.SSLContext) -> None:
        self.end: LayerEnd | None = None
        self.is_open = False  # the handshake is done
        self._is_closed = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def certified_name(self) -> str | None:
        """Who the client's certificate says it is; None without one."""
        certificate = self._tls.getpeercert()
        return common_name(certificate) if certificate else None

    def receive(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        for portion in _portions(data):
            if self.end:
                break
            self._incoming.write(portion)
            self._take(pieces)
        return b"".join(pieces)

    def _take(self, pieces: list[bytes]) -> None:
        try:
            if not self.is_open:
                self._tls.do_handshake()
                self.is_open = True
            while piece := self._tls.read(RECORD_SIZE):
                pieces.append(piece)
            self.end = LayerEnd("lost", is_fault=False)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.end = LayerEnd(f"closed: TLS: {_words(error)}", is_fault=True)

    def wrap(self, data: bytes) -> bytes:
        pieces = [self._outgoing.read()]
        if self.is_open and not self._is_closed:
            # After an error of the other side OpenSSL takes nothing more.
            with suppress(ssl.SSLError):
                for portion in _portions(data):
                    self._tls.write(portion)
                    pieces.append(self._outgoing.read())
        return b"".join(pieces)

    def close(self, data: bytes) -> bytes:
        wrapped = self.wrap(data)
        if self.is_open and not self._is_closed:
            self._is_closed = True
            # It says good-bye and then wants to wait for the other side's, which nobody does here.
            with suppress(ssl.SSLError):
                self._tls.unwrap()
        return wrapped + self._outgoing.read()


def _portions(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[start : start + PORTION] for start in range(0, len(data), PORTION))


def common_name(certificate: dict[str, Any]) -> str:
    """The subject's commonName as `getpeercert` gives it; empty if there is not exactly one."""
    found = [
        value
        for relative_name in certificate.get("subject", ())
        for key, value in relative_name
        if key == "commonName"
    ]
    return str(found[0]) if len(found) == 1 else ""


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate: {error.verify_message}"
    return (error.reason or "broken off").lower().replace("_", " ")
