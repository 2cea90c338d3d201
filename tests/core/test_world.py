"""docs/protocol.md, What must hold: small random worlds, a seed each.

Set EDGE_WORLD_SEEDS to try more of them, EDGE_WORLD_FIRST to begin at another seed.
"""

import os

import pytest

from tests.core.faults import run
from tests.core.plan import draw_plan

FIRST = int(os.environ.get("EDGE_WORLD_FIRST", "0"))
SEEDS = int(os.environ.get("EDGE_WORLD_SEEDS", "12"))
LEASES = 12.0


@pytest.mark.parametrize("kind", ["witness", "three", "paths"])
@pytest.mark.timeout(0 if "EDGE_WORLD_SEEDS" in os.environ else 300)
def test_whatever_happens_at_most_one_node_is_hot_and_calm_brings_one_back(kind: str) -> None:
    for seed in range(FIRST, FIRST + SEEDS):
        try:
            run(draw_plan(seed, kind=kind), LEASES)
        except AssertionError as error:
            pytest.fail(f"seed {seed}, kind {kind}: {error}")


def test_a_seed_is_a_world() -> None:
    """The same seed gives the same story to the last line."""
    first, second = (run(draw_plan(5), LEASES) for _ in range(2))
    assert first.trace == second.trace
    assert [host.state for host in first.hosts.values()] == [
        host.state for host in second.hosts.values()
    ]


def test_the_world_is_not_a_quiet_one() -> None:
    """Worlds in which nothing happens would prove nothing."""
    worlds = [run(draw_plan(seed), LEASES) for seed in range(6)]
    assert sum(len(world.changes) for world in worlds) > 2 * len(worlds)
