"""The embedded broker with and without a disk: `python -m benchmarks.persistence_broker`.

What a message costs the broker that nobody keeps (it must not pay), messages that are kept, what a
start with many retained messages takes, and pings while files are written and rewritten. CPU time
where the machine's other work would otherwise be measured.
"""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.broker.contest import run_load
from benchmarks.broker.streams import HOST
from benchmarks.broker.work import Job
from broker.client import Client, Login, packet
from broker.engines.embedded import EmbeddedEngine
from broker.settings import (
    Action,
    BrokerSettings,
    Limits,
    Listener,
    Persistence,
    Role,
    Rule,
)
from tests.engines.tools import free_port

MANY = 100_000
BLOCK = 1000
ROUNDS, SECONDS = 5, 2.0
LOAD_PATIENCE = 60.0


def settings(directory: Path, persistence: Persistence) -> BrokerSettings:
    rules = (Rule(Action.PUBLISH, "#", allow=True), Rule(Action.SUBSCRIBE, "#", allow=True))
    base = BrokerSettings((Listener(HOST, free_port()),), (Role("all", rules),), anonymous="all")
    limits = Limits(retained_messages=2 * MANY)
    place = str(directory / persistence.value)
    return replace(base, limits=limits, persistence=persistence, directory=place)


async def cost_of_what_nobody_keeps(of: BrokerSettings, qos: int) -> float:
    """Microseconds of the broker's CPU for each message."""
    engine = EmbeddedEngine(of)
    await engine.start()
    try:
        job = Job("throughput", SECONDS, qos, ports=(of.listeners[0].port,), pid=engine.pid or 0)
        result = await run_load(job, LOAD_PATIENCE)
    finally:
        await engine.stop()
    return 1e6 * result.processor / result.rate


def cpu_time(engine: EmbeddedEngine) -> float:
    times = psutil.Process(engine.pid).cpu_times()
    return float(times.user + times.system)


class Writer:
    """Publishes retained messages in blocks and waits for the acknowledgements of each block."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Writer":
        reader, writer = await asyncio.open_connection(HOST, port)
        login = packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + b"\x00\x06writer")
        writer.write(login)
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
        return cls(reader, writer)

    async def publish(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            topic = b"house/%d/sensor/%d" % (number % 100, number % MANY)
            name = len(topic).to_bytes(2, "big") + topic
            body = name + (number % BLOCK + 1).to_bytes(2, "big") + bytes(64)
            self._writer.write(packet(0x33, body))
        await self._reader.readexactly(4 * count)

    def close(self) -> None:
        self._writer.close()


async def retain_many(of: BrokerSettings, rounds: int) -> tuple[float, list[float]]:
    """Messages per second, and round trips of pings of another client meanwhile, in ms."""
    engine = EmbeddedEngine(of)
    await engine.start()
    port = of.listeners[0].port
    writer, other = await Writer.connect(port), await Client.connect(HOST, port, Login("other"))
    trips: list[float] = []
    is_done = asyncio.Event()

    async def ping() -> None:
        while not is_done.is_set():
            sent_at = time.perf_counter()
            await other.ping()
            trips.append(1e3 * (time.perf_counter() - sent_at))
            await asyncio.sleep(0.002)

    pings = asyncio.create_task(ping())
    started_at = time.perf_counter()
    for first in range(0, rounds * MANY, BLOCK):
        await writer.publish(first, BLOCK)
    elapsed = time.perf_counter() - started_at
    is_done.set()
    await pings
    writer.close()
    await other.disconnect()
    await engine.stop()
    return rounds * MANY / elapsed, trips


async def start_time(of: BrokerSettings) -> tuple[float, float]:
    """Until clients can connect: by the clock, and of the CPU."""
    engine = EmbeddedEngine(of)
    started_at = time.perf_counter()
    await engine.start()
    elapsed, used = time.perf_counter() - started_at, cpu_time(engine)
    await engine.stop()
    return elapsed, used


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--directory", type=Path, default=None)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.directory) as name:
        directory = Path(name)
        shown = Table("figure", *(each.value for each in Persistence))
        costs: dict[tuple[int, Persistence], list[float]] = defaultdict(list)
        for _, qos, each in itertools.product(range(ROUNDS), (0, 1), Persistence):
            cost = await cost_of_what_nobody_keeps(settings(directory, each), qos)
            costs[qos, each].append(cost)
        for qos in (0, 1):
            medians = (statistics.median(costs[qos, each]) for each in Persistence)
            row = f"1 -> 1, QoS {qos}, kept by nobody, us of CPU each"
            shown.add_row(row, *(f"{value:.2f}" for value in medians))
        found = {each: await retain_many(settings(directory, each), 3) for each in Persistence}
        shown.add_row(
            "retained at QoS 1, 1,000 under way, messages/s",
            *(f"{rate:,.0f}" for rate, _ in found.values()),
        )
        for label, part in (("p50", 0.5), ("p99", 0.99), ("longest", 1.0)):
            cells = (sorted(trips)[int(part * (len(trips) - 1))] for _, trips in found.values())
            shown.add_row(f"ping meanwhile, {label}, ms", *(f"{each:.1f}" for each in cells))
        starts = [
            min([await start_time(settings(directory, each)) for _ in range(3)])
            for each in Persistence
        ]
        row = f"start with {MANY:,} retained (off: none), best of 3, s"
        shown.add_row(row, *(f"{elapsed:.2f}" for elapsed, _ in starts))
        shown.add_row("the same, of the CPU", *(f"{used:.2f}" for _, used in starts))
    Console(width=110).print(shown)


if __name__ == "__main__":
    asyncio.run(main())
