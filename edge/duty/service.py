"""The duty of one node as the agent sees it: a keeper that decides, a guard that holds, and a new
pair of them when the guard was lost (docs/protocol.md, R20).

What a lost guard held has been swept before anybody hears of it, so that its end is the end of the
duty; without a guard no duty starts.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec

from edge.core.events import DutyStarted, DutyStopped, Event, FitnessChanged, SwitchJudged
from edge.core.model import Role
from edge.duty.handle import GuardSettings, Handle
from edge.duty.health import ChangedAt
from edge.duty.keeper import Callbacks, Keeper
from edge.duty.ports import Exit, GuardCallbacks, GuardError
from edge.duty.situation import Identity, Situation
from edge.duty.tasks import Tasks
from edge.duty.troubles import ALERT
from edge.settings.duty import Duty

log = logging.getLogger("edge.duty")
Words = ParamSpec("Words")

# How long to wait before another guard is tried after one that did not start, seconds.
GUARD_RETRY = 2.0
# How many leases an interface of an address may be out before this node calls itself unfit.
INTERFACE_PATIENCE = 2.0
# Steps that are kept for whoever asks how long each took.
STEPS_MAX = 64


@dataclass(frozen=True, slots=True)
class Voice:
    """Where the duty's words go."""

    tell: Callable[[Event], None]
    alert: Callable[[str, str | None], None]


class GuardedDuty:
    """See edge.ports.Duty. `open` before the first request, `close` after the last."""

    is_real = True

    def __init__(self, duty: Duty, guard: GuardSettings, changed_at: ChangedAt) -> None:
        self._duty = duty
        self._identity = Identity(guard.group, guard.node)
        self._changed_at = changed_at
        self._lease = guard.lease
        callbacks = GuardCallbacks(self._exited, self._output, self._withdrawn, self._guard_lost)
        self._handle = Handle(guard, callbacks)
        self._keeper: Keeper | None = None
        self._voice: Voice | None = None
        self._situation = Situation(Role.STARTING, 0)
        self._term: int | None = None
        self._steps: list[tuple[str, float]] = []
        # Of a lost guard, until it has been closed; it is asked for nothing any more.
        self._former: Keeper | None = None
        self._is_lost = asyncio.Event()
        self._tasks = Tasks()

    def attach(self, tell: Callable[[Event], None], alert: Callable[..., None]) -> None:
        self._voice = Voice(tell, alert)

    async def open(self) -> None:
        """Raises GuardError: a node that cannot guard its duty must not run."""
        await self._begin()

    async def run(self) -> None:
        """Replaces the guard whenever it is lost."""
        while True:
            await self._is_lost.wait()
            self._is_lost.clear()
            await self._close_former()
            await self._begin_again()

    async def close(self) -> None:
        """End everything: in order, then by the guard as its pipe closes."""
        await self._tasks.close()
        await self._close_former()
        if self._keeper is not None:  # it hears until it is done what ends meanwhile
            await self._keeper.close()
            self._keeper = None
        await self._handle.close()

    async def _close_former(self) -> None:
        if self._former is not None:
            await self._former.close()
            self._former = None

    async def _begin(self) -> None:
        for each in await self._handle.start():
            log.warning("removed what an earlier life left behind: %s", each)
        patience, callbacks = INTERFACE_PATIENCE * self._lease, self._callbacks()
        self._keeper = Keeper(
            self._duty, self._handle, self._identity, callbacks, self._changed_at, patience
        )
        self._keeper.begin()
        self._alert(ALERT, None)  # what its predecessor complained of, it will never take back
        situation = self._situation
        self._keeper.set_role(situation.role, situation.term, situation.reason)

    async def _begin_again(self) -> None:
        while True:
            try:
                await self._begin()
            except GuardError as error:
                log.warning("the guard does not start: %s", error)
                self._say_unfit(f"the guard does not start: {error}")
                await asyncio.sleep(GUARD_RETRY)
            else:
                self._say_unfit("")
                return

    def _say_unfit(self, why: str) -> None:
        if self._voice is not None:
            self._voice.tell(FitnessChanged(why))
            self._voice.alert("guard", f"{why[:1].upper()}{why[1:]}." if why else None)

    # What the agent asks for

    def start(self, term: int, reason: str) -> None:
        if self._keeper is None:
            self._tell(DutyStopped(term))
            return
        self._term, self._steps = term, []
        self._keeper.start(term, reason)

    def stop(self, term: int, reason: str, *, at_once: bool) -> None:
        if self._keeper is None:
            self._tell(DutyStopped(term))
            return
        self._steps = []
        self._keeper.stop(term, reason, at_once=at_once)

    def extend(self, term: int, deadline: float) -> None:
        self._handle.extend(term, deadline)

    def ask_to_switch(self, term: int, to: str | None) -> None:
        if self._keeper is None:
            self._tell(SwitchJudged(term, ""))
            return
        self._tasks.start(self._judge(self._keeper, term, to or ""), "veto")

    async def _judge(self, keeper: Keeper, term: int, to: str) -> None:
        self._tell(SwitchJudged(term, await keeper.may_switch(to)))

    def set_role(self, role: Role, term: int, reason: str) -> None:
        self._situation = Situation(role, term, reason)
        if self._keeper is not None:
            self._keeper.set_role(role, term, reason)

    def on_alert(self, name: str, sentence: str | None) -> None:
        if self._keeper is not None:
            self._keeper.on_alert(name, sentence)

    def take_steps(self) -> list[tuple[str, float]]:
        steps, self._steps = self._steps, []
        return steps

    # What the keeper and the guard report

    def _callbacks(self) -> Callbacks:
        return Callbacks(
            started=self._unless_lost(lambda term: self._tell(DutyStarted(term))),
            failed=self._unless_lost(lambda term, _: self._stopped(term)),
            stopped=self._unless_lost(self._stopped),
            fitness=self._unless_lost(lambda why: self._tell(FitnessChanged(why))),
            alert=self._unless_lost(self._alert),
            step=self._note_step,
        )

    def _unless_lost(self, report: Callable[Words, None]) -> Callable[Words, None]:
        """A keeper that has lost its guard comes too late: everything has been said for it."""

        def say(*words: Words.args, **more: Words.kwargs) -> None:
            if self._keeper is not None:
                report(*words, **more)

        return say

    def _stopped(self, term: int) -> None:
        if self._term == term:
            self._term = None
        self._tell(DutyStopped(term))

    def _note_step(self, name: str, milliseconds: float) -> None:
        self._steps = [*self._steps, (name, milliseconds)][-STEPS_MAX:]

    def _exited(self, end: Exit) -> None:
        if self._keeper is not None:
            self._keeper.exited(end)

    def _output(self, name: str, line: str) -> None:
        if self._keeper is not None:
            self._keeper.output(name, line)

    def _withdrawn(self, why: str) -> None:
        if self._keeper is not None:
            self._keeper.withdrawn(why)

    def _guard_lost(self, why: str) -> None:
        """All that it held has been swept: the duty is off now, the keeper may tidy up later.

        It reports nothing any more once it is closed, so a start must not reach it.
        """
        log.error("the guard was lost (%s)", why)
        self._former, self._keeper = self._keeper, None
        if self._former is not None:
            self._former.lost(why)
        self._say_unfit(f"the guard was lost ({why})")
        if self._term is not None:
            self._stopped(self._term)
        self._is_lost.set()

    def _tell(self, event: Event) -> None:
        if self._voice is not None:
            self._voice.tell(event)

    def _alert(self, name: str, sentence: str | None) -> None:
        if self._voice is not None:
            self._voice.alert(name, sentence)
