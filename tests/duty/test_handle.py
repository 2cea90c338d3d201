"""The agent's side of the guard, in the test's own event loop and with a guard of its own."""

import asyncio
import errno
import gc
import os
import pwd
import signal
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from unittest.mock import AsyncMock

import psutil
import pytest

import edge.duty.handle
from edge.duty.handle import EXIT_LIMIT, GuardSettings, Handle, _end_of
from edge.duty.ports import GuardCallbacks, GuardError, GuardHandle, Spawn
from tests.duty.stage import is_gone, marked, unique_group
from tests.lan.deadline import SCALE, wait_until
from tests.shell.raw_broker import until

LEASE = 1.0


@dataclass
class Heard:
    """What the callbacks were told."""

    exits: list[tuple[str, int]] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def callbacks(self) -> GuardCallbacks:
        return GuardCallbacks(
            on_exit=lambda end: self._hear(self.exits, (end.name, end.status)),
            on_output=lambda name, line: self._hear(self.lines, (name, line)),
            on_withdrawn=lambda why: self._hear(self.withdrawn, why),
            on_lost=lambda why: self._hear(self.lost, why),
        )

    def _hear(self, where: list, what: object) -> None:  # type: ignore[type-arg]
        where.append(what)
        self.news.set()

    async def until(self, where: list) -> None:  # type: ignore[type-arg]
        async with asyncio.timeout(20 * SCALE):
            while not where:
                await self.news.wait()
                self.news.clear()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def settings() -> GuardSettings:
    return GuardSettings(unique_group(), "white", "b1", LEASE, 0.1)


@pytest.fixture
async def handle(settings: GuardSettings, heard: Heard) -> AsyncIterator[Handle]:
    handle = Handle(settings, heard.callbacks())
    await handle.start()
    yield handle
    await handle.close()
    assert not marked(settings.group)


def hot(handle: GuardHandle, seconds: float = 60.0) -> None:
    handle.extend(1, time.monotonic() + seconds)


async def test_whole_life(handle: Handle, heard: Heard) -> None:
    hot(handle)
    pid = await handle.spawn(Spawn("cat", ("cat",), keeps_stdin=True))
    handle.say("cat", "hello")
    await heard.until(heard.lines)
    assert heard.lines == [("cat", "hello")]
    await handle.end("cat", 5.0)
    assert is_gone(pid)
    assert heard.exits == [("cat", -signal.SIGTERM)]
    assert heard.lost == []


async def test_environment_is_the_agents_without_its_secrets(
    settings: GuardSettings, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_WITNESS_ROUTER_PASSWORD", "8f6c1e")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/8f6c1e")
    monkeypatch.setenv("PLANT", "north")
    handle = Handle(settings, heard.callbacks())
    await handle.start()
    hot(handle)
    await handle.spawn(Spawn("env", ("env",), env={"EDGE_TERM": "7"}))
    await heard.until(heard.exits)
    await handle.close()
    lines = {line for _, line in heard.lines}
    assert {"PLANT=north", "EDGE_TERM=7"} <= lines
    assert not any("8f6c1e" in line for line in lines)


async def test_deadline_that_does_not_move_costs_no_line(handle: Handle) -> None:
    at = time.monotonic() + 60.0
    sent: list[object] = []
    handle._send = sent.append  # type: ignore[method-assign,assignment]
    for _ in range(100):
        handle.extend(1, at)
    handle.extend(1, at - 1)
    assert len(sent) == 1


async def test_deadline_never_moves_back_within_a_term(handle: Handle, heard: Heard) -> None:
    hot(handle)
    handle.extend(1, time.monotonic() + LEASE / 10)
    await handle.spawn(Spawn("a", ("sleep", "0.5")))
    await heard.until(heard.exits)
    assert heard.exits == [("a", 0)], "it was not killed at the earlier instant"


async def test_new_term_may_have_an_earlier_deadline(handle: Handle, heard: Heard) -> None:
    hot(handle)
    await handle.spawn(Spawn("a", ("sleep", "1000")))
    handle.extend(2, time.monotonic() + LEASE / 2)
    await heard.until(heard.withdrawn)
    assert heard.withdrawn == ["deadline"]


async def test_stall_of_the_agent_is_not_taken_for_one_of_the_guard(
    handle: Handle, heard: Heard
) -> None:
    """The loop stands still for longer than a guard may be silent."""
    hot(handle)
    for _ in range(3):
        hot(handle)
        time.sleep(LEASE / 2)  # noqa: ASYNC251 - the stall itself
        await asyncio.sleep(0)
    await handle.spawn(Spawn("a", ("true",)))
    assert heard.lost == []


async def test_frozen_guard_of_a_standby_is_noticed(handle: Handle, heard: Heard) -> None:
    pid = handle.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await heard.until(heard.lost)
    assert is_gone(pid)


async def test_deadline_said_while_the_guard_starts_is_not_waited_for(
    settings: GuardSettings, heard: Heard
) -> None:
    """A lease is won while a lost guard is being replaced: the new one owes no answer to that."""
    handle = Handle(settings, heard.callbacks())
    starting = asyncio.create_task(handle.start())
    await asyncio.sleep(0)
    hot(handle)
    await starting
    guard = handle.pid
    await asyncio.sleep(LEASE)  # three times as long as a guard may be silent
    assert (handle.pid, heard.lost) == (guard, [])
    await handle.close()


async def test_end_of_what_has_just_been_started_takes_no_grace(handle: Handle) -> None:
    """The fork is not a program yet, and it ignores SIGTERM as the guard does."""
    hot(handle)
    pid = handle.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "he stands still")
    starting = asyncio.create_task(handle.spawn(Spawn("a", ("sleep", "1000"))))
    ending = asyncio.create_task(handle.end("a", 1000.0))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGCONT)  # both orders are there when he looks
    async with asyncio.timeout(20 * SCALE):
        await ending
        with pytest.raises(GuardError, match="ended while it started"):
            await starting


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
        RuntimeError("can't start new thread"),  # whose end it is to wait for
    ],
)
async def test_guard_that_cannot_be_started_is_said_in_words(
    settings: GuardSettings, heard: Heard, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """An agent whose guard died tries again; a full table of processes is no end of its own."""
    handle = Handle(settings, heard.callbacks())
    with monkeypatch.context() as full:
        full.setattr(edge.duty.handle, "_start_process", AsyncMock(side_effect=error))
        words = "Resource temporarily unavailable|can't start new thread"
        with pytest.raises(GuardError, match=f"cannot be started: ({words})"):
            await handle.start()
    await handle.start()
    await handle.close()


@pytest.mark.parametrize("turns", range(5))
async def test_end_heard_together_with_the_end_of_patience(turns: int) -> None:
    """A stall of ours, so many turns of the loop after he ended: then both are due at once."""
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    ending = asyncio.create_task(_end_of(process))
    await asyncio.sleep(0)
    process.kill()
    wait_until(lambda: is_gone(process.pid), "he ended")
    for _ in range(turns):
        await asyncio.sleep(0)
    time.sleep(2 * EXIT_LIMIT)  # noqa: ASYNC251 - the stall itself
    assert await ending == -signal.SIGKILL


async def test_orders_to_a_dead_guard_are_no_fault_of_ours(
    settings: GuardSettings, heard: Heard
) -> None:
    """Whatever comes to the loop's exception handler ends the node."""
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    handle = Handle(settings, heard.callbacks())
    await handle.start()
    assert handle.pid is not None
    os.kill(handle.pid, signal.SIGKILL)
    pid = handle.pid
    wait_until(lambda: is_gone(pid), "it is dead, and we have not heard of it")
    for number in range(8):
        handle.say("nobody", str(number))
    await heard.until(heard.lost)
    await handle.close()
    del handle
    await asyncio.sleep(0)  # the last callback is over
    gc.collect()
    assert faults == []


async def test_open_request_fails_when_the_guard_dies(handle: Handle, heard: Heard) -> None:
    hot(handle)
    await handle.spawn(Spawn("a", ("sh", "-c", "trap '' TERM; echo up; sleep 1000 & wait; wait")))
    await heard.until(heard.lines)
    ending = asyncio.create_task(handle.end("a", 60.0))
    await asyncio.sleep(0)
    assert handle.pid is not None
    os.kill(handle.pid, signal.SIGKILL)
    with pytest.raises(GuardError, match="the guard is gone"):
        await ending
    await heard.until(heard.lost)


async def test_a_directory_service_that_does_not_answer_holds_up_one_process(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def get(name: str) -> pwd.struct_passwd:
        assert answers.wait(20 * SCALE)
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", get)
    hot(handle)
    starting = asyncio.create_task(handle.spawn(Spawn("a", ("true",), user="operator")))
    await handle.spawn(Spawn("b", ("true",)))
    assert not starting.done()
    answers.set()
    with pytest.raises(GuardError, match="there is no user operator"):
        await starting


async def test_end_of_what_does_not_run_is_no_error(handle: Handle) -> None:
    await handle.end("nobody", 1.0)
    await handle.drop_farewell("nobody")
    await handle.drop_address("10.0.0.1/24", "lo")
    handle.say("nobody", "hello")


async def test_withdrawal_by_order_leaves_the_term_alive(handle: Handle, heard: Heard) -> None:
    """The agent is there and decides: a duty that failed to start may be tried again."""
    hot(handle)
    await handle.spawn(Spawn("a", ("sleep", "1000")))
    await handle.withdraw()
    assert heard.withdrawn == ["asked"]
    await handle.spawn(Spawn("a", ("sleep", "1000")))


async def test_every_line_of_many_fits(handle: Handle) -> None:
    """Requests side by side, each with its own answer."""
    hot(handle)
    names = [f"p{number}" for number in range(20)]
    pids = await asyncio.gather(*(handle.spawn(Spawn(each, ("sleep", "1000"))) for each in names))
    assert len(set(pids)) == 20
    await asyncio.gather(*(handle.end(each, 5.0) for each in names))
    assert all(map(is_gone, pids))


async def test_stop_while_the_guard_starts_does_not_hang(
    settings: GuardSettings, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited for it was cancelled: the end of the guard must still be noticed."""
    monkeypatch.setattr("edge.duty.handle.END_LIMIT", 3600.0)
    handle = Handle(settings, heard.callbacks())
    starting = asyncio.create_task(handle.start())
    await until(lambda: handle.pid is not None)
    starting.cancel()
    await asyncio.wait({starting})
    assert starting.cancelled()
    async with asyncio.timeout(20 * SCALE):
        await handle.close()
    assert handle.pid is None
