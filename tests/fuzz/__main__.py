"""The fuzzer: `scripts/fuzz --minutes M --seed N`; `--only NUMBER` runs one execution again."""

import argparse
import gc
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Final

from broker.connections.connection import Connection
from broker.routing.messages import Message
from broker.routing.session import Session
from tests.fuzz.client import require
from tests.fuzz.coverage import Coverage
from tests.fuzz.execution import bounded_time, execute, execute_steps, steps_of
from tests.fuzz.world import Step

# Executions of which the lines are counted that they reach; counting makes them slow.
COUNTED: Final = 1000
MOST_CRASHES: Final = 10
LONGEST_LINE: Final = 300
BETWEEN_LEAK_CHECKS: Final = 2000


@dataclass(slots=True)
class Result:
    executions: int = 0
    crashes: dict[str, int] = field(default_factory=dict)  # by place: the first execution

    def note(self, number: int, error: Exception) -> bool:
        """True if this place is new."""
        place = place_of(error)
        is_new = place not in self.crashes
        self.crashes.setdefault(place, number)
        return is_new


def place_of(error: Exception) -> str:
    """What makes two crashes the same: kind, words, and the innermost line of the broker's."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if "/broker/" in each.filename] or frames
    return f"{type(error).__name__}: {error} at {ours[-1].filename}:{ours[-1].lineno}"


def crash_of(steps: list[Step], *, is_small: bool) -> str | None:
    try:
        with bounded_time():
            execute_steps(steps, is_small=is_small)
    except Exception as error:  # noqa: BLE001 - any is what is looked for
        return place_of(error)
    return None


def shortened(steps: list[Step], *, is_small: bool) -> list[Step]:
    """Fewer steps that end at the same place."""
    wanted = crash_of(steps, is_small=is_small)
    size = max(len(steps) // 2, 1)
    while size:
        start = 0
        while start < len(steps):
            fewer = steps[:start] + steps[start + size :]
            if crash_of(fewer, is_small=is_small) == wanted:
                steps = fewer
            else:
                start += size
        size //= 2
    return steps


def show(seed: int, number: int) -> None:
    """The traceback of one execution, and the shortest way to it."""
    try:
        with bounded_time():
            execute(seed, number)
    except Exception:  # noqa: BLE001 - any is what is looked for
        traceback.print_exc(file=sys.stdout)
    else:
        print(f"execution {number} of seed {seed}: nothing wrong")
        return
    is_small = number % 5 != 0
    for step in shortened(steps_of(seed, number), is_small=is_small):
        text = str(step)
        print(text if len(text) < LONGEST_LINE else f"{text[:LONGEST_LINE]}...")


def left_over() -> int:
    """Objects of the broker that are still there when no world is."""
    gc.collect()
    return sum(isinstance(each, Session | Connection | Message) for each in gc.get_objects())


def fuzz(seed: int, minutes: float, coverage: Coverage) -> Result:
    """CPU minutes, so that two runs on machines of one speed do the same."""
    started_at, told_minutes = time.process_time(), 0
    result, until = Result(), started_at + minutes * 60
    while time.process_time() < until and len(result.crashes) < MOST_CRASHES:
        if time.process_time() > started_at + 60 * (told_minutes + 1):
            told_minutes += 1
            print(f"{told_minutes} minutes: {result.executions} executions", flush=True)
        number = result.executions
        result.executions += 1
        try:
            with coverage if number < COUNTED else bounded_time():
                execute(seed, number)
            if number % BETWEEN_LEAK_CHECKS == 0:
                require(not left_over(), "no object is left")
        except Exception as error:  # noqa: BLE001 - any is what is looked for
            if result.note(number, error):
                print(f"crash: {place_of(error)}")
                print(f"  scripts/fuzz --seed {seed} --only {number}", flush=True)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="of CPU time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of an execution")
    arguments = parser.parse_args()
    if arguments.only is not None:
        show(arguments.seed, arguments.only)
        return 0
    coverage = Coverage()
    result = fuzz(arguments.seed, arguments.minutes, coverage)
    for name, reached, lines in coverage.table():
        print(f"{name:28} {reached:4} of {lines:4} lines")
    print(
        f"seed {arguments.seed}: {result.executions} executions, "
        f"{len(result.crashes)} crashes; the first {COUNTED} reach {coverage.total()}"
    )
    return bool(result.crashes)


if __name__ == "__main__":
    sys.exit(main())
