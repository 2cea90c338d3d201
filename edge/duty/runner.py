"""Runs a command to its end, by the guard: with a time limit, and nothing of it left behind."""

import asyncio
import signal
from collections import defaultdict
from dataclasses import dataclass

from edge.duty.lives import Lives
from edge.duty.ports import GuardError, GuardHandle, Spawn

CANNOT_RUN = "cannot run"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. `problem` is empty if it ended well; `said` is its first line."""

    problem: str
    said: str = ""


class Runner:
    """For hooks, health checks and systemctl. A name runs once at a time, the next one waits."""

    def __init__(self, guard: GuardHandle, lives: Lives) -> None:
        self._guard = guard
        self._lives = lives
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, spawn: Spawn, limit: float) -> Outcome:
        """What it forked ends with it: a hook is no way to start what shall stay."""
        async with self._turns[spawn.name]:
            return await self._run(spawn, limit)

    async def _run(self, spawn: Spawn, limit: float) -> Outcome:
        life = self._lives.begin(spawn.name)
        try:
            await self._guard.spawn(spawn)
            # Not asyncio.timeout: within a task that is being cancelled, where units are stopped,
            # early Pythons 3.11 do not tell its end from the cancellation.
            await asyncio.wait({life.ended}, timeout=limit)
            is_over = life.ended.done()
            problem = describe(life.ended.result().status) if is_over else _too_long(limit)
        except GuardError as error:
            return Outcome(f"{CANNOT_RUN}: {error}")
        finally:
            trouble = await end(self._guard, spawn.name, 0.0)
        # What was written just before the end has come by the time that the guard has answered.
        return Outcome(problem or trouble, life.first_lines[0] if life.first_lines else "")


def _too_long(limit: float) -> str:
    return f"did not end within {limit:g} s"


async def end(guard: GuardHandle, name: str, grace: float) -> str:
    """End a program and what it started. Why that failed, or nothing."""
    try:
        await guard.end(name, grace)
    except GuardError as error:
        return f"could not be ended: {error}"
    return ""


def describe(status: int) -> str:
    """An exit status in words; nothing for success."""
    if status == 0:
        return ""
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
