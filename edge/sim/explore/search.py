"""Exhaustive exploration: every run of a small group within bounds, by the very core of the agent.

Breadth first, one tick of the true time after the other, over the hash of the world. A world that
breaks the promise ends it, and the shortest way there is printed. docs/proof.md says what
is covered: `python -m edge.sim.explore --help` for the bounds.
"""

import argparse
import gc
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.sim.explore.game import Bounds, World
from edge.sim.explore.moves import successors
from edge.sim.explore.scenes import BEGINNINGS, CLOCKS, GROUPS, Scene, begin
from edge.sim.explore.story import tell_story

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """Where an exploration ends if it finds nothing and has not seen everything."""

    ticks: int = 100
    states: int = 10_000_000
    seconds: float = 600.0  # of one core


@dataclass(slots=True)
class Result:
    """What was looked at, and what was found."""

    ticks: int = 0
    states: int = 1
    transitions: int = 0
    minds: int = 0
    steps: int = 0
    seconds: float = 0.0
    longest: int = 0
    is_complete: bool = False
    problem: str = ""
    story: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Seen:
    """Eight bytes of hash for each world, and how one came to it: four for the world before,
    two for which of its successors it is."""

    hashes: set[int] = field(default_factory=set)
    before: "array[int]" = field(default_factory=lambda: array("I"))
    ordinal: "array[int]" = field(default_factory=lambda: array("H"))
    depth: "array[int]" = field(default_factory=lambda: array("H"))

    def add(self, world: World, before: int, ordinal: int) -> int | None:
        """The number of a new world, or None for one that was seen."""
        key = hash(world)
        if key in self.hashes:
            return None
        self.hashes.add(key)
        self.before.append(before)
        self.ordinal.append(ordinal)
        self.depth.append(self.depth[before] + 1 if self.depth else 0)
        return len(self.before) - 1

    def way_to(self, number: int) -> list[int]:
        """The ordinals from the first world to this one."""
        ordinals = []
        while number:
            ordinals.append(self.ordinal[number])
            number = self.before[number]
        return ordinals[::-1]


class Exploration:
    """One search. `run` may be called once."""

    def __init__(self, scene: Scene, limits: Limits, say: Say | None = None) -> None:
        self.game, self.first = begin(scene)
        self.limits = limits
        self.say = say
        self.seen = _Seen()
        self.result = Result()
        self.began_at = time.process_time()

    def run(self) -> Result:
        number = self.seen.add(self.first, 0, 0)
        assert number == 0, "the first world is number 0"
        layer = [(number, self.first)]
        while layer and self.result.ticks < self.limits.ticks and not self._is_over():
            layer = self._explore_layer(layer)
        self.result.is_complete = not layer and not self._is_over()
        self._count()
        return self.result

    def _is_over(self) -> bool:
        is_late = time.process_time() - self.began_at > self.limits.seconds
        return bool(self.result.problem) or is_late or len(self.seen.before) >= self.limits.states

    def _explore_layer(self, layer: list[tuple[int, World]]) -> list[tuple[int, World]]:
        """All that can happen until the next tick; returns the worlds right after it."""
        following: list[tuple[int, World]] = []
        queue = layer
        while queue:
            further: list[tuple[int, World]] = []
            for number, world in queue:
                if not self._expand(number, world, further, following):
                    return following
            queue = further
        self.result.ticks += 1
        self._progress(len(following))
        return following

    def _expand(
        self,
        number: int,
        world: World,
        further: list[tuple[int, World]],
        following: list[tuple[int, World]],
    ) -> bool:
        """Look at all successors of one world; False ends the search."""
        ordinal = -1
        try:
            for ordinal, (is_later, each) in enumerate(successors(self.game, world)):
                self.result.transitions += 1
                found = self.seen.add(each, number, ordinal)
                if found is not None:
                    (following if is_later else further).append((found, each))
        except AssertionError as problem:
            way = [*self.seen.way_to(number), ordinal + 1]
            self.result.problem = str(problem)
            self.result.longest = len(way)
            self.result.story = tell_story(self.game, self.first, way)
        return not (number % 256 == 0 and self._is_over()) and not self.result.problem

    def _progress(self, width: int) -> None:
        self._count()
        if self.say is not None:
            self.say(
                f"tick {self.result.ticks}: {self.result.states} worlds, {width} at its end, "
                f"{self.result.transitions} transitions, {self.result.minds} minds, "
                f"{self.result.seconds:.1f} s"
            )

    def _count(self) -> None:
        result = self.result
        result.states = len(self.seen.before)
        result.minds = len(self.game.minds.minds) - 1
        result.steps = self.game.minds.steps
        result.seconds = time.process_time() - self.began_at
        if not result.problem:
            result.longest = max(self.seen.depth)


def explore(scene: Scene, limits: Limits, say: Say | None = None) -> Result:
    """Look at every run of `scene` until the limits; stops at the first broken promise."""
    return Exploration(scene, limits, say).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edge.sim.explore", description=__doc__)
    parser.add_argument("--group", choices=sorted(GROUPS), default="three", help="registers")
    parser.add_argument("--clocks", choices=sorted(CLOCKS), default="slow", help="of white")
    parser.add_argument("--beginning", choices=BEGINNINGS, default="hot")
    for name, default in (("postponements", 1), ("crashes", 0), ("restarts", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    for name in ("cuts", "freezes"):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N")
    parser.add_argument("--ticks", type=int, default=100, metavar="N", help="4 are one lease")
    parser.add_argument("--states", type=int, default=20_000_000, metavar="N")
    parser.add_argument("--seconds", type=float, default=600.0, metavar="S")
    return parser


def main() -> int:
    """The command; 0 if the promise was kept, 1 if not."""
    chosen = _parser().parse_args()
    gc.disable()  # nothing here is in a circle, and to look for that again and again takes long
    bounds = Bounds(
        postponements=chosen.postponements,
        crashes=chosen.crashes,
        restarts=chosen.restarts,
        cuts=chosen.cuts,
        freezes=chosen.freezes,
    )
    scene = Scene(chosen.group, chosen.clocks, chosen.beginning, bounds)
    result = explore(scene, Limits(chosen.ticks, chosen.states, chosen.seconds), _say)
    _say(summary(result))
    for line in result.story:
        _say(line)
    return 1 if result.problem else 0


def summary(result: Result) -> str:
    """One line for people and for docs/proof.md."""
    if result.problem:
        end = f"BROKEN: {result.problem}"
    else:
        end = "nothing left to explore" if result.is_complete else "more is left to explore"
    return (
        f"{result.states} worlds, {result.transitions} transitions, {result.ticks} whole ticks, "
        f"at most {result.longest} moves, {result.steps} steps of the core, "
        f"{result.seconds:.0f} s: {end}"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
