"""The exhaustive exploration: it finds nothing in the core, it finds broken cores, and what it
takes for one world decides as one."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from edge.core import claims, death, lease, register
from edge.core import step as turns
from edge.core.model import Group, Kind, Record, Timing
from edge.core.register import Verdict
from edge.core.state import State, View
from edge.core.values import replace
from edge.sim.explore import moves as explore_moves
from edge.sim.explore import values as explore_values
from edge.sim.explore.draft import Draft
from edge.sim.explore.game import Bounds
from edge.sim.explore.moves import moves, settle
from edge.sim.explore.scenes import GROUPS, Scene, begin
from edge.sim.explore.search import Limits, Result, explore, summary

judge = register.judge
publish = lease.publish

QUIET = Bounds(postponements=1)
DEATH = Bounds(postponements=0, crashes=1, restarts=1)
CUT = Bounds(postponements=0, cuts=1)
ALL = Bounds(postponements=3, crashes=1, restarts=1, cuts=1, freezes=1)
ONE_AT_A_TIME = (DEATH, CUT, Bounds(postponements=0, freezes=1))


def first(_: int) -> int:
    return 0


def look(bounds: Bounds, ticks: int, *, group: str = "three", **scene: Any) -> Result:
    return explore(Scene(group, bounds=bounds, **{"clocks": "slow", **scene}), Limits(ticks))


@pytest.mark.parametrize("clocks", ["even", "slow"])
@pytest.mark.parametrize("group", GROUPS)
def test_without_faults_all_is_seen_and_nothing_found(group: str, clocks: str) -> None:
    result = look(QUIET, 40, group=group, clocks=clocks)
    assert result.is_complete, summary(result)
    assert result.states > 200


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("bounds", ONE_AT_A_TIME, ids=("death", "cut", "freeze"))
def test_one_fault_is_survived(group: str, bounds: Bounds) -> None:
    result = look(bounds, 3, group=group)
    assert result.problem == "", result.story
    assert result.ticks == 3
    assert result.states > 200


def test_the_first_election_has_one_winner() -> None:
    result = look(Bounds(postponements=0), 30, beginning="cold")
    assert result.is_complete, summary(result)
    assert result.states > 200


def test_the_same_exploration_counts_the_same() -> None:
    once, again = look(QUIET, 5), look(QUIET, 5)
    assert (once.states, once.transitions, once.minds) == (
        again.states,
        again.transitions,
        again.minds,
    )


# Broken cores


def assert_found(result: Result, problem: str = "two nodes are hot at one time") -> None:
    assert result.problem == problem, summary(result)
    assert problem in result.story[-1]


def test_no_margin_for_clocks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timing, "claim_after", property(lambda timing: timing.lease))
    assert_found(look(Bounds(postponements=0, cuts=1, cuts_links=False), 6))


def test_a_basis_not_checked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(view: View, record: Record) -> Verdict:
        verdict = judge(view, record)
        is_lost_claim = verdict is Verdict.INEFFECTIVE and record.kind is Kind.CLAIM
        return Verdict.EFFECTIVE if is_lost_claim else verdict

    monkeypatch.setattr(register, "judge", careless)
    assert_found(look(Bounds(postponements=2), 6, beginning="cold"))


def test_one_will_trusted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(state: State, node: str) -> float | None:
        wills = (death._willed_by(state, each, node) for each in state.group.brokers)
        return min((at for at in wills if at is not None), default=None)

    monkeypatch.setattr(death, "dead_since", hasty)
    assert_found(look(Bounds(postponements=1, cuts=1), 4))


def test_a_hot_node_that_does_not_stop_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = tuple(each for each in turns.RULES if each is not claims.expire)
    monkeypatch.setattr(turns, "RULES", rules)
    assert_found(look(CUT, 6), "hot without a lease")


def test_a_minority_that_decides_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Group, "quorum", property(lambda _: 1))
    assert_found(look(CUT, 6))


def test_a_lease_counted_from_later_than_the_sending_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def later(view: View) -> View:
        if view.outstanding is None:
            return view
        sent_at = view.outstanding.sent_at + 0.3
        return replace(view, outstanding=replace(view.outstanding, sent_at=sent_at))

    def publish_later(state: State, view: View, kind: Kind, **more: Any) -> lease.Step:
        state, effects = publish(state, view, kind, **more)
        views = [later(each) if each.link == view.link else each for each in state.views]
        return replace(state, views=tuple(views)), effects

    monkeypatch.setattr(lease, "publish", publish_later)
    assert_found(look(Bounds(postponements=0, cuts=1, cuts_links=False), 6))


# What it found


def test_one_cable_of_two_brokers() -> None:
    """Policy availability: who is cut off stops before the other one begins."""
    result = look(Bounds(postponements=0, cuts=1, cuts_links=False), 7, group="two")
    assert result.problem == "", result.story
    assert result.ticks == 7


def test_a_reference_that_counts_for_a_whole_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference may answer up to a heartbeat after the last record that the other heard."""
    monkeypatch.setattr(Timing, "reference_lasts", property(lambda timing: timing.lease))
    result = look(Bounds(postponements=0, cuts=1, cuts_links=False), 7, group="two")
    assert "hot" in result.problem


# What counts as one world


def walk(scene: Scene, seed: int, length: int) -> list[tuple[int, list[str]]]:
    """One random run: after each move, who is hot and what may come next."""
    game, world = begin(scene)
    draft = Draft(game, world, first)
    dice = random.Random(seed)
    seen = []
    for _ in range(length):
        possible = moves(draft)
        seen.append((draft.hot(), [title for title, _ in possible]))
        # Time must pass, or a walk is nothing but faults at one instant.
        usual = [each for each in possible if each[0].startswith(("deliver", "round", "tick"))]
        _, change = dice.choice(usual if dice.random() < 0.9 else possible)
        change(draft)
        draft.woken = 0
        settle(draft)
    return seen


def only_relative(state: State) -> State:
    return replace(state, now=0.0, jitter=0.0)


def unchanged(value: Any, *_: Any) -> Any:
    return value


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    ("module", "name", "instead"),
    [
        (explore_values, "_blank", only_relative),
        (explore_values, "_drawn_together", unchanged),
        (explore_moves, "renumber", unchanged),
    ],
    ids=("blanked", "drawn together", "renumbered"),
)
def test_what_is_left_out_decides_nothing(
    group: str,
    module: Any,
    name: str,
    instead: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same random runs, once with and once without one of the simplifications."""
    scene = Scene(group, "slow", bounds=ALL)
    simple = [walk(scene, seed, 150) for seed in range(2)]
    monkeypatch.setattr(module, name, instead)
    assert [walk(scene, seed, 150) for seed in range(2)] == simple
    assert len({hot for run in simple for hot, _ in run}) > 1, "nothing happened in these runs"
