"""The guard at the end of its pipe, as the agent's loop sees it: any order, at any moment."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from edge.duty.guard import frames
from edge.duty.handle import GuardSettings, _start_process
from tests.duty.keeping import SCALE, until
from tests.duty.stage import unique_group

Answer = dict[str, Any]
# Far less than any limit of the orders that are given here.
BOUND = 10.0 * SCALE


class Pipe:
    """Orders go out without waiting; whoever wants the answer waits for its future."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._open: dict[int, asyncio.Future[Answer]] = {}
        self._orders: dict[int, str] = {}
        self._number = 0
        self.answers: Counter[int] = Counter()
        self.withdrawals: list[Answer] = []
        self.exits: list[Answer] = []
        self.ready = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def unanswered(self) -> list[str]:
        return list(self._orders.values())

    async def all_answered(self) -> None:
        while self._open:
            await asyncio.wait(list(self._open.values()))

    def order(self, do: str, **more: object) -> asyncio.Future[Answer]:
        """`ping` and `extend` are answered by their number, all others by their id."""
        self._number += 1
        key = "n" if do in {"ping", "extend"} else "id"
        answer = self._open[self._number] = asyncio.get_running_loop().create_future()
        self._orders[self._number] = f"{do} {more}"
        self.send(do, **{key: self._number}, **more)
        return answer

    async def done(self, do: str, **more: object) -> Answer:
        async with asyncio.timeout(BOUND):
            answer = await self.order(do, **more)
        assert answer["is"] in {"done", "alive"}, answer
        return answer

    async def refused(self, do: str, **more: object) -> str:
        async with asyncio.timeout(BOUND):
            answer = await self.order(do, **more)
        assert answer["is"] == "failed", answer
        return str(answer["why"])

    async def exited(self, name: str) -> None:
        await until(lambda: any(each["name"] == name for each in self.exits))

    def extend(self, term: int, seconds: float = 1000.0) -> asyncio.Future[Answer]:
        return self.order("extend", term=term, deadline=time.monotonic() + seconds)

    def send(self, do: str, **more: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(frames.pack({"do": do, **more}))

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is said within comes to the guard in one piece."""
        self._process.send_signal(signal.SIGSTOP)
        yield
        self._process.send_signal(signal.SIGCONT)

    async def listen(self) -> None:
        assert self._process.stdout is not None
        while True:
            head = await self._process.stdout.readexactly(frames.HEAD)
            body = await self._process.stdout.readexactly(frames.body_length(head))
            self._take(frames.unpack(body))

    def _take(self, message: Answer) -> None:
        match message["is"]:
            case "done" | "failed" | "withheld" | "alive":
                number = message["id"] if "id" in message else message["n"]
                self.answers[number] += 1
                if number in self._open:
                    del self._orders[number]
                    self._open.pop(number).set_result(message)
            case "withdrawn":
                self.withdrawals.append(message)
            case "exited":
                self.exits.append(message)
            case "ready":
                self.ready.set_result(message)

    async def close(self) -> None:
        """The guard ends by itself when its pipe does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(BOUND):
            await self._process.wait()


@asynccontextmanager
async def guard_at_a_pipe(
    group: str = "", lease: float = 1.0, *, with_cgroups: bool = True
) -> AsyncIterator[Pipe]:
    settings = GuardSettings(group or unique_group(), "white", "b1", lease, 0.1)
    process = await _start_process()
    pipe = Pipe(process)
    listening = asyncio.create_task(pipe.listen())
    try:
        begin = settings.to_message() | {"with_cgroups": with_cgroups}
        pipe.send(str(begin.pop("do")), **begin)
        async with asyncio.timeout(BOUND):
            await pipe.ready
        yield pipe
        await pipe.close()
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        if process.returncode is None:
            process.kill()
            await process.wait()
