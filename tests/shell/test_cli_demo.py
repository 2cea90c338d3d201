"""`edge demo`: the whole story on this machine, and nothing left behind."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.shell.fake_group import TIMEOUT

# A cold start, a failover, a restart and a switchover on a busy machine.
pytestmark = pytest.mark.timeout(240)


@asynccontextmanager
async def demo(folder: Path, *arguments: str) -> AsyncIterator[Process]:
    """The demo as a process, with its files in `folder`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge", "demo", *arguments),
        stdout=PIPE,
        stderr=STDOUT,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(folder), "COLUMNS": "120"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def members(folder: Path) -> list[psutil.Process]:
    """The processes that were started with a group file in `folder`."""
    found = psutil.process_iter(["cmdline"])
    return [
        each for each in found if any(str(folder) in word for word in each.info["cmdline"] or ())
    ]


async def until(is_reached: Callable[[], object]) -> None:
    """Processes come and go without telling us: look again and again, for a limited time."""
    async with asyncio.timeout(TIMEOUT):
        while not is_reached():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def read_until(process: Process, words: str) -> str:
    assert process.stdout is not None
    text = ""
    async with asyncio.timeout(2 * TIMEOUT):
        while words not in text:
            line = await process.stdout.readline()
            assert line, text
            text += line.decode()
    return text


async def test_once_shows_a_failover_and_a_switchover(tmp_path: Path) -> None:
    async with demo(tmp_path, "--once") as process:
        out, _ = await process.communicate()
    text = out.decode()
    assert process.returncode == 0, text
    assert "failover: black is hot" in text
    assert "switchover: white is hot" in text
    assert members(tmp_path) == []
    assert not any(os.scandir(tmp_path)), "its files are gone, too"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    async with demo(tmp_path) as process:
        await read_until(process, "Ctrl-C ends everything")
        process.send_signal(number)
        async with asyncio.timeout(TIMEOUT):
            await process.communicate()
    assert process.returncode == 0
    assert members(tmp_path) == []


async def test_the_members_end_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    async with demo(tmp_path, "--once") as process:
        await read_until(process, "is hot")
        process.kill()
    await until(lambda: not members(tmp_path))


async def test_a_member_that_cannot_run_is_explained(tmp_path: Path) -> None:
    async with demo(tmp_path, "--once") as process:
        await read_until(process, "starting two nodes")
        await until(lambda: members(tmp_path))
        members(tmp_path)[0].kill()
        out, _ = await process.communicate()
    assert process.returncode == 1
    assert b"ended by itself" in out
    assert members(tmp_path) == []
