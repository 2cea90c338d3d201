"""Decides what of the duty runs now, and has the guard hold it.

One worker does one thing after the other, so nothing starts while something stops. Requests only
say what is wanted; the latest one counts. What was begun for a term is ended before the next.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from math import inf

from edge.core.model import Role
from edge.core.orders import TOO_LATE, stand_back
from edge.duty.health import ChangedAt
from edge.duty.hooks import Hooks
from edge.duty.interfaces import Interfaces
from edge.duty.lives import Lives
from edge.duty.ports import Exit, GuardError, GuardHandle
from edge.duty.process import Care, NotStartedError, Supervisor
from edge.duty.runner import Runner
from edge.duty.situation import Identity, Situation
from edge.duty.staff import Means, make_staff
from edge.duty.tasks import Tasks, all_of, cancel
from edge.duty.troubles import Troubles
from edge.settings.duty import Duty, DutyAddress

log = logging.getLogger("edge.duty")

WITHDRAWN_BY_US = "asked"
# Why a farewell is said, and why a node is no longer hot whose duty could not be started.
WITHDRAWN, FAILED = "withdrawn", "duty_failed"


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the keeper reports, in the event loop, never from within a request."""

    started: Callable[[int], None]
    # Nothing of that term is left; it could not be started, or the guard let go of it.
    failed: Callable[[int, str], None]
    stopped: Callable[[int], None]
    fitness: Callable[[str], None]  # why this node should not be hot, or "" when it may again
    alert: Callable[[str, str | None], None]
    step: Callable[[str, float], None]  # one step of a start or stop, and its milliseconds


@dataclass(frozen=True, slots=True, eq=False)
class _Tenure:
    """One wish to be hot. By identity: the same term may be wanted twice."""

    term: int
    reason: str


class Keeper:
    """The duty of one node, for one life of its guard: after `lost` it is closed, and a new one
    made for the next guard."""

    def __init__(
        self,
        duty: Duty,
        guard: GuardHandle,
        identity: Identity,
        callbacks: Callbacks,
        changed_at: ChangedAt = lambda _: None,
        patience: float = inf,
    ) -> None:
        self._duty = duty
        self._guard = guard
        self._callbacks = callbacks
        self._tasks = Tasks()
        self._lives = Lives()
        self._troubles = Troubles(callbacks.fitness, callbacks.alert)
        self._interfaces = Interfaces(duty.address, patience, self._troubles)
        runner = Runner(guard, self._lives)
        self._hooks = Hooks(duty.hook, guard, runner, identity, self._troubles)
        care = Care(self._tasks, self._troubles)
        means = Means(guard, self._lives, runner, identity, care, changed_at)
        self._staff = make_staff(duty, means)
        self._situation = Situation(Role.STARTING, 0)
        self._wanted: _Tenure | None = None
        self._held: _Tenure | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stops: list[int] = []
        self._withdrawn = ""
        self._is_at_once = False
        self._lost = ""
        self._is_closing = False
        self._failed_starts = 0
        self._under_way: list[str] = []
        self._too_late = ""
        self._poke = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    # What the agent asks for

    def begin(self) -> None:
        """Bring about what belongs to a node that is not hot. Comes before anything else."""
        assert self._worker is None, "a keeper begins once"
        self._worker = self._tasks.start(self._work(), "duty")
        self._tasks.start(self._hooks.tell_alerts(lambda: self._told), "duty alerts")
        self._tasks.start(self._interfaces.watch(), "duty interfaces")

    def start(self, term: int, reason: str) -> None:
        """`started` or `failed` follows, unless a stop comes before."""
        if self._wanted is None or self._wanted.term != term:
            self._want(_Tenure(term, reason))

    def stop(self, term: int, reason: str = "", *, at_once: bool = False) -> None:
        """`stopped` follows when nothing of any term up to this one is left.

        `at_once` lets go by the guard, all at the same time, instead of in order.
        """
        if self._wanted is not None and self._wanted.term > term:
            self._stop_former(term)
            return
        self._situation = Situation(Role.STANDBY, max(term, self._situation.term), reason)
        self._is_at_once = self._is_at_once or at_once
        if reason == TOO_LATE and self._starting is not None:
            steps = ", ".join(self._under_way)
            self._too_late = f"it took longer than timing.starting_to_hot, at last: {steps}"
        self._stops.append(term)
        self._want(None)

    def _stop_former(self, term: int) -> None:
        """Another term is wanted already; before it is begun, nothing of this one will be left."""
        if self._held is None or self._held.term > term:
            asyncio.get_running_loop().call_soon(self._callbacks.stopped, term)
        else:
            self._stops.append(term)

    def set_role(self, role: Role, term: int, reason: str) -> None:
        """For what runs while the node is not hot. That it is hot is told by `start`."""
        if role is Role.HOT:
            return
        self._situation = Situation(role, term, reason)
        self._poke.set()

    async def may_switch(self, to: str) -> str:
        """Why a planned switchover must not be, or nothing."""
        return await self._hooks.may_switch(self._told, to)

    def on_alert(self, name: str, sentence: str | None) -> None:
        """An alert of the group began, changed or (None) ended."""
        self._hooks.alert(name, sentence)

    async def close(self) -> None:
        """End everything. Nothing is reported any more."""
        self._is_closing = True
        if self._worker is not None:
            await cancel(self._worker)
        if self._held is not None:
            await self._leave()
        await self._stop_all()
        await self._tasks.close()
        self._troubles.close()

    # What the guard reports

    def exited(self, end: Exit) -> None:
        self._lives.exited(end)

    def output(self, name: str, line: str) -> None:
        self._lives.output(name, line)

    def withdrawn(self, why: str) -> None:
        """The guard has let go of everything that was hot. What is wanted next is not."""
        if why != WITHDRAWN_BY_US and self._held is not None:
            self._withdrawn = f"the guard withdrew the duty ({why})"
            if self._wanted is self._held:
                self._want(None)

    def lost(self, why: str) -> None:
        """The guard is gone, and everything that it held. Another keeper comes with the next."""
        self._lost = f"the guard was lost ({why})"
        self._lives.exited_all()
        self._want(None)

    # The worker

    @property
    def _told(self) -> Situation:
        """What is told to whoever runs now."""
        if self._held is None:
            return self._situation
        return Situation(Role.HOT, self._held.term, self._held.reason)

    def _want(self, tenure: _Tenure | None) -> None:
        self._wanted = tenure
        # Once: a second cancellation would cut short what a start does to end.
        if (task := self._starting) and self._held is not tenure and not task.cancelling():
            task.cancel()
        self._poke.set()

    async def _work(self) -> None:
        await self._prepare()
        while True:
            await self._poke.wait()
            self._poke.clear()
            while self._held is not self._wanted:
                self._report_stops()
                await (self._enter() if self._held is None else self._leave_and_report())
            self._report_stops()
            if self._lost:
                await self._stop_all()
            elif self._held is None:
                await self._tell_others(self._situation)

    async def _prepare(self) -> None:
        """Whatever an earlier life left behind, units and hooks' effects, is ended first."""
        for each in self._staff.hot_units:
            await self._quietly(f"stop {each.plan.name}", each.stop)
        await self._hooks.run_standby(self._standby)
        for each in self._staff.all:
            await each.tell(self._situation)
        for each in (*self._staff.standby, *self._staff.always):
            each.begin()

    async def _enter(self) -> None:
        tenure = self._held = self._wanted
        assert tenure is not None, "there is nothing to enter"
        self._withdrawn, self._is_at_once, self._too_late = "", False, ""
        self._situation = Situation(Role.STANDBY, tenure.term)  # afterwards, until told otherwise
        outcome: list[str] = []
        starting = self._tasks.start(self._try_start(tenure, outcome), "duty start")
        self._starting = starting
        try:
            await asyncio.wait({starting})
        finally:
            await cancel(starting)
            self._starting = None
        if self._wanted is not tenure:
            if self._too_late:
                self._note_failed_start(tenure, self._too_late)
                self._stand_back()
            return
        if outcome == [""]:
            self._failed_starts = 0
            self._troubles.clear("start")
            self._callbacks.started(tenure.term)
        else:
            await self._give_up(tenure, outcome[0])

    async def _try_start(self, tenure: _Tenure, outcome: list[str]) -> None:
        try:
            if not self._lost:
                await self._start(Situation(Role.HOT, tenure.term, tenure.reason))
            outcome.append(self._lost)
        except (NotStartedError, GuardError) as error:
            outcome.append(self._lost or str(error))

    async def _start(self, situation: Situation) -> None:
        """In this order: who comes later may rely on what came before."""
        await self._tell_others(situation, but=self._staff.instances)
        await self._hooks.hold_farewells(Situation(Role.STANDBY, situation.term, WITHDRAWN))
        await all_of(
            *(self._hold(each) for each in self._duty.address),
            *(self._end_standby(each) for each in self._staff.standby),
        )
        for each in self._staff.of_duty:
            async with self._step(f"start {each.plan.name}"):
                await each.take_part(situation)
        if self._duty.hook:
            async with self._step("hooks on_hot"):
                await self._hooks.run_hot(situation)

    async def _hold(self, plan: DutyAddress) -> None:
        async with self._step(f"hold {plan.address}"):
            try:
                await self._guard.hold_address(plan.address, plan.interface)
            except GuardError as error:
                where = f"address {plan.address} on {plan.interface}"
                raise NotStartedError(f"{where}: {error}") from None

    async def _end_standby(self, each: Supervisor) -> None:
        async with self._step(f"stop {each.plan.name}"):
            await each.stop()

    async def _give_up(self, tenure: _Tenure, problem: str) -> None:
        """Leave the lease to others for a while: who comes next may have what is missing here."""
        self._note_failed_start(tenure, problem)
        self._situation = Situation(Role.STANDBY, tenure.term, FAILED)
        if self._wanted is tenure:
            self._wanted = None
        await self._leave()
        self._stand_back()
        self._callbacks.failed(tenure.term, problem)

    def _note_failed_start(self, tenure: _Tenure, problem: str) -> None:
        self._failed_starts += 1
        log.warning("the duty of term %d could not be started: %s", tenure.term, problem)
        self._troubles.note("start", f"the duty could not be started: {problem}", is_unfit=True)

    def _stand_back(self) -> None:
        """As long as the core does not claim; then this node is as good as any other again."""
        self._troubles.forgive_later("start", stand_back(self._failed_starts))

    async def _leave_and_report(self) -> None:
        tenure = self._held
        assert tenure is not None, "there is nothing to leave"
        await self._leave()
        if why := self._lost or self._withdrawn:
            log.warning("the duty of term %d ended: %s", tenure.term, why)
            self._callbacks.failed(tenure.term, why)

    async def _leave(self) -> None:
        """The start in reverse. What is left then the guard ends by force: what could not be
        ended in order, and who got away without a trace of whose he is."""
        await self._let_go()
        if not self._lost:
            await self._quietly("leftovers", self._guard.withdraw)
        self._held = None
        if self._lost or self._is_closing:
            return
        await self._tell_others(self._standby, but=self._staff.instances)
        for each in self._staff.standby:
            if each.may_run:
                await self._quietly(f"stop {each.plan.name}", each.stop)
            each.begin()

    async def _let_go(self) -> None:
        """All of it, whatever fails. After a withdrawal little is left to be done."""
        works: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        if self._is_at_once:
            works.append(("withdraw", self._guard.withdraw))
        elif self._duty.hook and not (self._withdrawn or self._lost):
            works.append(("hooks on_standby", partial(self._hooks.run_standby, self._standby)))
        works += [
            (f"stop {each.plan.name}", partial(self._leave_process, each))
            for each in reversed(self._staff.of_duty)
        ]
        works += [
            (
                f"drop {each.address}",
                partial(self._guard.drop_address, each.address, each.interface),
            )
            for each in reversed(self._duty.address)
        ]
        works.append(("farewells", self._hooks.drop_farewells))
        for name, work in works:
            await self._quietly(name, work)

    async def _leave_process(self, each: Supervisor) -> None:
        if each.plan.instance and (self._is_at_once or self._withdrawn):
            await each.renew(self._standby)
        else:
            await each.leave(self._standby)

    async def _stop_all(self) -> None:
        for each in reversed(self._staff.all):
            await self._quietly(f"stop {each.plan.name}", each.stop)

    async def _quietly(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """A step that has no way back."""
        try:
            async with self._step(name):
                await work()
        except GuardError as error:
            if not self._lost:
                log.warning("%s: %s", name, error)

    @property
    def _standby(self) -> Situation:
        """What is told about not being hot, whatever the node waits for."""
        term = max(self._situation.term, self._held.term if self._held else 0)
        return Situation(Role.STANDBY, term, self._situation.reason)

    async def _tell_others(self, situation: Situation, but: tuple[Supervisor, ...] = ()) -> None:
        """What is no part of the duty; who cannot be told while it runs learns it when it is
        started again. Instances are told of a start or stop at their place in its order."""
        for each in (*self._staff.standby, *self._staff.always):
            if each in but:
                continue
            try:
                await each.tell(situation)
            except GuardError as error:
                log.warning("process %s cannot be told: %s", each.plan.name, error)

    def _report_stops(self) -> None:
        if self._held is not None:
            return
        stops, self._stops = self._stops, []
        for term in stops:
            self._callbacks.stopped(term)

    @asynccontextmanager
    async def _step(self, name: str) -> AsyncIterator[None]:
        began_at = time.monotonic()
        self._under_way.append(name)
        try:
            yield
        finally:
            self._under_way.remove(name)
        self._callbacks.step(name, (time.monotonic() - began_at) * 1000)
