"""The same seed is the same story to the last line, in every process and on every Python."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from edge.sim.dice import Dice
from edge.sim.plan import draw_plan
from edge.sim.run import run_seed
from edge.sim.trace import Trace

TELL = "from tests.sim.test_determinism import story; print(story())"


def story() -> str:
    """The traces of a small and of a large group, as one digest."""
    lines = []
    for seed in (1, 5):
        trace = Trace(is_detailed=True)
        outcome = run_seed(draw_plan(seed), trace)
        lines += [*trace.lines(), f"{outcome}"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def told_elsewhere(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", TELL],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_order_of_hashes_is_not_in_it() -> None:
    assert {told_elsewhere("1"), told_elsewhere("2")} == {story()}


def test_dice_are_the_same_on_every_python() -> None:
    dice = Dice("plan 0")
    assert [dice.below(1000) for _ in range(6)] == [464, 549, 522, 960, 746, 501]
    assert "".join(dice.shuffled("abcdef")) == "bcedfa"


def test_the_network_and_the_faults_do_not_depend_on_the_core() -> None:
    """A core that draws other numbers still meets the same faults."""
    first, second = Dice("faults 7"), Dice("jitter 7")
    assert [first.random() for _ in range(3)] != [second.random() for _ in range(3)]
