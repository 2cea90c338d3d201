"""Tasks that belong to the keeper: named, held, and never failing in silence."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Tasks:
    """An exception in one of them is our mistake: it goes where those of callbacks go."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self) -> None:
        for task in tuple(self._tasks):
            await cancel(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        context = {"message": f"task {task.get_name()} failed", "exception": task.exception()}
        task.get_loop().call_exception_handler(context)


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel and wait for the end, without taking its exception or our own cancellation for it."""
    task.cancel()
    await asyncio.wait({task})


async def first_of(*answers: Coroutine[Any, Any, str]) -> str:
    """The first answer; the others are cancelled and have ended when this returns."""
    tasks = [asyncio.ensure_future(each) for each in answers]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(each for each in tasks if each in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_of(*works: Coroutine[Any, Any, None]) -> None:
    """All at once; when every one has ended, the first one's error."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def in_own_thread(work: Callable[[], Answer]) -> Answer:
    """The loop's own threads may all be waiting for a name service, for health checks. Where there
    is no room for another thread, the loop waits."""
    thread = ThreadPoolExecutor(1)
    try:
        future = asyncio.get_running_loop().run_in_executor(thread, work)
    except RuntimeError:
        return work()
    finally:
        thread.shutdown(wait=False)
    return await future
