"""Connections of the load clients: plain TCP, TLS, websocket, or websocket over TLS.

All have `sendall`, a `recv` that gives what is there (perhaps nothing, as a part of a TLS record
or of a frame is nothing yet), `fileno` and `close`.
"""

import os
import select
import socket
import ssl
import struct
from functools import cache
from typing import Protocol

HOST = "127.0.0.1"
TRANSPORTS = ("tcp", "tls", "websocket", "websocket_tls")
CHUNK = 1 << 18
# Masking with zeros is correct and costs nothing: the load must not be the bottleneck.
MASK = bytes(4)
CONTINUATION, BINARY, CLOSE, PING, PONG = 0x0, 0x2, 0x8, 0x9, 0xA


class Stream(Protocol):
    """What a load client needs of a connection."""

    def fileno(self) -> int: ...
    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


def open_stream(port: int, transport: str = "tcp", certificates: str = "") -> Stream:
    """A connection to the broker; `certificates` is the file of the CA that signed its own."""
    plain = socket.create_connection((HOST, port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    is_secret = transport.endswith("tls")
    stream: Stream = TlsStream(plain, certificates) if is_secret else PlainStream(plain)
    return WebsocketStream(stream) if transport.startswith("websocket") else stream


def read_exactly(stream: Stream, size: int) -> bytes:
    """An answer of so many bytes; only where nothing follows it yet."""
    found = b""
    while len(found) < size:
        data = stream.recv(size - len(found))
        if not data:
            _wait(stream)
        found += data
    return found


def _wait(stream: Stream) -> None:
    waiter = select.poll()
    waiter.register(stream.fileno(), select.POLLIN)
    waiter.poll()


def end_by_reset(stream: Stream) -> None:
    """What the broker hears when the stream is closed next."""
    with socket.socket(fileno=os.dup(stream.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class PlainStream:
    """TCP; `recv` waits."""

    def __init__(self, plain: socket.socket) -> None:
        self._stream = plain
        self.fileno = plain.fileno
        self.sendall = plain.sendall
        self.close = plain.close

    def recv(self, size: int, /) -> bytes:
        data = self._stream.recv(size)
        if not data:
            raise ConnectionError("the broker closed the connection")
        return data


class TlsStream:
    """TLS as the client; `recv` never waits, because a record may come in pieces."""

    def __init__(self, plain: socket.socket, certificates: str) -> None:
        self._stream = _context(certificates).wrap_socket(plain)

    def fileno(self) -> int:
        return self._stream.fileno()

    def sendall(self, data: bytes, /) -> None:
        self._stream.sendall(data)

    def recv(self, size: int, /) -> bytes:
        """All that is there: what stays inside would not make the socket readable, and a broker
        that gives each packet a record of its own is not to cost the load a call for each."""
        self._stream.setblocking(False)  # noqa: FBT003
        try:
            return self._drain(size)
        finally:
            self._stream.setblocking(True)  # noqa: FBT003

    def _drain(self, size: int) -> bytes:
        pieces: list[bytes] = []
        try:
            while data := self._stream.recv(size):
                pieces.append(data)
        except ssl.SSLWantReadError:
            return b"".join(pieces)
        if not pieces:
            raise ConnectionError("the broker closed the connection")
        return b"".join(pieces)

    def close(self) -> None:
        self._stream.close()


@cache
def _context(certificates: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates)
    context.check_hostname = False  # the address is a number
    return context


class WebsocketStream:
    """The client's side of a websocket whose messages are a stream of bytes (MQTT's binding)."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = b""
        stream.sendall(
            b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = stream.recv(CHUNK)
            if not data:
                _wait(stream)
            answer += data
        if b" 101 " not in answer.split(b"\r\n", 1)[0]:
            raise ConnectionError(f"no websocket: {answer[:80]!r}")
        self._rest = answer.partition(b"\r\n\r\n")[2]

    def fileno(self) -> int:
        return self._stream.fileno()

    def sendall(self, data: bytes, /) -> None:
        self._stream.sendall(_frame(BINARY, data))

    def recv(self, size: int, /) -> bytes:
        data = self._rest + self._stream.recv(max(size, CHUNK))
        payloads: list[bytes] = []
        position = 0
        while bounds := _bounds(data, position):
            start, end = bounds
            self._take(data[position] & 0x0F, data[start:end], payloads)
            position = end
        self._rest = data[position:]
        return b"".join(payloads)

    def _take(self, kind: int, payload: bytes, payloads: list[bytes]) -> None:
        if kind in {BINARY, CONTINUATION}:
            payloads.append(payload)
        elif kind == PING:
            self._stream.sendall(_frame(PONG, payload))
        elif kind == CLOSE:
            raise ConnectionError("the broker closed the websocket")

    def close(self) -> None:
        self._stream.close()


def _frame(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | kind, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, size)
    return head + MASK + payload


def _bounds(data: bytes, position: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `position` starts and ends; None if it is not whole."""
    start = position + 2
    if start > len(data):
        return None
    size = data[position + 1] & 0x7F
    more = {126: 2, 127: 8}.get(size, 0)
    if more:
        size = int.from_bytes(data[start : start + more], "big")
    start += more
    return (start, start + size) if start + size <= len(data) else None
