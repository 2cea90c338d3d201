"""The console port of real nodes: what a load balancer sees before, during and after a failover."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.engines.tools import free_port
from tests.shell.raw_broker import DEADLINE
from tests.shell.running import ALONE, FILE, Members, members

QUESTION = "GET {path} HTTP/1.1\r\nHost: balancer\r\n\r\n"


async def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body; status 0 where nobody answers."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(QUESTION.format(path=path).encode())
        async with asyncio.timeout(DEADLINE):
            raw = await reader.read()
        writer.close()
    except OSError:
        return 0, b""
    return int(raw.split()[1]) if raw else 0, raw.partition(b"\r\n\r\n")[2]


async def answers(port: int, path: str, status: int) -> bytes:
    """The body of the first answer with this status."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found, body = await get(port, path)
            if found == status:
                return body
            await asyncio.sleep(0.01)


def with_consoles(group: Members, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Start every member with a console of its own: on one machine they cannot share a port."""
    ports = {name: free_port() for name in group.ports}
    for name, port in ports.items():
        monkeypatch.setenv("EDGE_CONSOLE__PORT", str(port))
        group.start(name)
    return ports


async def who_is_hot(ports: dict[str, int]) -> str:
    """Which of the two nodes says so; it depends on who is up first."""
    async with asyncio.timeout(DEADLINE):
        while True:
            answers = {name: await get(ports[name], "/hot") for name in ("white", "black")}
            hot = [name for name, (status, _) in answers.items() if status == 200]
            if hot:
                return hot[0]
            await asyncio.sleep(0.01)


async def test_a_balancer_follows_the_hot_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with members(tmp_path, FILE) as group:
        ports = with_consoles(group, monkeypatch)
        first = await who_is_hot(ports)
        other = "black" if first == "white" else "white"
        body = json.loads((await get(ports[first], "/hot"))[1])
        assert (body["node"], body["role"], body["hot"]) == (first, "hot", first)
        await answers(ports[other], "/standby", 200)
        assert (await get(ports[other], "/hot"))[0] == 503
        assert (await get(ports[first], "/standby"))[0] == 503
        assert (await get(ports["router"], "/hot"))[0] in {0, 503}
        state = json.loads((await get(ports[other], "/api/state"))[1])
        assert (state["hot"], state["term"]) == (first, body["term"])
        group.send(first, signal.SIGKILL)
        after = json.loads(await answers(ports[other], "/hot", 200))
        assert after["term"] > body["term"]
        assert (await get(ports[first], "/hot"))[0] == 0


async def test_without_its_lease_a_node_is_not_hot_for_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both others are gone: no record comes back, the lease runs out."""
    with members(tmp_path, FILE) as group:
        ports = with_consoles(group, monkeypatch)
        hot = await who_is_hot(ports)
        for name in ports.keys() - {hot}:
            group.send(name, signal.SIGKILL)
        await answers(ports[hot], "/hot", 503)
        assert (await get(ports[hot], "/health"))[0] == 503


async def test_without_the_table_there_is_no_port(tmp_path: Path) -> None:
    port = free_port()
    with members(tmp_path, ALONE) as group:
        group.start("white")
        async with asyncio.timeout(DEADLINE):
            while "elected" not in group.log("white"):
                assert (await get(port, "/hot"))[0] == 0
                await asyncio.sleep(0.01)


async def test_a_port_in_use_refuses_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("EDGE_CONSOLE__PORT", str(port))
        with members(tmp_path, ALONE) as group:
            group.start("white")
            assert await group.end_of("white") == 1
            last = group.log("white").splitlines()[-1]
            assert f"127.0.0.1:{port}" in last
            assert "console.port" in last
            assert "Traceback" not in group.log("white")
