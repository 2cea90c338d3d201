"""What the exploration begins with: small groups, their clocks, and worlds in which all is well."""

from dataclasses import dataclass, field
from typing import NamedTuple

from edge.core.model import Group, Member, Policy, Saved, Timing
from edge.sim.explore.draft import Draft
from edge.sim.explore.game import Bounds, Game, World
from edge.sim.explore.moves import is_busy, settle, tick

TICKS_PER_LEASE = 4
# A heartbeat of at most one tick by the slowest clock; all other times are the normal ones.
TIMING = Timing(heartbeat=0.2, reconnect=1.0)
MEMBERS = (Member("white", 3), Member("black", 2))
GROUPS = {
    "three": Group("three", MEMBERS, ("white", "black", "router"), Policy.WITNESS, TIMING),
    "two": Group("two", MEMBERS, ("white", "black"), Policy.AVAILABILITY, TIMING),
}
# How fast the clocks of white and black run: more than 3 % apart from the truth, and exact.
CLOCKS = {"even": (1.0, 1.0), "slow": (31 / 32, 33 / 32), "fast": (33 / 32, 31 / 32)}
BEGINNINGS = ("hot", "cold")
ENOUGH_TICKS = 200


class NoSuchBeginningError(RuntimeError):
    """The group did not come to the state that the exploration shall begin with."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is explored: which group, whose clock is wrong, from where, how much goes wrong."""

    group: str = "three"
    clocks: str = "even"
    beginning: str = "hot"
    bounds: Bounds = field(default_factory=Bounds)


class Start(NamedTuple):
    game: Game
    world: World


def begin(scene: Scene) -> Start:
    """The first world of a scene, come about without any fault or delay."""
    group = GROUPS[scene.group]
    tick_length = group.timing.lease / TICKS_PER_LEASE
    ticks = tuple(rate * tick_length for rate in CLOCKS[scene.clocks])
    game = Game(group, ticks, scene.bounds)
    draft = Draft(game, _nothing(game), _first)
    world = _hot(draft) if scene.beginning == "hot" else _cold(draft)
    return Start(game, _with_bounds(world, scene.bounds))


def _first(_: int) -> int:
    return 0


def _nothing(game: Game) -> World:
    """All machines are off; the witness runs with an empty register."""
    down = game.minds.mind(0, Saved())
    registers = [() if each < game.node_count else (0,) for each in range(game.broker_count)]
    return World(
        minds=(down,) * game.node_count,
        connections=(0,) * (game.node_count * game.broker_count),
        registers=tuple(registers),
        pipes=(),
        left=(),
        turn=game.processes,
        was_hot=0,
        cut=0,
        cut_host=0,
        frozen=0,
        postponements=0,
        crashes=0,
        restarts=0,
        cuts=0,
        freezes=0,
        top_term=0,
        has_forgotten=False,
    )


def _hot(draft: Draft) -> World:
    """White was alone and is hot; then black came, and has been there for long."""
    draft.boot(0)
    if draft.game.group.policy is Policy.AVAILABILITY:
        draft.boot(1)  # two brokers begin together, or nobody begins
    for _ in range(ENOUGH_TICKS):
        if draft.hot() == 1:
            break
        pass_time(draft)
    if draft.hot() != 1:
        raise NoSuchBeginningError("white did not become hot")
    if not draft.is_alive(1):
        draft.boot(1)
    for _ in range(ENOUGH_TICKS):
        pass_time(draft)
    return draft.world()


def _cold(draft: Draft) -> World:
    """Both are there, every link is up, nobody may claim yet."""
    draft.boot(0)
    draft.boot(1)
    for _ in range(TICKS_PER_LEASE):
        pass_time(draft)
    return draft.world()


def pass_time(draft: Draft) -> None:
    """Everything on its way arrives, then a tick passes."""
    deliver_all(draft)
    tick(draft)
    settle(draft)
    deliver_all(draft)


def deliver_all(draft: Draft) -> None:
    settle(draft)
    while draft.turn < draft.game.processes or is_busy(draft):
        if draft.turn == draft.game.processes:
            draft.turn = 0
        else:
            draft.deliver(draft.waiting(draft.turn)[0])
        settle(draft)


def _with_bounds(world: World, bounds: Bounds) -> World:
    return world._replace(
        postponements=bounds.postponements,
        crashes=bounds.crashes,
        restarts=bounds.restarts,
        cuts=bounds.cuts,
        freezes=bounds.freezes,
    )
