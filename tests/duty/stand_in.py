"""An agent reduced to its guard: `python -m tests.duty.stand_in`, orders and news as JSON lines.

Tests freeze and kill it where they could not do that to themselves.
"""

import asyncio
import json
import sys
import time
from typing import Any

from edge.duty.handle import GuardSettings, Handle
from edge.duty.ports import GuardCallbacks, GuardError, Spawn


def tell(**news: object) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


class StandIn:
    """Does what it is told, one order after the other; extends the deadline beside that."""

    def __init__(self) -> None:
        self._handle: Handle | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._lease = 1.0

    async def carry_out(self, order: dict[str, Any]) -> None:
        what = order.pop("do")
        match what:
            case "start":
                await self._start(order)
            case "keep":
                self._keeping = asyncio.create_task(self._keep(order["term"]))
            case "let_go":
                if self._keeping is not None:
                    self._keeping.cancel()
            case "spawn":
                tell(pid=await self.handle.spawn(Spawn(**order | {"argv": tuple(order["argv"])})))
            case "say" | "extend":
                getattr(self.handle, what)(**order)
            case "close":
                await self.handle.close()
            case _:
                await getattr(self.handle, what)(**order)

    @property
    def handle(self) -> Handle:
        assert self._handle is not None
        return self._handle

    async def _start(self, order: dict[str, Any]) -> None:
        order["addresses"] = tuple((text, interface) for text, interface in order["addresses"])
        self._lease = order["lease"]
        callbacks = GuardCallbacks(
            on_exit=lambda end: tell(exited=end.name, status=end.status),
            on_output=lambda name, line: tell(output=name, line=line),
            on_withdrawn=lambda why: tell(withdrawn=why),
            on_lost=self._lost,
        )
        self._handle = Handle(GuardSettings(**order), callbacks)
        swept = await self._handle.start()
        tell(swept=swept, guard=self._handle.pid)

    def _lost(self, why: str) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        tell(lost=why)

    async def _keep(self, term: int) -> None:
        """As a hot agent does: every quarter of a lease, for a lease."""
        while True:
            self.handle.extend(term, time.monotonic() + self._lease)
            await asyncio.sleep(self._lease / 4)


async def main() -> None:
    stand_in, loop = StandIn(), asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            await stand_in.carry_out(json.loads(line))
        except GuardError as error:
            tell(refused=str(error))
        else:
            tell(done=True)


if __name__ == "__main__":
    asyncio.run(main())
