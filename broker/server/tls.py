"""TLS as a layer: OpenSSL between two buffers in memory, the server's side.

Not asyncio's own: a connection counts, has its time-out and takes turns from its first byte on.
"""

import ssl
from contextlib import suppress
from typing import Any, Final

from broker.server.layers import LayerEnd

# A record carries at most this much; OpenSSL gives and takes one at a time.
RECORD_SIZE: Final = 16 * 1024


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
        if self.end:
            return b""
        self._incoming.write(data)
        pieces: list[bytes] = []
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
        return b"".join(pieces)

    def wrap(self, data: bytes) -> bytes:
        if data and self.is_open and not self._is_closed:
            # After an error of the other side OpenSSL takes nothing more.
            with suppress(ssl.SSLError):
                self._write(data)
        return self._outgoing.read()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]

    def close(self, data: bytes) -> bytes:
        wrapped = self.wrap(data)
        if self.is_open and not self._is_closed:
            self._is_closed = True
            # It says good-bye and then wants to wait for the other side's, which nobody does here.
            with suppress(ssl.SSLError):
                self._tls.unwrap()
        return wrapped + self._outgoing.read()


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
