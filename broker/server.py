"""The shell of the embedded broker: sockets, timers and turns, asyncio.

Fairness: a client's packets are handled a turn's worth at a time and its socket is not read
meanwhile; what is to be written to it goes out in one piece per turn of the loop.
"""

import asyncio
import math
import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final

from broker.access import Access, Challenge
from broker.connection import Connection, State
from broker.engine import EngineError
from broker.keeper import Keeper
from broker.patient import PatientConnection
from broker.ports import describe
from broker.router import Router
from broker.settings import BrokerSettings, Listener, Persistence
from broker.statistics import INTERVAL, Statistics

# One read takes at most this much; the buffer is shared, because a read is handled at once.
READ_SIZE: Final = 16 * 1024
# What is read from a socket that is closing already; see `_read_rest`.
REST_SIZE: Final = 1024 * 1024
# Connections accepted in one turn of the loop, and those that may wait for it.
ACCEPTS_PER_TURN: Final = 16
BACKLOG: Final = 1024
# Slow password checks at a time: more would only take memory from each other.
CHECKS: Final = 2
# Unsent bytes in the kernel above which a socket takes no more, so that urgent messages pass.
UNSENT_SIZE: Final = 128 * 1024
# Seconds that an MQTT 5 client has to read why it was closed.
LINGER: Final = 1.0
# Linux: retransmit the few packets of a thin stream at a steady pace, not ever more slowly.
TCP_THIN_LINEAR_TIMEOUTS: Final = 16


class Server:
    """Listeners and clients of one broker. `report` takes one line for the log."""

    def __init__(
        self, settings: BrokerSettings, report: Callable[[str], None], version: str = "edge"
    ) -> None:
        is_kept = settings.persistence is not Persistence.OFF
        self._keeper = Keeper(settings, report) if is_kept else None
        self.router = Router(settings, report, self._keeper.journal if self._keeper else None)
        self.access = Access(settings)
        self.clients: set[Client] = set()
        self.read_buffer = memoryview(bytearray(READ_SIZE))
        self.loop = asyncio.get_running_loop()
        self._settings = settings
        self._checks = ThreadPoolExecutor(CHECKS, thread_name_prefix="password")
        self._listeners: list[asyncio.Server] = []
        self._ready: list[Client] = []
        self._statistics = Statistics(self.router, version, self.loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._agenda_timer: asyncio.TimerHandle | None = None
        self.router.agenda.now = self.loop.time()
        self.router.agenda.on_earlier = self._arm_agenda

    async def start(self) -> None:
        """Listen everywhere or nowhere: EngineError if one address cannot be had.

        What is kept on disk is there before the first client.
        """
        if self._keeper:
            self._keeper.start(self.router, self.access)
        sockets = _bind_all(self._settings.listeners)
        for each in sockets:
            factory = partial(Client, self)
            listener = await self.loop.create_server(factory, sock=each, backlog=ACCEPTS_PER_TURN)
            self._listeners.append(listener)
            each.listen(BACKLOG)  # asyncio's number says both; only the kernel's queue is to grow
        self._publish_statistics()

    def stop(self) -> None:
        """Close everything at once; nobody is waited for."""
        for timer in (self._timer, self._agenda_timer):
            if timer:
                timer.cancel()
        for listener in self._listeners:
            listener.close()
        for client in tuple(self.clients):
            client.shut_down()
        self._checks.shutdown(wait=False, cancel_futures=True)
        if self._keeper:
            self._keeper.stop()

    def connect(self, client: "Client", peer: str) -> Connection:
        """The protocol's part of a new client."""
        parts = (self.router, self.access, peer, self.loop.time(), partial(self.schedule, client))
        if self._keeper:
            return PatientConnection(*parts, self._keeper.journal)
        return Connection(*parts)

    def is_full(self) -> bool:
        return len(self.clients) >= self._settings.limits.connections

    def schedule(self, client: "Client") -> None:
        """The client has output; all output goes out in the next turn of the loop."""
        if not self._ready:
            self.loop.call_soon(self._flush)
        self._ready.append(client)

    def check(self, challenge: Challenge) -> "asyncio.Future[bool]":
        """Have a password checked in a thread."""
        return self.loop.run_in_executor(self._checks, self.access.verify, challenge)

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        self.router.agenda.now = self.loop.time()
        for client in ready:
            client.flush()

    def _arm_agenda(self) -> None:
        """Sessions, wills and messages that end by themselves."""
        if self._agenda_timer:
            self._agenda_timer.cancel()
        next_at = self.router.agenda.next_at
        self._agenda_timer = (
            self.loop.call_at(next_at, self._run_agenda) if next_at < math.inf else None
        )

    def _run_agenda(self) -> None:
        self.router.agenda.run(self.loop.time())
        self._arm_agenda()

    def _publish_statistics(self) -> None:
        self._statistics.publish(self.loop.time())
        self._timer = self.loop.call_later(INTERVAL, self._publish_statistics)


class Client(asyncio.BufferedProtocol):
    """One socket and its Connection."""

    __slots__ = (
        "_check", "_has_more", "_is_held", "_linger_timer", "_loop", "_lost_reason", "_rest",
        "_server", "_timer", "_transport", "connection",
    )  # fmt: skip

    def __init__(self, server: Server) -> None:
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
        self.connection = server.connect(self, _peer_name(transport))
        if server.is_full():
            server.router.counters.refused += 1
            self.connection.lost("refused: too many connections")
            transport.abort()
            return
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
        if exc is not None:
            self._rest = _read_rest(self._transport)
        if not self._has_more:
            self._take_turn()

    # Turns

    def _take_turn(self) -> None:
        """Handle some packets; the rest in later turns, so that others get theirs."""
        connection = self.connection
        self._has_more = connection.process(self._loop.time())
        if self._has_more:
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
        is_held = self._has_more or connection.state is State.VERIFYING or connection.is_held_up
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
            self.connection.receive(rest)
            self._take_turn()
            return
        self.connection.lost(self._lost_reason or "lost")
        self._server.clients.discard(self)
        if self._timer:
            self._timer.cancel()
        if self._linger_timer:
            self._linger_timer.cancel()
        if self._check:
            self._check.cancel()

    def flush(self) -> None:
        """Write what has gathered, and close if that was the last."""
        connection, transport = self.connection, self._transport
        data = connection.take_output()
        if transport.is_closing():
            return
        if data:
            transport.write(data)
        waiting = transport.get_write_buffer_size()
        if connection.state is State.ENDED:
            # Closing waits for what is written to leave; a peer that does not read gets no time.
            if waiting:
                transport.abort()
            elif connection.was_told and transport.can_write_eof():
                self._linger()
            else:
                transport.close()
        elif waiting + connection.missed_bytes > self._server.router.limits.send_buffer:
            connection.cut_off()
            transport.abort()
        elif self._is_held:
            self._hold_reading()

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


def _tune(bound: socket.socket) -> None:
    """Settings that every accepted connection inherits."""
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        for option, value in (
            (TCP_THIN_LINEAR_TIMEOUTS, 1),
            (socket.TCP_NOTSENT_LOWAT, UNSENT_SIZE),
        ):
            with suppress(OSError):
                bound.setsockopt(socket.IPPROTO_TCP, option, value)


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


def _bind_all(listeners: tuple[Listener, ...]) -> list[socket.socket]:
    """Bound sockets, all or none."""
    sockets: list[socket.socket] = []
    try:
        for listener in listeners:
            sockets.extend(_bind(listener))
    except EngineError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _bind(listener: Listener) -> list[socket.socket]:
    """Every address that a listener's host stands for; a name may stand for several."""
    try:
        found = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return [_bound_socket(family, address) for family, _, _, _, address in found]
    except OSError as error:
        raise EngineError(describe(error, listener)) from error


def _bound_socket(family: int, address: Any) -> socket.socket:  # noqa: ANN401 - as the OS gave it
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    _tune(bound)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
