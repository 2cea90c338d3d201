"""`edge sim`: random worlds in virtual time; a broken promise is shown, and how to repeat it."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from edge.core.model import Policy
from edge.errors import SettingsError
from edge.sim.batch import Tally, run_seeds
from edge.sim.plan import Beyond, Wishes, draw_plan
from edge.sim.run import Outcome, run_seed
from edge.sim.trace import Trace

Choice = TypeVar("Choice", bound=StrEnum)

PROGRESS_INTERVAL = 5.0
TRACE_END = 60
SEEDS = 100
NO_REPOSITORY = "unknown, this is not a clone"


@dataclass(frozen=True, slots=True)
class Request:
    """What was typed."""

    first: int
    count: int
    jobs: int
    wishes: Wishes

    @property
    def seeds(self) -> range:
        return range(self.first, self.first + self.count)


def read_request(  # noqa: PLR0913  one for each option
    *,
    seed: int | None,
    seeds: int | None,
    nodes: int | None,
    witnesses: int | None,
    policy: str | None,
    minutes: float | None,
    jobs: int,
    beyond: list[str],
) -> Request:
    """Raises SettingsError with one line for what cannot be."""
    count = seeds if seeds is not None else (SEEDS if seed is None else 1)
    _require(count >= 1, f"--seeds {count}: write 1 or more")
    _require(jobs >= 1, f"--jobs {jobs}: write 1 or more")
    _require(seed is None or seed >= 0, f"--seed {seed}: write 0 or more")
    _require(minutes is None or 0 < minutes <= 1440, f"--minutes {minutes}: write 0.1 to 1440")
    wishes = Wishes(
        nodes=nodes,
        witnesses=witnesses,
        policy=None if policy is None else _one_of(Policy, "--policy", policy),
        minutes=minutes,
        beyond=tuple(_one_of(Beyond, "--beyond", each) for each in beyond),
    )
    draw_plan(0, wishes)  # sizes that fit no group are refused before anything runs
    return Request(seed or 0, count, jobs, wishes)


def _require(is_fine: bool, sentence: str) -> None:  # noqa: FBT001  a condition is one
    if not is_fine:
        raise SettingsError(sentence)


def _one_of(kind: type[Choice], option: str, text: str) -> Choice:
    """The member of an enumeration that was typed."""
    try:
        return kind(text)
    except ValueError:
        names = ", ".join(each.value for each in kind)
        raise SettingsError(f"{option} {text}: write one of {names}") from None


def show_trace(request: Request) -> int:
    """One seed again, step by step."""
    _require(request.count == 1, "--trace shows one seed; write --seed N without --seeds")
    plan = draw_plan(request.first, request.wishes)
    trace = Trace(is_detailed=True)
    began = time.monotonic()
    outcome = run_seed(plan, trace)
    print(plan.describe())
    print("\n".join(trace.lines()))
    return _sum_up(_tally([outcome]), request, time.monotonic() - began)


def run_all(request: Request) -> int:
    """Every seed; a violation is shown when it is found, the sum at the end. 0 if all held."""
    tally, began = Tally(), time.monotonic()
    shown_at = began
    # However this is ended: no process of it may be left, and what was done is said.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes = run_seeds(request.seeds, request.wishes, request.jobs)
    try:
        for outcome in outcomes:
            tally.add(outcome)
            if outcome.violation:
                print("\n".join(failure(outcome, request.wishes)), flush=True)
            if time.monotonic() >= shown_at + PROGRESS_INTERVAL:
                shown_at = time.monotonic()
                print(f"... {tally.words(shown_at - began)}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        outcomes.close()
        print(f"stopped after {tally.seeds} of {request.count} seeds")
    return _sum_up(tally, request, time.monotonic() - began)


def _tally(outcomes: list[Outcome]) -> Tally:
    tally = Tally()
    for each in outcomes:
        tally.add(each)
    return tally


def _sum_up(tally: Tally, request: Request, took: float) -> int:
    print(tally.words(took))
    for each in tally.failed:
        print(f"  again: {repeat_command(each.seed, request.wishes)}")
    return 1 if tally.failed or tally.seeds < request.count else 0


def failure(outcome: Outcome, wishes: Wishes) -> list[str]:
    """All that somebody needs who was not there: what broke, what was drawn, how it ended."""
    plan = draw_plan(outcome.seed, wishes)
    trace = Trace(is_detailed=True)
    run_seed(plan, trace)
    return [
        f"seed {outcome.seed}: {outcome.violation}",
        f"  commit {commit()}",
        *(f"  {line}" for line in plan.describe().splitlines()),
        *trace.lines(TRACE_END),
    ]


def repeat_command(seed: int, wishes: Wishes) -> str:
    options = {
        "--nodes": wishes.nodes,
        "--witnesses": wishes.witnesses,
        "--policy": wishes.policy,
        "--minutes": wishes.minutes,
    }
    given = [f"{option} {value}" for option, value in options.items() if value is not None]
    beyond = [f"--beyond {each}" for each in wishes.beyond]
    return " ".join(("edge sim", f"--seed {seed}", *given, *beyond, "--trace"))


def commit() -> str:
    """Of the clone that this runs from, for whoever repeats the seed."""
    git = shutil.which("git")
    if git is None:
        return NO_REPOSITORY
    here = Path(__file__).parent
    command = [git, "-C", str(here), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return NO_REPOSITORY
    return done.stdout.strip() or NO_REPOSITORY
