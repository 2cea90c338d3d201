"""The end of a guard, as its handle sees it: in order, slowly, frozen, too early, out of room."""

import asyncio
import os
import signal
import sys
import threading
from contextlib import suppress

import pytest

import edge.duty.handle
from edge.duty.guard import frames, leftovers, tree
from edge.duty.handle import GuardSettings, Handle
from edge.duty.ports import GuardCallbacks, Spawn
from tests.duty.keeping import SCALE, until
from tests.duty.stage import marked, unique_group

LEASE = 0.5
IGNORES_TERM = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1000; done")
KILLED = "does not answer"


class Ends:
    """A handle, and what it told of."""

    def __init__(self, lease: float = LEASE) -> None:
        self.group = unique_group()
        self.lines: list[str] = []
        self.lost: list[str] = []
        callbacks = GuardCallbacks(
            on_exit=lambda _: None,
            on_output=lambda _, line: self.lines.append(line),
            on_withdrawn=lambda _: None,
            on_lost=self.lost.append,
        )
        self.handle = Handle(GuardSettings(self.group, "white", "b1", lease, 0.1), callbacks)


async def test_guard_that_takes_its_time_to_let_go_is_not_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody asks it any more, so no answer is missing."""
    ends = Ends()
    await ends.handle.start()
    await ends.handle.spawn(Spawn("a", IGNORES_TERM, guarded=False, grace=4 * LEASE))
    await until(lambda: "up" in ends.lines)
    await ends.handle.close()
    assert KILLED not in caplog.text
    assert not marked(ends.group)


async def test_guard_that_is_frozen_at_the_end_is_killed_soon(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.duty.handle, "END_LIMIT", 3600.0)
    ends = Ends()
    await ends.handle.start()
    assert ends.handle.pid is not None
    os.kill(ends.handle.pid, signal.SIGSTOP)
    async with asyncio.timeout(20 * SCALE):
        await ends.handle.close()
    assert KILLED in caplog.text


async def test_guard_that_is_frozen_while_it_starts_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge.duty.handle, "END_LIMIT", 3600.0)
    monkeypatch.setattr(edge.duty.handle, "START_LIMIT", 0.2)
    ends = Ends()
    starting = asyncio.create_task(ends.handle.start())
    await until(lambda: ends.handle.pid is not None)
    assert ends.handle.pid is not None
    os.kill(ends.handle.pid, signal.SIGSTOP)
    async with asyncio.timeout(20 * SCALE):
        await asyncio.wait({starting})
    assert "was not ready" in str(starting.exception())


async def _guard_that_ends_once_it_is_ready() -> asyncio.subprocess.Process:
    ready = frames.pack({"is": "ready", "swept": []})
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"import os; os.write(1, {ready!r})"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_guard_that_ends_once_it_is_ready_is_not_watched_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge.duty.handle, "_start_process", _guard_that_ends_once_it_is_ready)
    ends = Ends()
    await ends.handle.start()
    await until(lambda: ends.lost != [])
    await until(lambda: not any("watch" in each.get_name() for each in asyncio.all_tasks()))


async def test_without_room_for_a_thread_a_lost_guard_is_swept_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_room(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ends = Ends()
    await ends.handle.start()
    escapes = "setsid setsid sleep 1000 & echo up; sleep 1000"
    await ends.handle.spawn(Spawn("a", ("sh", "-c", escapes), guarded=False))
    await until(lambda: "up" in ends.lines)
    monkeypatch.setattr(threading.Thread, "start", no_room)
    assert ends.handle.pid is not None
    os.kill(ends.handle.pid, signal.SIGKILL)
    await until(lambda: ends.lost != [])
    assert not marked(ends.group)


async def test_who_has_no_mark_for_a_moment_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is just becoming another program has no environment yet."""
    group = unique_group()
    mark = {tree.MARK: tree.mark(group, "white", "b1", "pump")}
    process = await asyncio.create_subprocess_exec("sleep", "1000", env=os.environ | mark)
    find, looks = tree.marked, []

    def find_later(start: str) -> list[int]:
        looks.append(start)
        return find(start) if len(looks) > 1 else []

    monkeypatch.setattr(tree, "marked", find_later)
    try:
        assert leftovers.sweep(group, "white", []) == ["process pump"]
        assert await process.wait() == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
