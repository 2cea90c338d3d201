"""Runs jobs on the engines in turns, each time on a freshly started broker."""

import asyncio
import json
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace

from benchmarks.broker.rows import Row
from benchmarks.broker.streams import HOST
from benchmarks.broker.work import Job, Result
from broker.engines.choice import create_engine
from broker.engines.engine import Engine
from broker.settings import (
    Action,
    BrokerSettings,
    EngineName,
    Limits,
    Listener,
    Role,
    Rule,
)

LOAD_TIMEOUT = 120.0
CONNECTIONS = 6000


@dataclass(frozen=True, slots=True)
class Sample:
    """What one engine did in one round."""

    engine: EngineName
    turn: int
    job: Job
    result: Result


async def measure(
    rows: Sequence[Row], rounds: int, engines: Sequence[EngineName]
) -> tuple[Sample, ...]:
    """Every job on every engine, so many times."""
    samples = []
    for turn, job, engine in _turns(rows, rounds, engines):
        sys.stderr.write(f"round {turn + 1}/{rounds}: {described(job)}, {engine}\n")
        samples.append(Sample(engine, turn, job, await run_job(engine, job)))
    return tuple(samples)


def _turns(
    rows: Sequence[Row], rounds: int, engines: Sequence[EngineName]
) -> Iterator[tuple[int, Job, EngineName]]:
    """Engines stand side by side in time, and another one begins each time."""
    for turn in range(rounds):
        start = turn % len(engines)
        for job in dict.fromkeys(row.job for row in rows):
            for engine in (*engines[start:], *engines[:start]):
                yield turn, job, engine


def described(job: Job) -> str:
    usual = asdict(Job(job.kind, job.seconds))
    return " ".join([job.kind, *(f"{k}={v}" for k, v in asdict(job).items() if v != usual[k])])


async def run_job(name: EngineName, job: Job) -> Result:
    """One job on a fresh broker."""
    async with running(name, job) as placed:
        return await run_load(placed, LOAD_TIMEOUT)


@asynccontextmanager
async def running(name: EngineName, job: Job) -> AsyncIterator[Job]:
    """A fresh broker, and the job for it. With it ends a load generator that has not ended."""
    port = _free_port()
    engine = create_engine(name, settings(port, job.queue))
    await engine.start()
    try:
        yield replace(job, port=port, pid=_process_id(engine))
    finally:
        await engine.stop()


async def run_load(job: Job, patience: float) -> Result:
    """The load generator's result."""
    command = [sys.executable, "-m", "benchmarks.broker.load", json.dumps(asdict(job))]
    load = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    async with asyncio.timeout(patience):
        output, _ = await load.communicate()
    assert load.returncode == 0, "the load generator failed"
    return Result(**json.loads(output))


def _process_id(engine: Engine) -> int:
    pid = getattr(engine, "pid", None)
    assert isinstance(pid, int)
    return pid


def settings(port: int, queue: int) -> BrokerSettings:
    """Everybody may do everything, and many may come."""
    rules = tuple(Rule(action, "#", allow=True) for action in Action)
    roles = (Role("all", rules),)
    limits = Limits(connections=CONNECTIONS, queue_messages=queue)
    return BrokerSettings((Listener(HOST, port),), roles, anonymous="all", limits=limits)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
