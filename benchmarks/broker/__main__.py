"""The engines side by side: `python -m benchmarks.broker`.

Every figure is taken from each engine in turn, and the median of the rounds is shown; the ratio is
the median of the rounds' ratios, with their range. On a busy machine only ratios say something.
"""

import argparse
import asyncio
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.broker.contest import measure
from benchmarks.broker.place import Place, make_place
from benchmarks.broker.report import Figures, goals, remarks, table
from benchmarks.broker.rows import rows
from benchmarks.broker.soak import soak
from broker.engines.mosquitto import find_binary
from broker.errors import EngineError
from broker.settings import EngineName

ROUNDS, SECONDS = 5, 2.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.broker", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows with this in their name")
    parser.add_argument("--amqtt", action="store_true", help="beside amqtt, too")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="churn instead, for so long")
    parser.add_argument(
        "--directory", type=Path, default=Path(tempfile.gettempdir()), help="for what is on disk"
    )
    arguments = parser.parse_args()
    engines = [EngineName.EMBEDDED, EngineName.MOSQUITTO]
    engines += [EngineName.AMQTT] if arguments.amqtt else []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # brokers and load inherit it
    with make_place(arguments.directory) as place:
        if arguments.soak:
            sys.exit(0 if asyncio.run(soak(arguments.soak, engines, place)) else 1)
        compare(arguments, engines, place)


def compare(arguments: argparse.Namespace, engines: Sequence[EngineName], place: Place) -> None:
    is_quick = arguments.quick
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if is_quick else (arguments.rounds, SECONDS)
    wanted = [row for row in rows(seconds) if arguments.only in row.name]
    if not wanted:
        sys.exit(f"no row has {arguments.only!r} in its name")
    before = _load_average()
    figures = Figures(wanted, asyncio.run(measure(wanted, rounds, engines, place)))
    loads = f"load {before} before, {_load_average()} after"
    print(f"{_versions()}, {os.cpu_count()} cores, {loads}, {rounds} x {seconds:g} s,", end=" ")
    print(f"stores on {place.file_system}", end="\n\n")
    print(*table(figures, engines), "", *remarks(figures, engines), "", sep="\n")
    print(*goals(figures, engines), sep="\n")


def _versions() -> str:
    python = f"CPython {platform.python_version()}"
    try:
        command = [find_binary(), "-h"]
    except EngineError:
        return f"{python}, no mosquitto"
    helped = subprocess.run(command, capture_output=True, text=True, check=False)
    first_line = helped.stdout.partition("\n")[0]
    return f"{python}, {first_line.replace('version ', '')}"


def _load_average() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
