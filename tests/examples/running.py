"""The examples as anybody runs them: processes whose lines are read."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE = 60.0 * float(os.environ.get("EDGE_TEST_TIMEOUT_SCALE", "1"))


@dataclass(slots=True)
class Program:
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    async def next_line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            line = (await self.process.stdout.readline()).decode().rstrip("\n")
        self.lines.append(line)
        return line

    async def says(self, words: str) -> str:
        """The first line with these words; everything before it is in `lines`."""
        while words not in (line := await self.next_line()):
            assert line or not self.process.stdout or not self.process.stdout.at_eof(), self.lines
        return line

    async def rest(self) -> list[str]:
        """All further lines, to the end of the program, which must be a good one."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            found = (await self.process.stdout.read()).decode().splitlines()
            assert await self.process.wait() == 0, found
        return found

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def program(*command: str, **environment: str) -> AsyncIterator[Program]:
    """Its standard error comes in the same stream."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    found = Program(process)
    try:
        yield found
    finally:
        await found.stop()


def example(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-W", "error", str(EXAMPLES / name), *arguments)


def need(name: str, package: str, *places: str) -> str:
    """The program's path; without it the test is skipped, but never on CI."""
    path = shutil.which(name, path=os.pathsep.join((os.environ["PATH"], *places)))
    if path is None:
        reason = f"{name} is not installed (Debian package {package})"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not skip this")
        pytest.skip(reason)
    return path
