"""A systemd unit of the duty, by systemctl: on this machine's path, with a time limit each time.

systemd holds the unit's processes, not the guard; the guard holds the command that stops it.
"""

import asyncio

from edge.duty.ports import GuardError, GuardHandle, Spawn
from edge.duty.runner import CANNOT_RUN, Outcome, Runner
from edge.duty.situation import Situation
from edge.settings.duty import DutyProcess, RunOn

# How often systemd is asked, and how long it may take to answer, seconds.
QUESTION_INTERVAL = 2.0
ANSWER_TIMEOUT = 10.0
# For what systemd does after SIGKILL.
KILL_TIMEOUT = 5.0

# States in which a unit is doing its work, or systemd is bringing it back to it.
RUNNING_STATES = frozenset({"active", "activating", "reloading", "refreshing"})

NOT_BOOTED = "System has not been booted with systemd"
NO_SYSTEMD = "no systemd runs on this machine; write command = [...] instead of unit"

# Stop it as its file says, and after a while at any price, all within the guard's limit. systemd
# does not start again what is killed while it is being stopped.
FAREWELL = 'systemctl --no-block stop "$1"; sleep "$2"; systemctl --signal=SIGKILL kill "$1"'


class Unit:
    """The body of a process that systemd runs; see edge.duty.process."""

    def __init__(self, plan: DutyProcess, guard: GuardHandle, runner: Runner, grace: float) -> None:
        assert plan.unit is not None, "the settings say which unit"
        self._plan = plan
        self._unit = plan.unit
        self._guard = guard
        self._runner = runner
        self._grace = grace

    async def begin(self) -> None:
        if self._plan.run_on is RunOn.HOT:
            limit = self._grace + KILL_TIMEOUT  # it is more important that it is done at all
            command = self._farewell_command()
            await self._guard.hold_farewell(self._farewell, command, {}, limit)
        outcome = await self._ask("start", self._plan.start_timeout)
        if outcome.problem:
            raise GuardError(_worded(outcome))

    async def ended(self) -> str:
        while True:
            await asyncio.sleep(QUESTION_INTERVAL)
            outcome = await self._ask("is-active", ANSWER_TIMEOUT)
            # Without an answer nothing is known, and the next one comes.
            if outcome.problem and outcome.said and outcome.said not in RUNNING_STATES:
                return f"is {outcome.said} ({self._unit})"

    async def finish(self) -> None:
        outcome = await self._ask("stop", self._plan.stop_timeout)
        if outcome.problem:
            await self._ask("kill", ANSWER_TIMEOUT, "--signal=SIGKILL")
            outcome = await self._ask("stop", KILL_TIMEOUT)
        if outcome.problem:
            raise GuardError(f"could not be ended: {_worded(outcome)}")
        if self._plan.run_on is RunOn.HOT:
            await self._guard.drop_farewell(self._farewell)

    async def tell(self, situation: Situation) -> None:
        """A unit has no standard input and an environment of its own."""

    @property
    def _farewell(self) -> str:
        return f"unit.{self._plan.name}.farewell"

    def _farewell_command(self) -> tuple[str, ...]:
        """Half of the grace to stop by itself: the other half is for systemd to do the rest."""
        return ("/bin/sh", "-c", FAREWELL, "edge", self._unit, f"{self._grace / 2:g}")

    async def _ask(self, verb: str, limit: float, *options: str) -> Outcome:
        """A withdrawal ends the start, but never the stop."""
        spawn = Spawn(
            name=f"unit.{self._plan.name}.{verb}",
            argv=("systemctl", "--no-ask-password", *options, verb, "--", self._unit),
            env={"LC_ALL": "C"},
            guarded=verb == "start" and self._plan.run_on is RunOn.HOT,
            grace=0.0,
        )
        return await self._runner.run(spawn, limit)


def _worded(outcome: Outcome) -> str:
    """systemctl's own words say more than its status."""
    if outcome.problem.startswith(CANNOT_RUN) or outcome.said.startswith(NOT_BOOTED):
        return NO_SYSTEMD
    return f"systemctl {outcome.problem}" + (f" ({outcome.said})" if outcome.said else "")
