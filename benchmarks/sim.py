"""How fast the simulator is: simulated seconds for each CPU second of one core, in one process.

And how fast it would be with a core that takes no time: the same runs again, with the core's
answers played back. A world with a long lease has more seconds and less to do in each, so that
few such worlds make the sum; the median says what most worlds are like.

Run: python -m benchmarks.sim [--seeds 40]
"""

import argparse
import statistics
import time
from unittest.mock import patch

from benchmarks.report import print_table
from edge.core.effects import Effect
from edge.core.events import Event
from edge.core.state import State
from edge.core.step import step
from edge.sim import world
from edge.sim.batch import Tally, run_one
from edge.sim.plan import Wishes

GOAL = 3000
# Three nodes as they are drawn, and with the leases of the profiles; and everything drawn.
WORLDS = (
    ("three nodes, 0.25 to 8 s", Wishes(nodes=3)),
    ("three nodes, fast, 0.25 s", Wishes(nodes=3, lease=0.25)),
    ("three nodes, normal, 1 s", Wishes(nodes=3, lease=1.0)),
    ("three nodes, safe, 5 s", Wishes(nodes=3, lease=5.0)),
    ("everything drawn", Wishes()),
)
COLUMNS = (
    "world, lease",
    "goal",
    "simulated s",
    "steps a s",
    "µs a step",
    "times",
    "median",
    "without core",
)


def run(seed: int, wishes: Wishes, tally: Tally) -> tuple[float, float]:
    """The CPU seconds of one seed, and how many times faster than real time it was."""
    began = time.process_time()
    outcome = run_one(seed, wishes)
    took = time.process_time() - began
    tally.add(outcome)
    return took, outcome.simulated / took


def run_without_core(seed: int, wishes: Wishes) -> float:
    answers: list[tuple[State, list[Effect]]] = []

    def remember(
        state: State, event: Event, now: float, jitter: float
    ) -> tuple[State, list[Effect]]:
        answers.append(step(state, event, now, jitter))
        return answers[-1]

    with patch.object(world, "step", remember):
        run(seed, wishes, Tally())
    played = iter(answers)
    with patch.object(world, "step", lambda *_: next(played)):
        return run(seed, wishes, Tally())[0]


def row(name: str, wishes: Wishes, seeds: range) -> list[str]:
    tally = Tally()
    times = [run(seed, wishes, tally) for seed in seeds]
    took = sum(each for each, _ in times)
    took_without_core = sum(run_without_core(seed, wishes) for seed in seeds)
    return [
        name,
        "reached" if tally.simulated / took >= GOAL else "MISSED",
        f"{tally.simulated:.0f}",
        f"{tally.steps / tally.simulated:.0f}",
        f"{1e6 * took / tally.steps:.1f}",
        f"{tally.simulated / took:.0f}",
        f"{statistics.median(ratio for _, ratio in times):.0f}",
        f"{tally.simulated / took_without_core:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=40, help="of each kind (40)")
    seeds = range(parser.parse_args().seeds)
    run(0, Wishes(), Tally())  # what is only done once is done before
    rows = [row(name, wishes, seeds) for name, wishes in WORLDS]
    print_table(
        f"The simulator, {len(seeds)} seeds each; goal {GOAL} times real time", COLUMNS, rows
    )


if __name__ == "__main__":
    main()
