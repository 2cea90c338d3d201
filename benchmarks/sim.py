"""How fast the simulator is: simulated seconds for each CPU second of one core, in one process.

Run: python -m benchmarks.sim [--seeds 20]
"""

import argparse
import time

from benchmarks.report import print_table
from edge.sim.batch import Tally, run_one
from edge.sim.plan import Wishes

GOAL = 3000
# Three nodes with the leases of the profiles, all else drawn; and everything drawn.
WORLDS = (
    ("three nodes, fast, 0.25 s", Wishes(nodes=3, lease=0.25)),
    ("three nodes, normal, 1 s", Wishes(nodes=3, lease=1.0)),
    ("three nodes, safe, 5 s", Wishes(nodes=3, lease=5.0)),
    ("everything drawn", Wishes()),
)


def measured(wishes: Wishes, seeds: range) -> tuple[Tally, float]:
    """Every seed once, and the CPU seconds that they took."""
    tally, began = Tally(), time.process_time()
    for seed in seeds:
        tally.add(run_one(seed, wishes))
    return tally, time.process_time() - began


def row(name: str, wishes: Wishes, seeds: range) -> list[str]:
    tally, took = measured(wishes, seeds)
    ratio = tally.simulated / took
    return [
        name,
        "reached" if ratio >= GOAL else "MISSED",
        f"{tally.simulated:.0f}",
        f"{tally.steps / tally.simulated:.0f}",
        f"{1e6 * took / tally.steps:.1f}",
        f"{ratio:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="of each kind (20)")
    seeds = range(parser.parse_args().seeds)
    run_one(0, Wishes())  # what is only done once is done before
    print_table(
        f"The simulator, {len(seeds)} seeds each, goal {GOAL} times real time",
        ("world, lease", "goal", "simulated s", "steps a simulated s", "µs a step", "times"),
        [row(name, wishes, seeds) for name, wishes in WORLDS],
    )


if __name__ == "__main__":
    main()
