"""Storms of requests and faults against the duty with a real guard; what must hold throughout.

`python -m tests.duty.storm --minutes 5 --seed 1`, or `--only 7` for one storm again.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.duty.storm_of_duty import DutyStorm
from tests.duty.storm_of_guard import storm_at_the_pipe

MOST_WRONG = 10


async def storm_of(seed: int, steps: int, interface: str = "") -> list[str]:
    """What went wrong. Every fourth storm is one of orders to the guard alone; every fifth is
    without a fault, so every start must succeed."""
    dice = random.Random(seed)
    if seed % 4 == 0:
        return await storm_at_the_pipe(dice, steps, interface)
    with tempfile.TemporaryDirectory() as folder:
        storm = DutyStorm(dice, Path(folder), interface, has_faults=seed % 5 != 0)
        return await storm.run(steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100, help="of each storm")
    parser.add_argument("--only", type=int, help="the number of one storm")
    parser.add_argument("--interface", default="", help="for an address, if there is one to spare")
    arguments = parser.parse_args()
    if arguments.only is not None:
        logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)d %(message)s")
        found = asyncio.run(storm_of(arguments.only, arguments.steps, arguments.interface))
        print(*found, sep="\n", end="")
        return bool(found)
    logging.disable(logging.ERROR)
    until, number, wrong = time.monotonic() + 60 * arguments.minutes, arguments.seed, 0
    while time.monotonic() < until and wrong < MOST_WRONG:
        found = asyncio.run(storm_of(number, arguments.steps, arguments.interface))
        for each in found:
            print(f"storm {number}: {each}", flush=True)
        wrong += bool(found)
        number += 1
    print(f"{number - arguments.seed} storms, {wrong} of them with something wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
