"""Commands that run at a moment: on_hot, on_standby, on_alert, and may_switch, which may say no."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edge.duty.ports import GuardHandle, Spawn
from edge.duty.process import NotStartedError
from edge.duty.runner import Outcome, Runner
from edge.duty.situation import Identity, Situation, variables
from edge.duty.troubles import Troubles
from edge.settings.duty import Command, DutyHook

log = logging.getLogger("edge.duty")

# Alerts that wait for their hooks. Of one id only the latest word waits.
ALERTS_WAITING = 64


@dataclass(frozen=True, slots=True)
class _Call:
    """One command of one hook: the guard's name for it, and people's."""

    name: str
    title: str
    command: Command
    plan: DutyHook


class Hooks:
    """All hooks of the file, in its order; on_standby in the reverse one."""

    def __init__(
        self,
        plans: tuple[DutyHook, ...],
        guard: GuardHandle,
        runner: Runner,
        identity: Identity,
        troubles: Troubles,
    ) -> None:
        self._plans = plans
        self._guard = guard
        self._runner = runner
        self._identity = identity
        self._troubles = troubles
        self._waiting: dict[str, str | None] = {}
        self._has_alert = asyncio.Event()

    async def hold_farewells(self, situation: Situation) -> None:
        """on_standby must run although the agent is dead by then: the guard has it ready."""
        env = variables(self._identity, situation)
        for call in self._calls("on_standby"):
            await self._guard.hold_farewell(call.name, call.command, env, call.plan.timeout)

    async def drop_farewells(self) -> None:
        for call in self._calls("on_standby"):
            await self._guard.drop_farewell(call.name)

    async def run_hot(self, situation: Situation) -> None:
        """NotStartedError when one that is required fails."""
        for call in self._calls("on_hot"):
            problem = await self._run(call, situation, guarded=True)
            if problem and call.plan.required:
                raise NotStartedError(problem)
            self._note(call, problem)

    async def run_standby(self, situation: Situation) -> None:
        """All of them, whatever one does. They may run twice: see the farewell."""
        for call in reversed(tuple(self._calls("on_standby"))):
            self._note(call, await self._run(call, situation, guarded=False))

    async def may_switch(self, situation: Situation, to: str) -> str:
        """Why not, or nothing. One that does not answer has not agreed."""
        for call in self._calls("may_switch"):
            outcome = await self._outcome(call, situation, {"EDGE_TARGET": to}, guarded=False)
            if outcome.problem:
                return outcome.said or f"{call.title} {outcome.problem}"
        return ""

    def alert(self, name: str, sentence: str | None) -> None:
        """Run on_alert soon. Whoever raises more than can be told loses the oldest."""
        if not any(plan.on_alert for plan in self._plans):
            return
        self._waiting.pop(name, None)
        self._waiting[name] = sentence
        if len(self._waiting) > ALERTS_WAITING:
            lost = next(iter(self._waiting))
            del self._waiting[lost]
            log.warning("too many alerts at once: no on_alert for %s", lost)
        self._has_alert.set()

    async def tell_alerts(self, situation_now: Callable[[], Situation]) -> None:
        while True:
            await self._tell_alert(situation_now)

    async def _tell_alert(self, situation_now: Callable[[], Situation]) -> None:
        """Wait for an alert and run its hooks. Their failures are logged: an alert would loop."""
        await self._has_alert.wait()
        name, sentence = next(iter(self._waiting.items()))
        del self._waiting[name]
        if not self._waiting:
            self._has_alert.clear()
        situation = situation_now()
        told = Situation(situation.role, situation.term, sentence or "")
        for call in self._calls("on_alert"):
            outcome = await self._outcome(call, told, {"EDGE_ALERT": name}, guarded=False)
            if outcome.problem:
                log.warning("%s", _sentence(call, outcome))

    def _calls(self, moment: str) -> Iterator[_Call]:
        for number, plan in enumerate(self._plans, 1):
            command: Command | None = getattr(plan, moment)
            if command is not None:
                name, title = f"hook.{number}.{moment}", f"{moment} hook {command[0]}"
                yield _Call(name, title, command, plan)

    async def _run(self, call: _Call, situation: Situation, *, guarded: bool) -> str:
        """What went wrong, as a sentence."""
        outcome = await self._outcome(call, situation, {}, guarded=guarded)
        return _sentence(call, outcome) if outcome.problem else ""

    async def _outcome(
        self, call: _Call, situation: Situation, more: Mapping[str, str], *, guarded: bool
    ) -> Outcome:
        env = {**variables(self._identity, situation), **more}
        spawn = Spawn(name=call.name, argv=call.command, env=env, guarded=guarded, grace=0.0)
        return await self._runner.run(spawn, call.plan.timeout)

    def _note(self, call: _Call, problem: str) -> None:
        if not problem:
            self._troubles.clear(call.title)
            return
        log.warning("%s", problem)
        self._troubles.note(call.title, problem, is_unfit=False)


def _sentence(call: _Call, outcome: Outcome) -> str:
    return f"{call.title} {outcome.problem}" + (f": {outcome.said}" if outcome.said else "")
