"""Cancelled at every point where it waits, once and twice in a row, the client leaves nothing."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edge.client import ClosedError, Follower, Group
from tests.client.brokers import DEADLINE, GROUP, speakers
from tests.shell.raw_broker import until


class CancelledAt:
    """Runs a coroutine and cancels its task at these of the points where it waits."""

    def __init__(self, work: Coroutine[Any, Any, None], points: frozenset[int]) -> None:
        self._work = work
        self._points = points
        self.count = 0

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        try:
            awaited = next(steps)
            while True:
                self._count()
                try:
                    value = yield awaited
                except asyncio.CancelledError as error:
                    awaited = steps.throw(error)
                else:
                    awaited = steps.send(value)
        except StopIteration:
            return

    def _count(self) -> None:
        self.count += 1
        if self.count in self._points:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()


class Waiters:
    """Others who use the same group and connection, and are not cancelled."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, group: Group, connection: Follower) -> None:
        for stream in (group.changes(), connection.messages, connection.moves()):
            self.tasks.append(asyncio.create_task(_exhaust(stream)))
        self.tasks.append(asyncio.create_task(_publish(connection)))


async def _exhaust(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        pass


async def _publish(connection: Follower) -> None:
    with suppress(ClosedError):
        while True:
            await connection.publish("n/other", "again and again")


async def _life(addresses: list[str], waiters: Waiters) -> None:
    async with Group(addresses, name=GROUP) as group, group.follow(limit=2) as connection:
        waiters.start(group, connection)
        await group.wait_for_hot()
        await connection.subscribe("n/#")
        await connection.publish("n/x", "one")
        for number in range(5):
            await connection.enqueue("n/x", str(number))
        await connection.drain()
        await connection.unsubscribe("n/#")


def sockets() -> int:
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += str(each.readlink()).startswith("socket:")
    return count


@pytest.mark.timeout(300)
@pytest.mark.parametrize("in_a_row", [1, 2])
async def test_nothing_is_left_wherever_it_is_cancelled(in_a_row: int) -> None:
    async with speakers("white", "black") as (white, black):
        for each in (white, black):
            await each.names("white", 5)
        tasks, open_sockets, first, was_cancelled = asyncio.all_tasks(), sockets(), 0, True
        while was_cancelled:
            first += 1
            points, waiters = frozenset(range(first, first + in_a_row)), Waiters()
            life = CancelledAt(_life([white.address, black.address], waiters), points)
            task = asyncio.create_task(_run(life))
            await asyncio.wait([task])
            was_cancelled = task.cancelled()
            async with asyncio.timeout(DEADLINE):
                await asyncio.gather(*waiters.tasks)
            await until(lambda: asyncio.all_tasks() == tasks and sockets() == open_sockets)
        assert task.exception() is None
        assert first > 10, "it was cancelled at so many points"


async def _run(life: CancelledAt) -> None:
    await life
