"""The three engines side by side: `python -m benchmarks.broker [--quick]`.

Every figure is taken from each engine in turn, in rotated order, each time on a freshly started
broker, and the median of the rounds is shown. The load comes from a process of its own.
"""

import argparse
import asyncio
import itertools
import json
import socket
import statistics
import sys
from asyncio.subprocess import PIPE
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.broker_load import HOST, Job, Result
from broker.engine import Engine
from broker.engines import create_engine
from broker.settings import Action, BrokerSettings, EngineName, Listener, Role, Rule

ROUNDS, SECONDS = 3, 3.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 1.0
HELD_CLIENTS = 200
LOAD_TIMEOUT = 60.0
TABLE_WIDTH = 110
EMBEDDED, MOSQUITTO, AMQTT = EngineName.EMBEDDED, EngineName.MOSQUITTO, EngineName.AMQTT


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row. `percentile` picks a latency, 0 stands for a rate; no job stands for memory."""

    name: str
    job: Job
    percentile: int = 0


@dataclass(frozen=True, slots=True)
class Goal:
    sentence: str
    value: float
    limit: float
    is_ceiling: bool = False

    @property
    def is_reached(self) -> bool:
        return self.value <= self.limit if self.is_ceiling else self.value >= self.limit


Figures = dict[tuple[str, EngineName], float]


def measurements(seconds: float) -> Iterator[Measurement]:
    """The rows of the table, in order. Ports are filled in later."""
    for qos in (0, 1, 2):
        yield Measurement(f"1 -> 1, QoS {qos}, messages/s", Job("throughput", 0, seconds, qos))
    fan_out = Job("throughput", 0, seconds, 1, subscribers=50)
    yield Measurement("1 -> 50, QoS 1, messages in/s", fan_out)
    yield Measurement("50 -> 1, QoS 1, messages/s", Job("throughput", 0, seconds, 1, publishers=50))
    for rate in (100, 1000):
        job = Job("latency", 0, seconds, 1, rate=rate)
        for percentile in (50, 99):
            name = f"latency at {rate}/s, QoS 1, p{percentile}, ms"
            yield Measurement(name, job, percentile)
    yield Measurement("connections/s", Job("connections", 0, seconds, count=int(200 * seconds)))
    yield Measurement(
        f"memory with {HELD_CLIENTS} clients, MB", Job("hold", 0, 0, count=HELD_CLIENTS)
    )


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="one short round")
    is_quick = arguments.parse_args().quick
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if is_quick else (ROUNDS, SECONDS)
    rows = list(measurements(seconds))
    figures, busy = await measure(rows, rounds)
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)  # also into a file
    console.print(table(rows, figures, busy))
    console.print("Where the load generator used nearly a whole core, rates are lower bounds.")
    for goal in goals(figures):
        verdict = "reached" if goal.is_reached else "MISSED"
        console.print(f"{verdict:8} {goal.sentence}: {goal.value:.2f}, goal {goal.limit:g}")


async def measure(rows: Sequence[Measurement], rounds: int) -> tuple[Figures, dict[Job, float]]:
    """Every row on every engine, so many times; medians, and the generator's greatest load."""
    samples: dict[tuple[str, EngineName], list[float]] = defaultdict(list)
    busy: dict[Job, float] = defaultdict(float)
    for turn, job, name in _turns(rows, rounds):
        sys.stderr.write(f"round {turn + 1}/{rounds}: {job.kind} {name}\n")
        result = await run_job(name, job)
        busy[job] = max(busy[job], result.busy)
        for row in (each for each in rows if each.job == job):
            samples[row.name, name].append(_figure(row, result))
    return {key: statistics.median(values) for key, values in samples.items()}, busy


def _turns(rows: Sequence[Measurement], rounds: int) -> Iterator[tuple[int, Job, EngineName]]:
    """Each job on each engine in each round; another engine begins each time."""
    engines = list(EngineName)
    jobs = dict.fromkeys(row.job for row in rows)
    for turn, job in itertools.product(range(rounds), jobs):
        for name in (*engines[turn % 3 :], *engines[: turn % 3]):
            yield turn, job, name


async def run_job(name: EngineName, job: Job) -> Result:
    """One job on a fresh broker."""
    port = _free_port()
    engine = create_engine(name, _settings(port))
    await engine.start()
    try:
        described = json.dumps(asdict(job) | {"port": port})
        command = [sys.executable, "-m", "benchmarks.broker_load", described]
        load = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        assert load.stdin is not None
        async with asyncio.timeout(LOAD_TIMEOUT):
            memory = await _memory_while_holding(load, engine) if job.kind == "hold" else 0.0
            load.stdin.close()  # what ends `hold`
            output, _ = await load.communicate()
    finally:
        await engine.stop()  # and with it a load generator that has not ended
    assert load.returncode == 0, f"the load generator failed on {name}"
    result = Result(**json.loads(output.splitlines()[-1]))
    return Result(rate=memory) if job.kind == "hold" else result


async def _memory_while_holding(load: asyncio.subprocess.Process, engine: Engine) -> float:
    assert load.stdout is not None
    assert await load.stdout.readline() == b"holding\n"
    pid = getattr(engine, "pid", None)
    assert isinstance(pid, int)
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def _figure(row: Measurement, result: Result) -> float:
    if not row.percentile:
        return result.rate
    if len(result.latencies) < 2:
        return float("nan")
    return statistics.quantiles(result.latencies, n=100)[row.percentile - 1]


def table(rows: Sequence[Measurement], figures: Figures, busy: dict[Job, float]) -> Table:
    """Figures of the engines, and the embedded one as a multiple of the others."""
    ratios_of = ("/ mosquitto", "/ amqtt")
    shown = Table("figure", *(name.value for name in EngineName), *ratios_of, "generator")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        values = [figures[row.name, name] for name in EngineName]
        ratios = [ratio(figures, row.name, other) for other in (MOSQUITTO, AMQTT)]
        shown.add_row(
            row.name,
            *(f"{value:,.2f}" if value < 100 else f"{value:,.0f}" for value in values),
            *(f"{each:.2f}" for each in ratios),
            f"{100 * busy[row.job]:.0f} %",
        )
    return shown


def goals(figures: Figures) -> tuple[Goal, ...]:
    """What the embedded engine has to reach."""
    qos_1, p99 = "1 -> 1, QoS 1, messages/s", "latency at 1000/s, QoS 1, p99, ms"
    return (
        Goal("QoS 1 rate as a part of mosquitto's", ratio(figures, qos_1, MOSQUITTO), 0.7),
        Goal("p99 at 1,000/s over mosquitto's", ratio(figures, p99, MOSQUITTO), 3, is_ceiling=True),
        Goal("QoS 1 rate over amqtt's", ratio(figures, qos_1, AMQTT), 10),
    )


def ratio(figures: Figures, row: str, other: EngineName) -> float:
    return figures[row, EMBEDDED] / figures[row, other]


def _settings(port: int) -> BrokerSettings:
    rules = (Rule(Action.PUBLISH, "#", True), Rule(Action.SUBSCRIBE, "#", True))  # noqa: FBT003
    return BrokerSettings((Listener(HOST, port),), (Role("all", rules),), anonymous="all")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    asyncio.run(main())
