"""The engines side by side: `python -m benchmarks.broker`.

Every figure is taken from each engine in turn, and the median of the rounds is shown; the ratio is
the median of the rounds' ratios, with their range. On a busy machine only ratios say something.
"""

import argparse
import asyncio
import resource
import sys
from collections.abc import Sequence

from rich.console import Console

from benchmarks.broker.contest import measure
from benchmarks.broker.report import Figures, mistakes, table, verdicts
from benchmarks.broker.rows import rows
from benchmarks.broker.soak import soak
from broker.settings import EngineName

ROUNDS, SECONDS = 5, 2.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 1.0
TABLE_WIDTH = 130


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.broker", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows with this in their name")
    parser.add_argument("--amqtt", action="store_true", help="beside amqtt, too")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="churn instead, for so long")
    arguments = parser.parse_args()
    engines = [EngineName.EMBEDDED, EngineName.MOSQUITTO]
    engines += [EngineName.AMQTT] if arguments.amqtt else []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # brokers and load inherit it
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)  # also into a file
    if arguments.soak:
        asyncio.run(soak(arguments.soak, engines, console))
    else:
        asyncio.run(compare(arguments, engines, console))


async def compare(
    arguments: argparse.Namespace, engines: Sequence[EngineName], console: Console
) -> None:
    is_quick = arguments.quick
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if is_quick else (arguments.rounds, SECONDS)
    wanted = [row for row in rows(seconds) if arguments.only in row.name]
    if not wanted:
        sys.exit(f"no row has {arguments.only!r} in its name")
    samples = await measure(wanted, rounds, engines)
    figures = Figures(wanted, samples)
    console.print(table(figures, engines))
    console.print("Where the load generator used nearly a whole core, rates are lower bounds.")
    for line in (*mistakes(samples, engines), *verdicts(figures, engines)):
        console.print(line)


if __name__ == "__main__":
    main()
