"""A program of the duty, and what keeps it running: start, health, restarts, end."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Protocol

from edge.core.model import Role
from edge.duty.health import Check
from edge.duty.lives import Life, Lives
from edge.duty.ports import GuardError, GuardHandle, Spawn, WithheldError
from edge.duty.runner import describe, end
from edge.duty.situation import Situation, role_line
from edge.duty.tasks import Tasks, cancel, first_of
from edge.duty.troubles import Troubles
from edge.settings.duty import DutyProcess, RunOn

log = logging.getLogger("edge.duty")

# While a process starts it is asked more often than later, at growing intervals.
FIRST_QUESTION_AFTER = 0.02


class NotStartedError(Exception):
    """The duty cannot be started. The text is one line for an operator."""


class WithdrawnError(Exception):
    """The guard ended it, together with the duty: no failure of its own."""


class Body(Protocol):
    """What a supervisor keeps running: a program of ours, or a unit of systemd's."""

    async def begin(self) -> None:
        """Start it; GuardError if that cannot be."""

    async def ended(self) -> str:
        """Wait until it has ended by itself, and say how. WithdrawnError if the guard was it."""

    async def finish(self) -> None:
        """End it, whether it runs or not; GuardError if that failed."""

    async def tell(self, situation: Situation) -> None:
        """The role has changed; GuardError if it cannot be put under the deadline."""


class Program:
    """A command, run by the guard."""

    def __init__(
        self,
        plan: DutyProcess,
        guard: GuardHandle,
        lives: Lives,
        variables: Callable[[Situation], Mapping[str, str]],
        grace: float,
    ) -> None:
        self._plan = plan
        self._guard = guard
        self._lives = lives
        self._variables = variables
        self._grace = grace
        self._situation = Situation(Role.STARTING, 0)
        self._life: Life | None = None
        self._is_running = False

    async def begin(self) -> None:
        told = self._situation
        spawn = self._spawn(told)
        self._life = self._lives.begin(spawn.name)
        await self._guard.spawn(spawn)
        self._is_running = True
        if self._situation != told:
            await self._pass_on()

    async def ended(self) -> str:
        assert self._life is not None, "begin comes first"
        over = await self._life.ended
        if over.by_guard:
            raise WithdrawnError
        return describe(over.status) or "ended by itself"

    async def finish(self) -> None:
        self._is_running = False
        problem = await end(self._guard, self._plan.name, self._plan.stop_timeout)
        if problem:
            raise GuardError(problem)

    async def tell(self, situation: Situation) -> None:
        before, self._situation = self._situation, situation
        is_news = (before.role, before.term) != (situation.role, situation.term)
        if self._is_running and is_news:
            await self._pass_on()

    async def _pass_on(self) -> None:
        """The active instance must not outlive the lease, so it is guarded before it is told."""
        name, situation = self._plan.name, self._situation
        if not self._plan.instance:
            return
        if situation.role is Role.HOT:
            await self._guard.set_guarded(name, guarded=True)
        self._guard.say(name, role_line(situation))
        if situation.role is not Role.HOT:
            await self._guard.set_guarded(name, guarded=False)

    def _spawn(self, situation: Situation) -> Spawn:
        plan = self._plan
        assert plan.command is not None, "a unit has a body of its own"
        is_active = plan.instance and situation.role is Role.HOT
        return Spawn(
            name=plan.name,
            argv=plan.command,
            env={**plan.environment, **self._variables(situation)},
            cwd=plan.directory,
            user=plan.user,
            guarded=plan.run_on is RunOn.HOT or is_active,
            grace=self._grace,
            keeps_stdin=plan.instance,
        )


@dataclass(frozen=True, slots=True)
class Care:
    """What all supervisors share."""

    tasks: Tasks
    troubles: Troubles


class Supervisor:
    """Keeps one process running from `begin` to `stop`, again and again."""

    def __init__(self, plan: DutyProcess, body: Body, check: Check | None, care: Care) -> None:
        self.plan = plan
        self._body = body
        self._check = check
        self._care = care
        self._title = f"process {plan.name}"
        self._task: asyncio.Task[None] | None = None
        self._is_up = False
        self._may_be_left = False  # something of the last life
        self._settled = asyncio.Event()  # it is up, or it is known that it will not be soon
        self._trouble = ""
        self._off_duty = asyncio.Event()
        self._off_duty.set()
        self._failed_at: deque[float] = deque(maxlen=plan.max_restarts + 1)
        self._failures_in_a_row = 0

    @property
    def may_run(self) -> bool:
        """Or something of its last life."""
        return self._task is not None or self._may_be_left

    def begin(self) -> None:
        """Start without waiting for the outcome."""
        assert self._task is None, "it is stopped before it is started again"
        self._settled.clear()
        self._trouble = ""
        self._failures_in_a_row = 0
        self._task = self._care.tasks.start(self._run(), f"duty {self._title}")

    async def wait_until_up(self) -> None:
        """NotStartedError when it is not up in time, or cannot be."""
        limit = self.plan.start_timeout
        try:
            async with asyncio.timeout(limit):
                await self._settled.wait()
        except TimeoutError:
            why = f": {self._trouble}" if self._trouble else ""
            raise NotStartedError(f"{self._title} was not up within {limit:g} s{why}") from None
        if not self._is_up:
            raise NotStartedError(f"{self._title} {self._trouble or 'ended at once'}")

    async def stop(self) -> None:
        """GuardError when it cannot be ended."""
        task, self._task = self._task, None
        if task is not None:
            await cancel(task)
        self._care.troubles.forgive_later(self._title, self.plan.restart_window)
        if task is None or self._may_be_left:
            await self._body.finish()

    async def tell(self, situation: Situation) -> None:
        if situation.role is Role.HOT:
            self._off_duty.clear()
        else:
            self._off_duty.set()
        await self._body.tell(situation)

    async def take_part(self, situation: Situation) -> None:
        """Become part of the duty: started, or told so if it runs anyway. NotStartedError."""
        if self.plan.instance:
            await self.wait_until_up()
        try:
            await self.tell(situation)
        except GuardError as error:
            raise NotStartedError(f"{self._title} cannot be told: {error}") from None
        if not self.plan.instance:
            self.begin()
            await self.wait_until_up()

    async def leave(self, situation: Situation) -> None:
        """The reverse. GuardError when it cannot be ended."""
        if self.plan.instance:
            await self.tell(situation)
        else:
            await self.stop()

    async def renew(self, situation: Situation) -> None:
        """After a withdrawal: the guard ended the active instance, which is no fault of its own."""
        await self.stop()
        self._failed_at.clear()
        self._care.troubles.clear(self._title)
        await self.tell(situation)
        self.begin()

    async def _run(self) -> None:
        while True:
            try:
                self._trouble = await self._live()
            except WithdrawnError:  # only an instance lives to see that the duty is over
                await self._off_duty.wait()
                await asyncio.sleep(self.plan.restart_delay)
                continue
            except WithheldError:
                await asyncio.sleep(self.plan.restart_delay)
                continue
            delay = self._note_failure()
            log.warning("%s %s; again in %g s", self._title, self._trouble, delay)
            await asyncio.sleep(delay)

    async def _live(self) -> str:
        """One life; the answer is how it ended."""
        recovery: list[asyncio.TimerHandle] = []
        try:
            await self._body.begin()
            return await first_of(self._body.ended(), self._watch(recovery))
        except GuardError as error:
            self._trouble = f"cannot be started: {error}"
            self._settled.set()
            if isinstance(error, WithheldError):  # no failure of its own either
                raise
            return self._trouble
        finally:
            for timer in recovery:
                timer.cancel()
            if self._is_up:
                self._is_up = False
                self._settled.clear()
            await self._end_life()

    async def _end_life(self) -> None:
        self._may_be_left = True
        try:
            await self._body.finish()
            self._may_be_left = False
        except GuardError as error:
            log.debug("%s %s", self._title, error)  # the next start or stop says so again

    def _note_failure(self) -> float:
        """How long to wait. Too many failures within the window make the node unfit."""
        plan, now = self.plan, asyncio.get_running_loop().time()
        last_at = self._failed_at[-1] if self._failed_at else -inf
        is_in_a_row = now - last_at < plan.restart_window + plan.restart_delay_max
        self._failures_in_a_row = self._failures_in_a_row + 1 if is_in_a_row else 1
        self._failed_at.append(now)
        is_full = len(self._failed_at) > plan.max_restarts
        if is_full and now - self._failed_at[0] <= plan.restart_window:
            times = f"{len(self._failed_at)} times within {plan.restart_window:g} s"
            sentence = f"{self._title} failed {times}, at last it {self._trouble}"
            self._care.troubles.note(self._title, sentence, is_unfit=True)
            self._settled.set()  # with the trouble that _run has noted
            return plan.restart_delay_max
        return min(
            plan.restart_delay * 2.0 ** (self._failures_in_a_row - 1), plan.restart_delay_max
        )

    async def _watch(self, recovery: list[asyncio.TimerHandle]) -> str:
        """Wait until it is healthy, then until it is not."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        trouble = await self._become_healthy(started_at)
        if trouble:
            return f"was not healthy within {self.plan.start_timeout:g} s: {trouble}"
        self._is_up = True
        self._settled.set()
        recovery.append(loop.call_later(self.plan.restart_window, self._recover))
        return f"is not healthy: {await self._become_unhealthy(started_at)}"

    def _recover(self) -> None:
        self._failures_in_a_row = 0
        self._care.troubles.clear(self._title)

    async def _become_healthy(self, started_at: float) -> str:
        health, pause = self.plan.health, FIRST_QUESTION_AFTER
        if self._check is None or health is None:
            return ""
        until = started_at + self.plan.start_timeout
        while True:
            trouble = await self._check(started_at)
            self._trouble = trouble or self._trouble
            if not trouble or asyncio.get_running_loop().time() + pause > until:
                return trouble
            await asyncio.sleep(pause)
            pause = min(2 * pause, health.interval)

    async def _become_unhealthy(self, started_at: float) -> str:
        """So many bad answers in a row. What has no health check is well while it runs."""
        if self._check is None or self.plan.health is None:
            return str(await asyncio.get_running_loop().create_future())
        failures, trouble = 0, ""
        while failures < self.plan.health.failures:
            await asyncio.sleep(self.plan.health.interval)
            trouble = await self._check(started_at)
            failures = failures + 1 if trouble else 0
        return trouble
