"""Plays the drawn episodes on a stage: strikes, requests, supervision, calm.

One thread does everything to the group, so that what was done has one order. Each loop looks at
what is due; nothing waits longer than TICK but the commands that make a fault.
"""

import heapq
import itertools
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from tests.campaign import faults
from tests.campaign.client import Client
from tests.campaign.history import Calm, Suffered
from tests.campaign.plan import HOT, STANDBY, Episode, Errand, Fault, Strike
from tests.campaign.stage import Stage

TICK = 0.02
# How long the group may take to be redundant again before the episode ends without that.
CALM_MAX = 20.0
RETRY_INTERVAL = 1.0

Deed = Callable[[], None]


@dataclass(slots=True)
class Nemesis:
    """`suffered` and `calms` are what the checks will ask for."""

    stage: Stage
    client: Client
    suffered: list[Suffered] = field(default_factory=list)
    calms: list[Calm] = field(default_factory=list)
    _due: list[tuple[float, int, Deed]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _running: int = 0
    _asked_at: float = -math.inf

    def play(self, episode: Episode) -> Calm:
        begun = time.monotonic()
        for strike in episode.strikes:
            self._plan(begun + strike.at, partial(self._strike, strike))
        for errand in episode.errands:
            self._plan(begun + errand.at, partial(self._run_errand, errand))
        while self._due or self._running:
            self.turn()
        calm = self._calm(episode)
        self.calms.append(calm)
        return calm

    def turn(self) -> None:
        """One look at the clock: do what is due, start again who has ended, rest."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        self.stage.supervise()
        time.sleep(TICK)

    def _plan(self, at: float, deed: Deed) -> None:
        heapq.heappush(self._due, (at, next(self._numbers), deed))

    def _strike(self, strike: Strike) -> None:
        target = self.stage.resolve(strike.target)
        other = self.stage.resolve(strike.other) if strike.other else ""
        if other == target:
            other = self._somebody_else(target)
        undo = ExitStack()
        struck_at = time.monotonic()
        undo.enter_context(faults.begin(self.stage, strike, target, other))
        done = Suffered(
            strike.fault, target, other, struck_at, time.monotonic(), math.inf, strike.amount
        )
        self.suffered.append(done)
        self._running += 1
        self._plan(struck_at + strike.lasts, partial(self._end, done, undo))
        if strike.fault is Fault.STORM:
            for delay in faults.storm_deaths(strike):
                again = partial(self.stage.slay, target, strike.restart_after)
                self._plan(struck_at + delay, again)

    def _somebody_else(self, target: str) -> str:
        return next(name for name in self.stage.file.nodes if name != target)

    def _end(self, done: Suffered, undo: ExitStack) -> None:
        undo.close()
        self._running -= 1
        index = self.suffered.index(done)
        self.suffered[index] = done.over(time.monotonic())

    def _run_errand(self, errand: Errand) -> None:
        via = self.stage.resolve(errand.via)
        to = self.stage.resolve(errand.to) if errand.to else ""
        self.client.send(errand.command, via, to)

    def _calm(self, episode: Episode) -> Calm:
        """Everything is undone. First everybody is started again, then the clock runs."""
        self._turn_until(lambda: not self.stage.restarts, CALM_MAX)
        began_at = time.monotonic()
        brokers_at = self._turn_until(self.stage.brokers_answer, CALM_MAX)
        hold_from = self._turn_until(self._is_whole, CALM_MAX)
        if hold_from < math.inf:
            for errand in episode.orders_in_calm:
                self._run_errand(errand)
            end = time.monotonic() + episode.hold
            self._turn_until(lambda: time.monotonic() > end, CALM_MAX)
            self._turn_until(self._is_whole, CALM_MAX)
        return Calm(began_at, brokers_at, hold_from, time.monotonic())

    def _is_whole(self) -> bool:
        """Also asks for what only an operator can give: the end of a pause, a promotion."""
        if self.stage.is_whole():
            return True
        if time.monotonic() > self._asked_at + RETRY_INTERVAL:
            self._asked_at = time.monotonic()
            self._operate()
        return False

    def _operate(self) -> None:
        if any(self.stage.own_state(name).get("paused") for name in self.stage.file.nodes):
            self.client.send("resume", self.stage.resolve(HOT))
            self.client.send("resume", self.stage.resolve(STANDBY))
        nobody_is_hot = all(self.stage.role(name) != "hot" for name in self.stage.file.nodes)
        if self.stage.file.policy == "safety" and nobody_is_hot:
            self.client.send("promote", self.stage.file.nodes[0])

    def _turn_until(self, condition: Callable[[], bool], patience: float) -> float:
        """When the condition was seen true; infinity if it was not in time."""
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                return math.inf
            self.turn()
        return time.monotonic()
