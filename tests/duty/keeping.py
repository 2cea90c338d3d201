"""A keeper with a recording guard, and what it reported, to wait for."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from edge.duty.keeper import Callbacks, Keeper
from edge.duty.ports import GuardCallbacks
from edge.duty.situation import Identity
from edge.settings.duty import Duty
from tests.duty.recording_guard import RecordingGuard

SCALE = float(os.environ.get("EDGE_TEST_TIMEOUT_SCALE", "1"))
FOREVER = ["sleep", "1000"]


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; an assertion when it does not come true in time."""
    async with asyncio.timeout(seconds * SCALE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass
class Kept:
    """One keeper under test."""

    keeper: Keeper
    guard: RecordingGuard
    reports: list[str]
    fitness: list[str]
    alerts: list[str | None]
    steps: list[str]
    changed_at: dict[str, float] = field(default_factory=dict)

    async def reported(self, *reports: str) -> None:
        """Exactly these, in this order, since the last time."""
        await until(lambda: len(self.reports) >= len(reports))
        assert self.reports == list(reports)
        self.reports.clear()

    async def spawned(self, number: int) -> None:
        await until(lambda: len(self.guard.spawned) == number)

    async def hot(self, term: int = 7, reason: str = "failover") -> None:
        self.keeper.start(term, reason)
        await self.reported(f"started {term}")


@asynccontextmanager
async def keeping(**tables: object) -> AsyncIterator[Kept]:
    """A keeper that has begun, with these tables of `[duty]`."""
    guard = RecordingGuard()
    reports: list[str] = []
    fitness: list[str] = []
    alerts: list[str | None] = []
    steps: list[str] = []
    changed_at: dict[str, float] = {}
    callbacks = Callbacks(
        started=lambda term: reports.append(f"started {term}"),
        failed=lambda term, why: reports.append(f"failed {term}: {why}"),
        stopped=lambda term: reports.append(f"stopped {term}"),
        fitness=fitness.append,
        alert=lambda _, sentence: alerts.append(sentence),
        step=lambda name, _: steps.append(name),
    )
    duty = Duty.model_validate(tables)
    keeper = Keeper(duty, guard, Identity("RPI", "white"), callbacks, changed_at.get)
    guard.callbacks = GuardCallbacks(keeper.exited, keeper.output, keeper.withdrawn, keeper.lost)
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    try:
        keeper.begin()
        yield Kept(keeper, guard, reports, fitness, alerts, steps, changed_at)
        await keeper.close()
        assert not guard.running, "nothing is left after the end"
    finally:
        await guard.close()
    assert not errors


def process(name: str, command: list[str] | None = None, **more: object) -> dict[str, object]:
    """A table of `[[duty.process]]` that fails fast."""
    fast = {"stop_timeout": 0.5 * SCALE, "start_timeout": 5.0 * SCALE, "restart_delay": 0.02}
    return {"name": name, "command": command or FOREVER, **fast, **more}
