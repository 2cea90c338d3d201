"""The duty as the agent sees it, with a real guard: what it is told when the guard is lost."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import pytest

from edge.core.events import DutyStarted, DutyStopped, Event, FitnessChanged
from edge.duty.handle import GuardSettings
from edge.duty.service import GuardedDuty
from edge.settings.duty import Duty
from tests.duty.keeping import SCALE
from tests.duty.stage import unique_group
from tests.shell.raw_broker import until

PROCESS = {"name": "pump", "command": ("sleep", "1000")}


class Told:
    """What the agent hears."""

    def __init__(self, duty: GuardedDuty) -> None:
        self.duty = duty
        self.events: list[Event] = []
        self.alerts: dict[str, str | None] = {}
        self.starts_when_lost: int | None = None

    def tell(self, event: Event) -> None:
        self.events.append(event)
        is_loss = isinstance(event, FitnessChanged) and event.why_not != ""
        if is_loss and self.starts_when_lost is not None:
            term, self.starts_when_lost = self.starts_when_lost, None
            asyncio.get_running_loop().call_soon(self.duty.start, term, "died")

    def alert(self, name: str, sentence: str | None) -> None:
        self.alerts[name] = sentence


@asynccontextmanager
async def serving(**tables: object) -> AsyncIterator[Told]:
    settings = GuardSettings(unique_group(), "white", "b1", 5.0, 0.1)
    plan = Duty.model_validate({"process": (PROCESS,), **tables})
    duty = GuardedDuty(plan, settings, lambda _: None)
    told = Told(duty)
    duty.attach(told.tell, told.alert)
    await duty.open()
    running = asyncio.create_task(duty.run())
    try:
        yield told
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await duty.close()


def kill_guard(told: Told) -> None:
    pid = told.duty._handle.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def start(told: Told, term: int) -> None:
    told.duty.extend(term, asyncio.get_running_loop().time() + 1000)
    told.duty.start(term, "died")


async def test_a_lost_guard_is_the_end_of_the_duty_and_the_next_one_serves() -> None:
    async with serving() as told:
        start(told, 7)
        await until(lambda: DutyStarted(7) in told.events)
        kill_guard(told)
        await until(lambda: DutyStopped(7) in told.events)
        await until(lambda: told.events[-1] == FitnessChanged(""))
        start(told, 8)
        await until(lambda: DutyStarted(8) in told.events)


async def test_a_start_while_the_guard_is_replaced_is_answered() -> None:
    """A node that becomes hot in this very moment must not wait for a duty that nobody starts."""
    async with serving() as told:
        told.starts_when_lost = 9
        kill_guard(told)
        await until(lambda: DutyStopped(9) in told.events or DutyStarted(9) in told.events)


async def test_hot_at_once_after_the_guard_was_replaced() -> None:
    """What runs on a standby has just been started again, and ends without using up its grace."""
    warmer = {**PROCESS, "name": "warmer", "run_on": "standby", "stop_timeout": 1000}
    async with serving(process=(PROCESS, warmer)) as told:
        kill_guard(told)
        await until(lambda: FitnessChanged("") in told.events)
        start(told, 8)
        await until(lambda: DutyStarted(8) in told.events)


async def test_the_alert_of_a_keeper_ends_with_it() -> None:
    """The next one knows nothing of that trouble, so it would never take it back."""
    async with serving(process=({**PROCESS, "command": ("/no/such/program",)},)) as told:
        start(told, 7)
        await until(lambda: DutyStopped(7) in told.events)
        assert told.alerts["duty"] is not None
        kill_guard(told)
        await until(lambda: told.events[-1] == FitnessChanged(""))
        assert told.alerts == {"duty": None, "guard": None}


async def test_a_keeper_that_has_lost_its_guard_says_nothing_more() -> None:
    """That it is fit again, above all: there is no guard."""
    async with serving() as told:
        callbacks = told.duty._callbacks()
        callbacks.fitness("")
        assert told.events == [FitnessChanged("")]
        kill_guard(told)
        await until(lambda: told.duty._keeper is None)
        told.events.clear()
        callbacks.fitness("")
        callbacks.stopped(7)
        assert told.events == []


async def test_a_guard_is_swept_after_although_the_loops_threads_are_busy() -> None:
    """Health checks by name, while no name service answers."""
    answers = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    waiting = loop.run_in_executor(None, answers.wait)
    async with serving() as told:
        kill_guard(told)
        try:
            await until(lambda: told.events[-1:] == [FitnessChanged("")])
        finally:
            answers.set()
    await waiting


async def test_what_ends_during_the_close_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    """Else every hook and every systemctl of the end would be waited for until its limit."""
    hook = {"on_standby": ("true",), "timeout": 2 * SCALE}
    async with serving(hook=(hook,)) as told:
        start(told, 7)
        await until(lambda: DutyStarted(7) in told.events)
    assert not [each for each in caplog.messages if "did not end" in each]
