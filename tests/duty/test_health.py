"""Health checks: an empty answer is a good one, any other says what is wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from edge.duty.health import Check, make_check
from edge.duty.lives import Lives
from edge.duty.ports import GuardCallbacks, Spawn
from edge.duty.runner import Runner
from edge.settings.duty import Health
from tests.duty.keeping import SCALE
from tests.duty.recording_guard import RecordingGuard
from tests.engines.tools import free_port

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _ignore(_: str) -> None:
    """These guards are not lost."""


def check(changed_at: dict[str, float] | None = None, **plan: object) -> Check:
    guard, lives = RecordingGuard(), Lives()
    guard.callbacks = GuardCallbacks(lives.exited, lives.output, _ignore, _ignore)
    health = Health.model_validate({"timeout": 5.0 * SCALE, **plan})
    spawn = Spawn("check.a", health.command or ())
    return make_check(health, spawn, Runner(guard, lives), (changed_at or {}).get)


@asynccontextmanager
async def server(answer: bytes, *, ends: bool = True) -> AsyncIterator[int]:
    """Answers every connection with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if not ends:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


async def test_tcp() -> None:
    async with server(b"") as port:
        assert await check(tcp=f"127.0.0.1:{port}")(0.0) == ""
    assert "connect" in await check(tcp=f"127.0.0.1:{free_port()}")(0.0)


async def test_tcp_to_no_host() -> None:
    assert await check(tcp="no-such-host.invalid:1")(0.0) != ""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 302 Found\r\n\r\n", ""),
        (b"HTTP/1.1 204\r\n\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP status 503"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        (b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP"),
        (b"", "the answer is not HTTP"),
        (b"x" * 100_000, "the answer is not HTTP"),
    ],
)
async def test_http(answer: bytes, expected: str) -> None:
    async with server(answer) as port:
        assert await check(http=f"http://127.0.0.1:{port}/health?a=b")(0.0) == expected


async def test_http_that_never_answers() -> None:
    async with server(b"HTTP/1.1 200", ends=False) as port:
        ask = check(http=f"http://127.0.0.1:{port}", timeout=0.1)
        assert await ask(0.0) == "no answer within 0.1 s"


async def test_http_asks_for_the_path_of_the_address() -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        assert await check(http=f"http://u:p@127.0.0.1:{port}/a?b=c")(0.0) == ""
    lines = asked[0].split(b"\r\n")
    assert lines[:2] == [b"GET /a?b=c HTTP/1.1", f"Host: 127.0.0.1:{port}".encode()]


async def test_command() -> None:
    assert await check(command=["true"])(0.0) == ""
    said = await check(command=["sh", "-c", "echo disk full; exit 2"])(0.0)
    assert said == "the check ended with status 2: disk full"
    late = await check(command=["sleep", "1000"], timeout=0.1)(0.0)
    assert late == "the check did not end within 0.1 s"
    none = await check(command=["/no/such/check"])(0.0)
    assert none == "the check cannot run: /no/such/check: No such file or directory"


async def test_topic() -> None:
    now = asyncio.get_running_loop().time()
    assert await check({"t": now}, topic="t")(now - 1) == ""
    assert await check({}, topic="t")(now) == "topic t has not changed since the start"
    assert await check({"t": now - 5}, topic="t")(now - 1) == (
        "topic t has not changed since the start"
    )
    old = await check({"t": now - 20}, topic="t", max_age=10.0)(now - 30)
    assert old == "topic t has not changed for 20 s"
