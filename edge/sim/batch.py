"""Many seeds, on one core or several, and what they came to."""

import signal
from collections.abc import Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from edge.sim.plan import Wishes, draw_plan
from edge.sim.run import Outcome, run_seed

# Seeds handed to a process at once: few, so that the last ones do not wait for one process.
CHUNK = 4


@dataclass(slots=True)
class Tally:
    """The sum of the outcomes so far."""

    seeds: int = 0
    elections: int = 0
    steps: int = 0
    simulated: float = 0.0
    longest_recovery: float = 0.0
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.elections += outcome.elections
        self.steps += outcome.steps
        self.simulated += outcome.simulated
        self.longest_recovery = max(self.longest_recovery, outcome.longest_recovery)
        if outcome.violation:
            self.failed.append(outcome)

    def words(self, took: float) -> str:
        ratio = self.simulated / took if took > 0 else 0.0
        return (
            f"{self.seeds} seeds, {self.elections} elections, {self.simulated / 3600:.2f} "
            f"simulated hours, {self.steps} steps, {ratio:.0f} times real time, "
            f"{len(self.failed)} violations"
        )


def run_one(seed: int, wishes: Wishes) -> Outcome:
    return run_seed(draw_plan(seed, wishes))


def run_seeds(
    seeds: Iterable[int], wishes: Wishes, jobs: int = 1
) -> Generator[Outcome, None, None]:
    """The outcomes in the order of the seeds, whichever process ran them."""
    run = partial(run_one, wishes=wishes)
    if jobs == 1:
        yield from map(run, seeds)
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_leave_ctrl_c_alone)
    try:
        yield from pool.map(run, seeds, chunksize=CHUNK)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_ctrl_c_alone() -> None:
    """Ctrl-C reaches all processes; the first one says what was done so far."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
