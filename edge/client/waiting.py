"""How a caller waits for what the network brings about: for a condition, or for the next item."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Bell:
    """Rung after every change; who waits for a condition looks whether it has come true."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        for each in self._waiters:
            if not each.done():
                each.set_result(None)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)


class Stream(AsyncIterator[Item], Generic[Item]):
    """Items for one reader. It holds `limit` of them; `keeps_newest` says which ones go when the
    reader is too slow, and `dropped` counts them. It ends when its source is closed."""

    def __init__(self, limit: int, *, keeps_newest: bool) -> None:
        self.dropped = 0
        self._limit = limit
        self._keeps_newest = keeps_newest
        self._items: deque[Item] = deque()
        self._bell = Bell()
        self._is_closed = False

    def offer(self, item: Item) -> None:
        if len(self._items) >= self._limit:
            self.dropped += 1
            if not self._keeps_newest:
                return
            self._items.popleft()
        self._items.append(item)
        self._bell.ring()

    def close(self) -> None:
        self._is_closed = True
        self._bell.ring()

    async def __anext__(self) -> Item:
        await self._bell.wait_for(lambda: bool(self._items) or self._is_closed)
        if not self._items:
            raise StopAsyncIteration
        return self._items.popleft()


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel and await them; raises what one of them failed with, a mistake of ours."""
    for each in tasks:
        each.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
