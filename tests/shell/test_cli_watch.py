"""`edge watch` on a terminal of its own: it follows the topics and ends with Ctrl-C."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.shell.fake_group import STATE, TIMEOUT, fake_group


@dataclass(slots=True)
class Terminal:
    """What a process wrote to its terminal so far."""

    process: asyncio.subprocess.Process
    screen: int
    text: str = ""

    async def shows(self, words: str) -> None:
        async with asyncio.timeout(TIMEOUT):
            while words not in self.text:
                chunk = await asyncio.to_thread(os.read, self.screen, 65536)
                self.text += chunk.decode(errors="replace")


@asynccontextmanager
async def watching(file: Path) -> AsyncIterator[Terminal]:
    screen, inside = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge", "watch", "--config", str(file)),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(inside)
    try:
        yield Terminal(process, screen)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(screen)


async def test_watch_follows_the_group_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    async with fake_group(tmp_path) as group, watching(group.file) as terminal:
        group.publish("state", STATE)
        await terminal.shows("hot: white")
        group.publish("event", {"event": "failover", "to": "black"}, retained=False)
        group.publish("hot", "black")
        await terminal.shows("hot: black")
        await terminal.shows("failover")
        terminal.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT):
            assert await terminal.process.wait() == 130
    assert "Traceback" not in terminal.text


async def test_watch_keeps_trying_when_nobody_answers(tmp_path: Path) -> None:
    async with fake_group(tmp_path) as group, watching(group.file) as terminal:
        group.publish("state", STATE)
        await terminal.shows("hot: white")
        await group.engine.stop()
        await terminal.shows("trying again")
