"""Runs jobs on the engines in turns, each time on a freshly started broker."""

import asyncio
import json
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace

from benchmarks.broker.place import Place
from benchmarks.broker.rows import Row
from benchmarks.broker.streams import HOST
from benchmarks.broker.work import Job, Result
from broker.engines.choice import create_engine
from broker.engines.engine import Engine
from broker.errors import EngineError
from broker.settings import (
    Action,
    BrokerSettings,
    EngineName,
    Limits,
    Listener,
    Persistence,
    Role,
    Rule,
    TlsFiles,
    Transport,
)

LOAD_TIMEOUT = 120.0
CONNECTIONS = 6000


class LoadError(Exception):
    """A load generator ended before its time, and has said why; mostly its broker is gone."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What came to no result, and why."""

    engine: EngineName
    job: Job
    words: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What one engine did in one round."""

    engine: EngineName
    turn: int
    job: Job
    result: Result


async def measure(
    rows: Sequence[Row], rounds: int, engines: Sequence[EngineName], place: Place
) -> tuple[Sample | Failure, ...]:
    """Every job on every engine, so many times."""
    found: list[Sample | Failure] = []
    for turn, job, engine in _turns(rows, rounds, engines):
        sys.stderr.write(f"round {turn + 1}/{rounds}: {described(job)}, {engine}\n")
        try:
            result = await run_job(engine, job, place)
        except (EngineError, LoadError) as error:
            found.append(Failure(engine, job, str(error)))
        else:
            found.append(Sample(engine, turn, job, result))
    return tuple(found)


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


async def run_job(name: EngineName, job: Job, place: Place) -> Result:
    """One job on a fresh broker."""
    async with running(name, job, place) as (_, placed):
        return await run_load(placed, LOAD_TIMEOUT)


@asynccontextmanager
async def running(name: EngineName, job: Job, place: Place) -> AsyncIterator[tuple[Engine, Job]]:
    """A fresh broker, and the job for it. With it ends a load generator that has not ended."""
    with place.store() as directory:
        placed = replace(
            job,
            ports=_free_ports(len(job.transports)),
            certificates=place.tls.authority,
            directory=str(directory),
        )
        engine = create_engine(name, settings(placed, place.tls))
        try:
            await engine.start()
            yield engine, replace(placed, pid=_process_id(engine))
        finally:
            await engine.stop()


async def run_load(job: Job, patience: float) -> Result:
    """The load generator's result, or LoadError."""
    command = [sys.executable, "-m", "benchmarks.broker.load", json.dumps(asdict(job))]
    load = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        async with asyncio.timeout(patience):
            output, _ = await load.communicate()
    except TimeoutError:
        load.kill()
        await load.wait()
        raise LoadError(f"no end of {described(job)} after {patience:g} s") from None
    if load.returncode:
        raise LoadError(f"the load generator failed at {described(job)}")
    return Result(**json.loads(output))


def _process_id(engine: Engine) -> int:
    pid = getattr(engine, "pid", None)
    assert isinstance(pid, int)
    return pid


def settings(job: Job, tls: TlsFiles) -> BrokerSettings:
    """Everybody may do everything, and many may come."""
    rules = tuple(Rule(action, "#", allow=True) for action in Action)
    listeners = tuple(
        Listener(HOST, port, Transport(transport))
        for port, transport in zip(job.ports, job.transports, strict=True)
    )
    return BrokerSettings(
        listeners,
        (Role("all", rules),),
        anonymous="all",
        limits=Limits(connections=CONNECTIONS, queue_messages=job.queue),
        tls=tls if any(each.transport.has_tls for each in listeners) else None,
        persistence=Persistence(job.persistence),
        directory=job.directory,
    )


def _free_ports(count: int) -> tuple[int, ...]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in probes:
            each.bind((HOST, 0))
        return tuple(each.getsockname()[1] for each in probes)
