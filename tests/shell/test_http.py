"""HTTP for load balancers: right answers, and nobody can hold the agent up."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest

from edge.console.answers import Answer, Snapshot, answer
from edge.console.http import HttpServer, Limits, listen
from edge.errors import OperatorError
from tests.shell.raw_broker import DEADLINE, until

STATE = {"hot": "white", "term": 7, "redundant": True, "votes": {"held": 3, "needed": 2}}
HOT = Snapshot(
    group="RPI",
    node="white",
    role="hot",
    phase="none",
    reason="died",
    term=7,
    hot="white",
    service_level=255,
    is_acting=True,
    is_ready=False,
    is_witness=False,
    is_public=True,
    state=lambda: STATE,
)
STANDBY = replace(HOT, node="black", role="standby", is_acting=False, is_ready=True)
EXPIRED = replace(HOT, is_acting=False)
DEFAULTS = Limits()
WITNESS = replace(STANDBY, node="router", role="witness", is_ready=False, is_witness=True)


@pytest.mark.parametrize(
    ("snapshot", "hot", "standby", "health"),
    [
        (HOT, 200, 503, 200),
        (STANDBY, 503, 200, 200),
        (EXPIRED, 503, 503, 503),
        (WITNESS, 503, 503, 200),
    ],
)
def test_verdicts(snapshot: Snapshot, hot: int, standby: int, health: int) -> None:
    found = {path: answer(path, snapshot) for path in ("/hot", "/standby", "/health")}
    assert [each.status for each in found.values()] == [hot, standby, health]
    for each in found.values():
        content = json.loads(each.body)
        assert (content["node"], content["role"]) == (snapshot.node, snapshot.role)
        assert (content["term"], content["hot"]) == (7, "white")


def test_the_state_and_the_metrics() -> None:
    assert json.loads(answer("/api/state", HOT).body) == STATE
    lines = answer("/metrics", HOT).body.decode().splitlines()
    values = dict(each.rsplit(" ", 1) for each in lines if not each.startswith("#"))
    labels = '{group="RPI",node="white"}'
    assert values[f"edge_acting{labels}"] == "1"
    assert values[f"edge_term{labels}"] == "7"
    assert values[f"edge_votes_held{labels}"] == "3"
    assert all(lines.count(f"# TYPE {key.partition('{')[0]} gauge") == 1 for key in values)


@pytest.mark.parametrize("path", ["/api/state", "/metrics"])
def test_what_nobody_in_particular_may_read(path: str) -> None:
    closed = replace(HOT, is_public=False)
    assert answer(path, closed).status == 403
    assert answer("/hot", closed).status == 200


@pytest.mark.parametrize("path", ["", "/hot/", "//hot", "/HOT", "/../hot", "/\ufffd", "*"])
def test_other_paths_are_not_there(path: str) -> None:
    assert answer(path, HOT).status == 404


@dataclass(slots=True)
class Site:
    port: int
    snapshot: Snapshot = HOT
    asked: int = 0

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talk(self, content: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send this, read to the end: status, headers, body."""
        async with asyncio.timeout(DEADLINE):
            reader, writer = await self.open()
            with suppress(OSError):
                writer.write(content)
                await writer.drain()
            raw = await reader.read()
            writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(each.lower().split(": ", 1) for each in lines[1:])
        return int(lines[0].split()[1]) if lines[0] else 0, headers, body

    async def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        return await self.talk(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


@asynccontextmanager
async def site(
    limits: Limits = DEFAULTS, respond: Callable[[str], Answer] | None = None
) -> AsyncIterator[Site]:
    listener = listen("127.0.0.1", 0)
    found = Site(listener.getsockname()[1])

    def look(path: str) -> Answer:
        found.asked += 1
        return respond(path) if respond else answer(path, found.snapshot)

    task = asyncio.create_task(HttpServer(look, limits).serve(listener))
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_get_and_head() -> None:
    async with site() as found:
        status, headers, body = await found.get("/hot?verbose=1")
        assert (status, json.loads(body)["node"]) == (200, "white")
        assert headers["connection"] == "close"
        assert headers["cache-control"] == "no-store"
        found.snapshot = EXPIRED
        assert (await found.get("/hot"))[0] == 503
        status, headers, body = await found.get("/hot", "HEAD")
        assert (status, body) == (503, b"")
        assert int(headers["content-length"]) > 0


async def test_http_1_0_as_old_balancers_speak_it() -> None:
    async with site() as found:
        assert (await found.talk(b"GET /hot HTTP/1.0\r\n\r\n"))[0] == 200


@pytest.mark.parametrize("target", ["http://white:8080/hot", "HTTP://white/hot?verbose=1"])
async def test_a_whole_address_as_proxies_ask_for_it(target: str) -> None:
    async with site() as found:
        assert (await found.get(target))[0] == 200
        assert (await found.get("http://white"))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_wrong_methods(method: str) -> None:
    async with site() as found:
        body = b"x" * 20_000
        head = f"{method} /hot HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        status, headers, _ = await found.talk(head + body)
        assert (status, headers["allow"]) == (405, "get, head")
        assert found.asked == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"GET /hot HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 60_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 60_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /hot HTTP/1.1\r\n\r\n", 400),
        (b"GET /hot\r\n\r\n", 400),
        (b"GET /hot HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /hot HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"\0" * 9000, 400),
        (b"", 0),
    ],
)
async def test_what_is_no_request(content: bytes, status: int) -> None:
    """An answer that says so, and the next one is served."""
    async with site(Limits(request_timeout=0.3)) as found:
        assert (await found.talk(content))[0] in (
            {status, 431} if len(content) > 8192 else {status}
        )
        assert (await found.get("/hot"))[0] == 200


async def test_a_slow_request_is_cut_off() -> None:
    async with site(Limits(request_timeout=0.2)) as found:
        reader, writer = await found.open()
        writer.write(b"GET /hot HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(DEADLINE):
            while await _dribble(reader, writer):
                pass
        writer.close()
        assert found.asked == 0


async def _dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """One more header, and a moment; False when the other side has ended it."""
    try:
        writer.write(b"A: b\r\n")
        await writer.drain()
        async with asyncio.timeout(0.02):
            return bool(await reader.read(100))
    except TimeoutError:
        return True
    except OSError:
        return False


async def test_slow_ones_without_end_do_not_keep_others_out() -> None:
    async with site(Limits(connections=4, request_timeout=1000)) as found:
        slow = [await found.open() for _ in range(12)]
        for _, writer in slow:
            writer.write(b"GET /hot HTTP/1.1\r\n")
        for _ in range(20):
            assert (await found.get("/hot"))[0] == 200
        for reader, _ in slow[:8]:  # each made room for a later one
            async with asyncio.timeout(DEADLINE):
                assert await _ended(reader)
        for _, writer in slow:
            writer.close()


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def test_a_client_that_does_not_read_is_given_up() -> None:
    large = Answer(200, "text/plain", bytes(20_000_000))
    async with site(Limits(request_timeout=0.2), lambda _: large) as found:
        with socket.create_connection(("127.0.0.1", found.port)) as deaf:
            deaf.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: found.asked == 1)
            server = [t for t in asyncio.all_tasks() if t.get_name() == "http"]
            await until(lambda: all(each.done() for each in server))


async def test_a_flood_is_slowed_down_and_the_loop_goes_on() -> None:
    """Forty connections with a budget of twenty: the rest waits for its turn."""
    async with site(Limits(rate=50.0, burst=20)) as found:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        answers = await asyncio.gather(*(found.get("/hot") for _ in range(40)))
        assert [each[0] for each in answers] == [200] * 40
        assert loop.time() - began_at >= 19 / 50


async def test_resets_at_any_moment_end_nothing() -> None:
    async with site() as found:
        for content in (b"", b"GET", b"GET /hot HTTP/1.1\r\nHost: x\r\n\r\n"):
            sock = socket.create_connection(("127.0.0.1", found.port))
            sock.sendall(content)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        assert (await found.get("/hot"))[0] == 200


async def test_a_port_in_use_is_one_line() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OperatorError, match=r"console\.port"),
    ):
        listen("127.0.0.1", taken.getsockname()[1])


async def test_ipv6() -> None:
    with listen("::1", 0) as listener:
        assert listener.family == socket.AF_INET6
