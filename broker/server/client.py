"""One client of the embedded broker on its socket: turns, timers, flow control, the end."""

import asyncio
import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from broker.connections.connection import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.server.server import Server

# One read takes at most this much; the buffer is shared, because a read is handled at once.
READ_SIZE: Final = 16 * 1024
# What is read from a socket that is closing already; see `_read_rest`.
REST_SIZE: Final = 1024 * 1024
# Seconds that a client has to read why it was closed, where there are words for that.
LINGER: Final = 1.0


class Client(asyncio.BufferedProtocol):
    """One socket and its Connection."""

    __slots__ = (
        "_check", "_has_more", "_is_held", "_linger_timer", "_loop", "_lost_reason", "_rest",
        "_server", "_timer", "_transport", "_write", "connection",
    )  # fmt: skip

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._loop = server.loop
        self._is_held = False  # its socket is not read for now
        self._has_more = False  # a turn is due
        self._lost_reason: str | None = None
        self._rest = b""
        self._timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._check: asyncio.Future[bool] | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        server = self._server
        self._transport = transport
        self._write: Callable[[bytes], None] = transport.write
        self.connection = server.connect(self, _peer_name(transport))
        server.clients.add(self)
        self._arm_timer()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._server.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._linger_timer:
            return
        self.connection.receive(bytes(self._server.read_buffer[:nbytes]))
        self._take_turn()

    def pause_writing(self) -> None:
        self.connection.pause()

    def resume_writing(self) -> None:
        self.connection.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost_reason = f"lost: {exc.strerror}" if isinstance(exc, OSError) else "lost"
        self.connection.release()
        if exc is not None:
            self._rest = _read_rest(self._transport)
        if not self._has_more:
            self._take_turn()

    # Turns

    def _take_turn(self) -> None:
        """Handle some packets; the rest in later turns, so that others get theirs."""
        connection, outgoing = self.connection, self._server.outgoing
        outgoing.turns_due -= self._has_more
        ready = len(outgoing)
        self._has_more = connection.process(self._loop.time())
        if self._has_more:
            outgoing.turns_due += 1
            outgoing.gather(ready)
            self._loop.call_soon(self._take_turn)
        if self._lost_reason:
            if not self._has_more:
                self._finish()
            return
        if connection.challenge and not self._check:
            self._check = self._server.check(connection.challenge)
            self._check.add_done_callback(self._checked)
        self._hold_reading()
        if self._timer is None or connection.deadline_at < self._timer.when():
            self._arm_timer()

    def _hold_reading(self) -> None:
        connection = self.connection
        is_held = self._has_more or connection.is_paused or connection.outruns_disk
        if is_held is self._is_held or self._transport.is_closing():
            return
        self._is_held = is_held
        if is_held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _checked(self, check: "asyncio.Future[bool]") -> None:
        if not check.cancelled():
            self.connection.verified(self._loop.time(), is_right=check.result())
            self._take_turn()

    def _finish(self) -> None:
        """The socket is gone and what came through it is handled, but for the very last."""
        if self._rest:
            rest, self._rest = self._rest, b""
            self.connection.receive(self._decode(rest))
            self._take_turn()
            return
        self.connection.lost(self._lost_reason or "lost")
        self._server.clients.discard(self)
        if self._timer:
            self._timer.cancel()
        if self._linger_timer:
            self._linger_timer.cancel()
            self._server.lingering -= 1
        if self._check:
            self._check.cancel()

    def _decode(self, data: bytes) -> bytes:
        """What the socket's bytes are as MQTT."""
        return data

    def flush(self) -> None:
        """Write what has gathered, and close if that was the last."""
        connection, transport = self.connection, self._transport
        data = connection.take_output()
        # What waited for the disk may come after the good-bye.
        if transport.is_closing() or self._linger_timer:
            return
        unread = transport.get_write_buffer_size() + connection.missed_bytes
        if data:  # does not count yet: one packet alone may be larger than the bound
            self._write(data)
        if connection.state is State.ENDED:
            self._close(lingers=connection.was_told)
            return
        if unread > self._server.router.limits.send_buffer:
            connection.cut_off()
            transport.abort()
        elif self._is_held:
            self._hold_reading()

    def _close(self, *, lingers: bool) -> None:
        """It waits for what is written to leave; a peer that does not read gets no time."""
        transport = self._transport
        if transport.get_write_buffer_size():
            transport.abort()
        elif lingers and self._server.may_linger() and transport.can_write_eof():
            self._linger()
        else:
            transport.close()

    def _linger(self) -> None:
        """Let the client read why: closing while it still sends would reset the connection, and
        what it has not read would be lost."""
        if self._linger_timer:
            return
        try:
            self._transport.write_eof()
        except OSError:  # it has gone already
            self._transport.abort()
            return
        if self._is_held:
            self._is_held = False
            self._transport.resume_reading()
        self._linger_timer = self._loop.call_later(LINGER, self._transport.abort)
        self._server.lingering += 1

    def shut_down(self) -> None:
        """Now: what the socket does not take at once is lost."""
        if self.connection.shut_down():
            self.flush()
        self._transport.abort()

    # Time

    def _arm_timer(self) -> None:
        """One timer per client; it is moved only when it would be too late."""
        if self._timer:
            self._timer.cancel()
        self._timer = None
        deadline_at = self.connection.deadline_at
        if deadline_at < math.inf:
            self._timer = self._loop.call_at(deadline_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._has_more:
            self.connection.expire(self._loop.time())
        if self.connection.state is not State.ENDED:
            self._arm_timer()
            if not self._has_more:  # it may have been held back until now
                self._take_turn()


def _peer_name(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if peer else "unknown"


def _read_rest(transport: asyncio.Transport) -> bytes:
    """What the kernel still holds of a connection on which writing failed.

    A client that sends, does not read the answers and leaves resets the connection; what it sent
    before that counts all the same. asyncio closes the socket only after `connection_lost`.
    """
    descriptor = transport.get_extra_info("socket").fileno()
    rest = bytearray()
    with suppress(OSError):
        while len(rest) < REST_SIZE and (data := os.read(descriptor, READ_SIZE)):
            rest += data
    return bytes(rest)
