"""The shell of the embedded broker: sockets, timers and turns, asyncio.

Fairness: a client's packets are handled a turn's worth at a time and its socket is not read
meanwhile; what is to be written to it goes out in one piece per turn of the loop (`outgoing`).
"""

import asyncio
import math
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final

from broker.admission.access import Access, Challenge
from broker.admission.entrance import STRANGERS
from broker.connections.connection import Connection
from broker.connections.patient import PatientConnection
from broker.errors import EngineError
from broker.routing.router import Router
from broker.routing.statistics import INTERVAL, Statistics
from broker.server.certificates import DAY, Certificates
from broker.server.client import READ_SIZE, Client
from broker.server.layered_client import LayeredClient
from broker.server.layers import Layer
from broker.server.outgoing import Outgoing
from broker.server.ports import describe
from broker.server.tls import Tls
from broker.settings import BrokerSettings, Listener, Persistence, Transport
from broker.store.keeper import Keeper

# Connections accepted in one turn of the loop, and those that may wait for it. A flood of them is
# not served more slowly by few, but the others are served sooner.
ACCEPTS_PER_TURN: Final = 4
BACKLOG: Final = 1024
# Slow password checks at a time: more would only take memory from each other.
CHECKS: Final = 2
LOW_PRIORITY: Final = 10  # as `nice` counts
# Seconds between two looks at the files of TLS.
LOOK_INTERVAL: Final = 5.0
# Unsent bytes in the kernel above which a socket takes no more, so that urgent messages pass.
UNSENT_SIZE: Final = 128 * 1024
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
        self.lingering = 0
        self.read_buffer = memoryview(bytearray(READ_SIZE))
        self.loop = asyncio.get_running_loop()
        self._settings = settings
        self._checks = ThreadPoolExecutor(CHECKS, "password", _stand_back)
        self._listeners: list[asyncio.Server] = []
        self.outgoing = Outgoing(self.loop, self.router.agenda)
        self._statistics = Statistics(self.router, version, self.loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._agenda_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._remind_timer: asyncio.TimerHandle | None = None
        self._certificates: Certificates | None = None
        self._handshakes: deque[Callable[[], None]] = deque()
        self.router.agenda.now = self.loop.time()
        self.router.agenda.on_earlier = self._arm_agenda

    async def start(self) -> None:
        """Listen everywhere or nowhere: EngineError if one address cannot be had.

        What is kept on disk is there before the first client.
        """
        if self._keeper:
            self._keeper.start(self.router, self.access)
        listeners = self._settings.listeners
        if self._settings.tls and any(each.transport.has_tls for each in listeners):
            self._certificates = Certificates(self._settings.tls, self.router.report)
            self._look_timer = self.loop.call_later(LOOK_INTERVAL, self._look)
            self._remind()
        for listener, bound in _bind_all(listeners):
            self._listeners.append(await self._listen(listener, bound))
        self._publish_statistics()

    async def _listen(self, listener: Listener, bound: socket.socket) -> asyncio.Server:
        factory = self._factory(listener.transport)
        try:
            server = await self.loop.create_server(factory, sock=bound, backlog=ACCEPTS_PER_TURN)
        except OSError as error:  # several can bind one address, and one can listen there
            raise EngineError(describe(error, listener)) from error
        bound.listen(BACKLOG)  # asyncio's number says both; only the kernel's queue is to grow
        return server

    def stop(self) -> None:
        """Close everything at once; nobody is waited for."""
        for timer in (self._timer, self._agenda_timer, self._look_timer, self._remind_timer):
            if timer:
                timer.cancel()
        for listener in self._listeners:
            listener.close()
        for client in tuple(self.clients):
            client.shut_down()
        self._checks.shutdown(wait=False, cancel_futures=True)
        if self._keeper:
            self._keeper.stop()

    def connect(self, client: Client, peer: str) -> Connection:
        """The protocol's part of a new client."""
        parts = (
            self.router,
            self.access,
            peer,
            self.loop.time(),
            partial(self.outgoing.schedule, client),
        )
        if self._keeper:
            return PatientConnection(*parts, self._keeper.journal)
        return Connection(*parts)

    def may_linger(self) -> bool:
        """A flood of those that are refused must not cost sockets: most read the answer anyway."""
        return self.lingering < STRANGERS

    def reload(self) -> None:
        """Read certificate and key again, for the connections to come."""
        if self._certificates:
            self._certificates.reload()

    def queue_handshake(self, step: Callable[[], None]) -> None:
        """One of them in each turn of the loop."""
        if not self._handshakes:
            self.loop.call_soon(self._shake_hands)
        self._handshakes.append(step)

    def check(self, challenge: Challenge) -> "asyncio.Future[bool]":
        """Have a password checked in a thread."""
        return self.loop.run_in_executor(self._checks, self.access.verify, challenge)

    def _shake_hands(self) -> None:
        step = self._handshakes.popleft()
        if self._handshakes:
            self.loop.call_soon(self._shake_hands)
        step()

    def _factory(self, transport: Transport) -> Callable[[], Client]:
        if transport is Transport.TCP:
            return partial(Client, self)
        return lambda: LayeredClient(self, tuple(self._layers(transport)))

    def _layers(self, transport: Transport) -> Iterator[Layer]:
        if transport.has_tls:
            assert self._certificates, "a listener with TLS needs BrokerSettings.tls"
            yield Tls(self._certificates.context)
        if transport.has_websocket:
            # Only here: h11 costs memory, which a broker without websocket does not need.
            from broker.server.websocket import Websocket  # noqa: PLC0415

            yield Websocket(self._settings.websocket_origins)

    def _look(self) -> None:
        assert self._certificates
        self._certificates.look()
        self._look_timer = self.loop.call_later(LOOK_INTERVAL, self._look)

    def _remind(self) -> None:
        assert self._certificates
        self._certificates.remind()
        self._remind_timer = self.loop.call_later(DAY, self._remind)

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
        self._timer = self.loop.call_later(INTERVAL, self._publish_statistics)
        self._take_steps(self._statistics.steps(self.loop.time()))

    def _take_steps(self, steps: Iterator[None]) -> None:
        """One in each turn of the loop."""
        for _ in steps:
            self.loop.call_soon(self._take_steps, steps)
            return


def _stand_back() -> None:
    """Threads that check passwords leave the processor to what is already being served."""
    if sys.platform == "linux":  # elsewhere this would be the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)


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


def _bind_all(listeners: tuple[Listener, ...]) -> list[tuple[Listener, socket.socket]]:
    """Bound sockets, all or none."""
    sockets: list[tuple[Listener, socket.socket]] = []
    try:
        for listener in listeners:
            sockets.extend((listener, each) for each in _bind(listener))
    except EngineError:
        for _, each in sockets:
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
