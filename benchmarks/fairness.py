"""How long an urgent message takes while others misbehave: `python -m benchmarks.fairness`.

Each hardship on a fresh embedded broker, in turns with a quiet one: read the ratios.
"""

import argparse
import asyncio
import os
import signal
import socket
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psutil
from rich.console import Console
from rich.table import Table

from broker.client import Client, Login
from broker.engines.embedded import EmbeddedEngine
from broker.settings import Action, BrokerSettings, Limits, Listener, Role, Rule

HOST = "127.0.0.1"
RATE = 100  # urgent messages per second
TABLE_WIDTH = 110
NO_LIMITS = Limits()
GUESTS = 200  # that come and go at a time


@dataclass(frozen=True, slots=True)
class Hardship:
    """`kind` is a load of `benchmarks.fairness_load`, or nothing."""

    name: str
    kind: str = ""
    count: int = 0
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Result:
    latencies: tuple[float, ...]  # ms, sorted
    memory: float  # MB

    def percentile(self, part: float) -> float:
        return self.latencies[min(int(len(self.latencies) * part), len(self.latencies) - 1)]


def hardships(silent: int) -> tuple[Hardship, ...]:
    return (
        Hardship("one client floods", "flood"),
        Hardship(
            "the same, 1,000 messages/s allowed", "flood", 0, Limits(messages_per_second=1000)
        ),
        Hardship("one client makes 1,000 subscriptions anew", "subscribe", 1000),
        Hardship("one client does not read a flood", "read_nothing", 1000),
        Hardship(f"{silent:,} connections say nothing", "say_nothing", silent),
        Hardship("clients come and go without end", "come_and_go", GUESTS),
    )


async def measure(hardship: Hardship, seconds: float) -> Result:
    rules = (Rule(Action.PUBLISH, "#", allow=True), Rule(Action.SUBSCRIBE, "#", allow=True))
    port = _free_port()
    engine = EmbeddedEngine(
        BrokerSettings(
            (Listener(HOST, port),),
            (Role("all", rules),),
            anonymous="all",
            limits=hardship.limits,
            urgent=("urgent",),
            log_clients=False,
        )
    )
    await engine.start()
    try:
        async with _load(hardship, port):
            latencies = await _latencies(port, seconds)
            assert engine.pid
            memory = psutil.Process(engine.pid).memory_info().rss / 1e6
    finally:
        await engine.stop()
    return Result(tuple(sorted(latencies)), memory)


async def _latencies(port: int, seconds: float) -> list[float]:
    """None may be lost, and they come in order."""
    reader = await Client.connect(HOST, port, Login("reader"))
    writer = await Client.connect(HOST, port, Login("writer"))
    await reader.subscribe("urgent")
    latencies = []
    for number in range(int(seconds * RATE)):
        sent_at = time.perf_counter()
        await writer.publish("urgent", b"%d" % number)
        message = await reader.messages.get()
        latencies.append(1000 * (time.perf_counter() - sent_at))
        assert message.payload == b"%d" % number
        await asyncio.sleep(max(0.0, 1 / RATE - (time.perf_counter() - sent_at)))
    await reader.disconnect()
    await writer.disconnect()
    return latencies


@asynccontextmanager
async def _load(hardship: Hardship, port: int) -> AsyncIterator[None]:
    if not hardship.kind:
        yield
        return
    command = (sys.executable, "-m", "benchmarks.fairness_load")
    process = await asyncio.create_subprocess_exec(
        *command, hardship.kind, str(port), str(hardship.count), stdout=PIPE, start_new_session=True
    )
    try:
        assert process.stdout
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def run(rounds: int, seconds: float, silent: int) -> Table:
    table = Table("urgent message, QoS 1", "p50, ms", "p99, ms", "worst, ms", "p50 / quiet", "MB")
    for hardship in hardships(silent):
        found, quiet = [], []
        for _ in range(rounds):
            quiet.append(await measure(Hardship("quiet"), seconds))
            found.append(await measure(hardship, seconds))
        ratio = statistics.median(
            bad.percentile(0.5) / good.percentile(0.5)
            for bad, good in zip(found, quiet, strict=True)
        )
        figures = [
            statistics.median(each.percentile(part) for each in found) for part in (0.5, 0.99)
        ]
        worst = max(each.latencies[-1] for each in found)
        memory = max(each.memory for each in found)
        values = (*figures, worst, ratio, memory)
        table.add_row(hardship.name, *(f"{each:.2f}" for each in values))
    return table


def _median(found: list[Result], part: float) -> float:
    return statistics.median(each.percentile(part) for each in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--silent", type=int, default=10_000, help="connections that say nothing")
    given = parser.parse_args()
    table = asyncio.run(run(given.rounds, given.seconds, given.silent))
    Console(width=TABLE_WIDTH).print(table)


if __name__ == "__main__":
    main()
