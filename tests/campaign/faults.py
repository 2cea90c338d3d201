"""How each fault is done to a group on its stage, and undone.

A fault is a context manager that yields once it is in force; leaving it ends the fault.
"""

import os
import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from tests.campaign.plan import Fault, Strike
from tests.campaign.stage import Stage
from tests.lan.group import OUTSIDER
from tests.lan.groupfile import PORT
from tests.lan.namespaces import run

STORM_INTERVAL = 0.1
Done = AbstractContextManager[None]
Deed = Callable[[Stage, Strike, str, str], Done]


def begin(stage: Stage, strike: Strike, target: str, other: str) -> Done:
    """The fault as something to enter now and to leave when it is over."""
    return DEEDS[strike.fault](stage, strike, target, other)


@contextmanager
def _killed(stage: Stage, strike: Strike, target: str, _: str) -> Iterator[None]:
    stage.slay(target, strike.restart_after)
    yield


@contextmanager
def _node_killed(stage: Stage, strike: Strike, target: str, _: str) -> Iterator[None]:
    """Everything in one moment, the broker first: nobody is left to publish a will."""
    _signal(stage.broker_pids(target), signal.SIGKILL)
    stage.slay(target, strike.restart_after)
    yield


@contextmanager
def _broker_killed(stage: Stage, _: Strike, target: str, __: str) -> Iterator[None]:
    _signal(stage.broker_pids(target), signal.SIGKILL)
    yield


@contextmanager
def _storm(stage: Stage, strike: Strike, target: str, _: str) -> Iterator[None]:
    """The first of several deaths; the nemesis brings the others, see `storm_deaths`."""
    stage.slay(target, strike.restart_after)
    yield


def storm_deaths(strike: Strike) -> list[float]:
    """When the node dies again, after its first death: soon after each start."""
    chance = random.Random(strike.number)
    at, found = 0.0, []
    for _ in range(strike.amount - 1):
        at += strike.restart_after + chance.uniform(STORM_INTERVAL, 2.0)
        found.append(at)
    return found


def _frozen(pids_of: Callable[[Stage, str], list[int]]) -> Deed:
    @contextmanager
    def deed(stage: Stage, _: Strike, target: str, __: str) -> Iterator[None]:
        pids = pids_of(stage, target)
        _signal([pid for pid in pids if stage.takes_hold(("frozen", pid))], signal.SIGSTOP)
        yield
        living = set(stage.lan.hosts[target].namespace.pids())
        free = [pid for pid in pids if stage.lets_go(("frozen", pid))]
        _signal([pid for pid in free if pid in living], signal.SIGCONT)

    return deed


def _agent(stage: Stage, target: str) -> list[int]:
    process = stage.processes.get(target)
    return [process.pid] if process else []


def _whole_node(stage: Stage, target: str) -> list[int]:
    process = stage.processes.get(target)
    return process.family() if process else []


def _broker(stage: Stage, target: str) -> list[int]:
    return stage.broker_pids(target)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def _power(stage: Stage, strike: Strike, target: str, _: str) -> Iterator[None]:
    """Silence first, so that no connection is closed politely."""
    with _unplugged(stage, target):
        stage.slay(target, strike.restart_after)
        yield


def _cable(stage: Stage, _: Strike, target: str, __: str) -> Done:
    return _unplugged(stage, target)


@contextmanager
def _unplugged(stage: Stage, target: str) -> Iterator[None]:
    if stage.takes_hold(("cable", target)):
        stage.lan.unplug(target)
    yield
    if stage.lets_go(("cable", target)):
        stage.lan.plug(target)


def _silence(stage: Stage, _: Strike, target: str, __: str) -> Done:
    return stage.lan.silenced(target)


def _cut(stage: Stage, _: Strike, target: str, other: str) -> Done:
    return stage.lan.cut(target, other)


def _one_way_drop(stage: Stage, _: Strike, target: str, other: str) -> Done:
    return stage.lan.cut_one_way(target, other, "drop")


def _one_way_reject(stage: Stage, _: Strike, target: str, other: str) -> Done:
    return stage.lan.cut_one_way(target, other, "reject")


def _loss(stage: Stage, strike: Strike, target: str, _: str) -> Done:
    return stage.lan.lossy(target, strike.amount)


@contextmanager
def _reset(stage: Stage, strike: Strike, target: str, other: str) -> Iterator[None]:
    """One of the target's connections to the other's broker, as a firewall may do."""
    inside = stage.lan.hosts[target].namespace
    towards = ("dst", stage.lan.hosts[other].address, "dport", "=", f"{PORT}")
    listed = run(inside.command("ss", "-tnH", "state", "established", *towards))
    sources = sorted(line.split()[2] for line in listed.splitlines())
    if sources:
        source = random.Random(strike.number).choice(sources)
        run(inside.command("ss", "-K", "-tnH", "src", source))
    yield


@contextmanager
def _disk_full(stage: Stage, _: Strike, target: str, __: str) -> Iterator[None]:
    ballast = stage.disk(target) / "ballast"
    if stage.takes_hold(("disk", target)):
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    yield
    if stage.lets_go(("disk", target)):
        ballast.unlink()


@contextmanager
def _clock(stage: Stage, strike: Strike, target: str, _: str) -> Iterator[None]:
    stage.set_clock(target, strike.amount)
    stage.takes_hold(("clock", target))
    yield
    if stage.lets_go(("clock", target)):
        stage.set_clock(target, 0)


@contextmanager
def _flood(stage: Stage, _: Strike, target: str, __: str) -> Iterator[None]:
    """One publisher with a window, which is a bound: what is not acknowledged holds it back."""
    command = [sys.executable, "-m", "benchmarks.flood", stage.lan.hosts[target].address, "2"]
    log = stage.folder / "flood.log"
    process = stage.lan.hosts[OUTSIDER].start(command, log)
    try:
        yield
    finally:
        process.kill()


DEEDS: dict[Fault, Deed] = {
    Fault.KILL_AGENT: _killed,
    Fault.KILL_NODE: _node_killed,
    Fault.KILL_BROKER: _broker_killed,
    Fault.STORM: _storm,
    Fault.FREEZE_AGENT: _frozen(_agent),
    Fault.FREEZE_NODE: _frozen(_whole_node),
    Fault.FREEZE_BROKER: _frozen(_broker),
    Fault.POWER: _power,
    Fault.CABLE: _cable,
    Fault.SILENCE: _silence,
    Fault.CUT: _cut,
    Fault.ONE_WAY_DROP: _one_way_drop,
    Fault.ONE_WAY_REJECT: _one_way_reject,
    Fault.RESET: _reset,
    Fault.LOSS: _loss,
    Fault.DISK_FULL: _disk_full,
    Fault.CLOCK: _clock,
    Fault.FLOOD: _flood,
}
