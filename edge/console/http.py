"""A small HTTP server inside the agent: it answers short questions and can never hold it up.

One request a connection, a time limit for each, a bounded number of connections of which the
oldest unfinished one makes room, and a bounded rate: what is too much waits in the system's queue.
"""

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import h11

from edge.console.answers import Answer, problem
from edge.errors import OperatorError

METHODS = ("GET", "HEAD")
CHUNK = 4096
# A proxy may name the whole address (RFC 9112, 3.2.2).
ABSOLUTE = re.compile("^https?://[^/?]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. `rate` and `burst` are connections."""

    connections: int = 32
    rate: float = 100.0
    burst: int = 50
    request_timeout: float = 5.0
    farewell_timeout: float = 1.0
    request_bytes: int = 8192
    farewell_bytes: int = 65536


class HttpServer:
    """`respond` takes a path without its query; it is called on the loop and must not wait."""

    def __init__(self, respond: Callable[[str], Answer], limits: Limits = Limits()) -> None:
        self._respond = respond
        self._limits = limits
        self._open: dict[asyncio.Task[None], None] = {}
        self._budget = float(limits.burst)
        self._budgeted_at = 0.0

    async def serve(self, listener: socket.socket) -> None:
        """Until cancelled."""
        self._budgeted_at = asyncio.get_running_loop().time()
        with listener:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._take_one(listener, group)

    async def _take_one(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        await self._pace()
        connection = await _accept(listener)
        if connection is None:
            return
        self._make_room()
        task = group.create_task(self._attend(connection), name="http")
        self._open[task] = None
        task.add_done_callback(self._forget)

    async def _pace(self) -> None:
        """At most `rate` connections a second after a burst."""
        now = asyncio.get_running_loop().time()
        gained = (now - self._budgeted_at) * self._limits.rate
        self._budget = min(self._budget + gained, float(self._limits.burst)) - 1
        self._budgeted_at = now
        if self._budget < 0:
            await asyncio.sleep(-self._budget / self._limits.rate)

    def _make_room(self) -> None:
        """Who asks and listens is done in milliseconds; the oldest one does neither."""
        if len(self._open) >= self._limits.connections:
            oldest = next(iter(self._open))
            self._forget(oldest)
            oldest.cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)

    async def _attend(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, TimeoutError, h11.LocalProtocolError):
            async with asyncio.timeout(self._limits.request_timeout):
                await self._converse(connection)
            async with asyncio.timeout(self._limits.farewell_timeout):
                await self._hear_out(connection)

    async def _converse(self, connection: socket.socket) -> None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.request_bytes)
        method = "GET"
        try:
            request = await _request(parser, connection)
            if request is None:
                return
            method = request.method.decode("ascii")
            found = self._answer(method, request.target)
        except h11.RemoteProtocolError as error:
            found = problem(error.error_status_hint, "this is no request that we understand")
        if parser.our_state in {h11.SEND_RESPONSE, h11.IDLE}:
            await asyncio.get_running_loop().sock_sendall(
                connection, _encoded(parser, found, with_body=method != "HEAD")
            )

    def _answer(self, method: str, target: bytes) -> Answer:
        if method not in METHODS:
            return problem(405, "GET and HEAD only")
        path = ABSOLUTE.sub("", target.decode("ascii", "replace"))
        return self._respond(path.partition("?")[0])

    async def _hear_out(self, connection: socket.socket) -> None:
        """Closing while something is unread would take our answer back."""
        loop = asyncio.get_running_loop()
        connection.shutdown(socket.SHUT_WR)
        left = self._limits.farewell_bytes
        while left > 0 and (chunk := await loop.sock_recv(connection, CHUNK)):
            left -= len(chunk)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, or the operator's one line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=64)
    except OSError as error:
        raise OperatorError(
            f"the console cannot listen on {host}:{port} ({error.strerror or error}); "
            "choose another console.port, or leave [console] out"
        ) from None
    listener.setblocking(False)  # noqa: FBT003  the standard library's own argument
    return listener


async def _accept(listener: socket.socket) -> socket.socket | None:
    """None after a failure of the system's, such as too many open files, and a pause."""
    try:
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
    except OSError:
        await asyncio.sleep(0.1)
        return None
    return connection


async def _request(parser: h11.Connection, connection: socket.socket) -> h11.Request | None:
    """The head of a request; None if the other side is gone before it is complete."""
    loop = asyncio.get_running_loop()
    while True:
        event = parser.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        parser.receive_data(await loop.sock_recv(connection, CHUNK))


def _encoded(parser: h11.Connection, found: Answer, *, with_body: bool) -> bytes:
    headers = [
        ("Content-Type", found.content_type),
        ("Content-Length", str(len(found.body))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ]
    if found.status == 405:
        headers.append(("Allow", ", ".join(METHODS)))
    parts = [parser.send(h11.Response(status_code=found.status, headers=headers))]
    if with_body:
        parts.append(parser.send(h11.Data(data=found.body)))
    return b"".join(part for part in parts if part)
