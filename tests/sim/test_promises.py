"""docs/protocol.md, What must hold: random worlds, a seed each.

Set EDGE_SIM_SEEDS to try more of them, EDGE_SIM_FIRST to begin at another seed; `edge sim` does
the same with a report.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edge.core.model import Policy
from edge.sim.batch import run_one, run_seeds
from edge.sim.plan import Wishes, draw_plan
from edge.sim.run import run_seed
from edge.sim.trace import Trace

FIRST = int(os.environ.get("EDGE_SIM_FIRST", "0"))
SEEDS = int(os.environ.get("EDGE_SIM_SEEDS", "8"))
REGRESSIONS: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "regressions.toml").read_text()
)["seed"]
KINDS = {
    "two nodes and a witness": Wishes(nodes=2, witnesses=1),
    "three nodes": Wishes(nodes=3, witnesses=0),
    "five nodes": Wishes(nodes=5, witnesses=0),
    "four nodes and two witnesses": Wishes(nodes=4, witnesses=2),
    "availability": Wishes(policy=Policy.AVAILABILITY),
    "safety": Wishes(policy=Policy.SAFETY),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(0 if "EDGE_SIM_SEEDS" in os.environ else 300)
def test_every_promise_is_kept(kind: str) -> None:
    seeds = range(FIRST, FIRST + SEEDS)
    broken = [each for each in run_seeds(seeds, KINDS[kind]) if each.violation]
    assert not broken


@pytest.mark.parametrize("entry", REGRESSIONS, ids=lambda entry: str(entry["seed"]))
def test_what_once_failed_holds(entry: dict[str, Any]) -> None:
    wishes = Wishes(
        nodes=entry.get("nodes"),
        witnesses=entry.get("witnesses"),
        policy=Policy(entry["policy"]) if "policy" in entry else None,
    )
    assert run_one(entry["seed"], wishes).violation == ""
    assert entry["why"]


def test_the_worlds_are_not_quiet_ones() -> None:
    """Worlds in which nothing happens would prove nothing."""
    outcomes = [run_one(seed, Wishes()) for seed in range(6)]
    assert sum(each.elections for each in outcomes) > 3 * len(outcomes)
    assert all(each.steps > 100 for each in outcomes)


def test_the_time_of_trouble_can_be_asked_for() -> None:
    short, long = (run_one(3, Wishes(minutes=minutes)) for minutes in (0.1, 0.5))
    assert short.simulated > 6
    assert long.simulated > 30


def test_a_detailed_trace_changes_nothing() -> None:
    plan = draw_plan(4)
    brief, detailed = Trace(), Trace(is_detailed=True)
    assert run_seed(plan, brief) == run_seed(plan, detailed)
    notes = [line for line in detailed.lines() if " -> [" not in line]
    assert notes == brief.lines()
