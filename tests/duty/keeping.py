"""Keepers with a recording guard or a real one, and what they reported, to wait for."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from edge.duty.handle import GuardSettings, Handle
from edge.duty.keeper import Callbacks, Keeper
from edge.duty.ports import Exit, GuardCallbacks, GuardHandle
from edge.duty.situation import Identity
from edge.settings.duty import Duty
from tests.duty.recording_guard import RecordingGuard
from tests.duty.stage import unique_group

SCALE = float(os.environ.get("EDGE_TEST_TIMEOUT_SCALE", "1"))
FOREVER = ["sleep", "1000"]


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; an assertion when it does not come true in time."""
    async with asyncio.timeout(seconds * SCALE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass
class Told:
    """What a keeper reported, to wait for."""

    keeper: Keeper = field(init=False)
    reports: list[str] = field(default_factory=list)
    fitness: list[str] = field(default_factory=list)
    alerts: list[str | None] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    changed_at: dict[str, float] = field(default_factory=dict)
    withdrawals: list[str] = field(default_factory=list)

    def make_keeper(self, guard: GuardHandle, tables: object) -> None:
        duty, identity = Duty.model_validate(tables), Identity("RPI", "white")
        self.keeper = Keeper(duty, guard, identity, self._callbacks(), self.changed_at.get)

    def guard_callbacks(self) -> GuardCallbacks:
        """To whichever keeper there will be."""
        return GuardCallbacks(self._exited, self._output, self._withdrawn, self._lost)

    async def reported(self, *reports: str) -> None:
        """Exactly these, in this order, since the last time."""
        await until(lambda: len(self.reports) >= len(reports))
        assert self.reports == list(reports)
        self.reports.clear()

    async def hot(self, term: int = 7, reason: str = "failover") -> None:
        self.keeper.start(term, reason)
        await self.reported(f"started {term}")

    async def stop(self, term: int = 7) -> None:
        self.keeper.stop(term)
        await self.reported(f"stopped {term}")

    def _callbacks(self) -> Callbacks:
        return Callbacks(
            started=lambda term: self.reports.append(f"started {term}"),
            failed=lambda term, why: self.reports.append(f"failed {term}: {why}"),
            stopped=lambda term: self.reports.append(f"stopped {term}"),
            fitness=self.fitness.append,
            alert=lambda _, sentence: self.alerts.append(sentence),
            step=lambda name, _: self.steps.append(name),
        )

    def _exited(self, end: Exit) -> None:
        self.keeper.exited(end)

    def _output(self, name: str, line: str) -> None:
        self.keeper.output(name, line)

    def _withdrawn(self, why: str) -> None:
        self.withdrawals.append(why)
        self.keeper.withdrawn(why)

    def _lost(self, why: str) -> None:
        self.keeper.lost(why)


@dataclass
class Kept(Told):
    """A keeper with a recording guard."""

    guard: RecordingGuard = field(default_factory=RecordingGuard)

    async def spawned(self, number: int) -> None:
        await until(lambda: len(self.guard.spawned) == number)


@dataclass
class Guarded(Told):
    """A keeper with a guard as in life; it is hot for as long as it likes."""

    guard: Handle = field(init=False)

    def extend(self, term: int = 7, seconds: float = 1000.0) -> None:
        self.guard.extend(term, asyncio.get_running_loop().time() + seconds)


@asynccontextmanager
async def keeping(**tables: object) -> AsyncIterator[Kept]:
    """A keeper that has begun, with these tables of `[duty]`."""
    kept = Kept()
    kept.guard.callbacks = kept.guard_callbacks()
    kept.make_keeper(kept.guard, tables)
    with no_errors():
        try:
            kept.keeper.begin()
            yield kept
            await kept.keeper.close()
            assert not kept.guard.running, "nothing is left after the end"
        finally:
            await kept.guard.close()


@asynccontextmanager
async def guarding(
    lease: float = 5.0, *, with_cgroups: bool = True, **tables: object
) -> AsyncIterator[Guarded]:
    """The same with the guard process."""
    kept = Guarded()
    settings = GuardSettings(unique_group(), "white", "b1", lease, 0.1, with_cgroups=with_cgroups)
    kept.guard = Handle(settings, kept.guard_callbacks())
    kept.make_keeper(kept.guard, tables)
    with no_errors():
        await kept.guard.start()
        try:
            kept.keeper.begin()
            yield kept
            await kept.keeper.close()
        finally:
            await kept.guard.close()


@contextmanager
def no_errors() -> Iterator[None]:
    """What fails in a task or a callback fails the test."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    yield
    assert not errors


def process(name: str, command: list[str] | None = None, **more: object) -> dict[str, object]:
    """A table of `[[duty.process]]` that fails fast."""
    fast = {"stop_timeout": 0.5 * SCALE, "start_timeout": 5.0 * SCALE, "restart_delay": 0.02}
    return {"name": name, "command": command or FOREVER, **fast, **more}
