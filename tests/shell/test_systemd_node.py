"""What systemd is told by a real node: it lives as long as its loop turns, not as its process."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell.raw_broker import DEADLINE
from tests.shell.running import ALONE, members

INTERVAL = 0.1
# A node whose loop never gets on after SIGUSR2; its process is as awake as before.
WITH_A_TRAP = """\
import signal, time
def stay(*_):
    while True:
        time.sleep(0.01)
signal.signal(signal.SIGUSR2, stay)
from edge.cli import main
main()
"""


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", listener.getsockname())
        monkeypatch.setenv("WATCHDOG_USEC", str(int(2 * INTERVAL * 1e6)))
        yield listener


async def told(manager: socket.socket) -> str:
    async with asyncio.timeout(DEADLINE):
        return (await asyncio.get_running_loop().sock_recv(manager, 1000)).decode()


async def told_that(manager: socket.socket, word: str) -> None:
    while not (await told(manager)).startswith(f"{word}=1\nSTATUS="):
        pass


async def is_silent(manager: socket.socket) -> bool:
    """Once what was said before has been read, nothing for many intervals."""
    try:
        while True:
            async with asyncio.timeout(10 * INTERVAL):
                await asyncio.get_running_loop().sock_recv(manager, 1000)
            await asyncio.sleep(0)
    except TimeoutError:
        return True


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGSTOP])
async def test_a_stuck_node_is_silent_as_a_frozen_one(
    tmp_path: Path, manager: socket.socket, number: signal.Signals
) -> None:
    with members(tmp_path, ALONE) as group:
        group.start("white", program=("-c", WITH_A_TRAP))
        await told_that(manager, "READY")
        for _ in range(3):
            await told_that(manager, "WATCHDOG")
        group.send("white", number)
        async with asyncio.timeout(DEADLINE):
            assert await is_silent(manager)
        group.processes["white"].kill()


async def test_a_node_that_stops_says_so(tmp_path: Path, manager: socket.socket) -> None:
    with members(tmp_path, ALONE) as group:
        group.start("white")
        await told_that(manager, "READY")
        group.send("white", signal.SIGTERM)
        await told_that(manager, "STOPPING")
        assert await group.end_of("white") == 0
