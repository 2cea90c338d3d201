"""How long nobody is hot: from the fault to the survivor's word, seen by an outside subscriber.

Run as root: python -m benchmarks.failover [--runs 20] [--profiles normal fast] [--faults crash ...]
The goals stand beside the figures; a moment of two hot nodes fails the whole run.
"""

import argparse
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.report import median, milliseconds, print_table, started_group, verdict
from tests.lan.group import OUTSIDE, OUTSIDER, Group
from tests.lan.groupfile import GROUP, GroupFile
from tests.lan.mqtt import publish
from tests.lan.observer import Delivered
from tests.lan.raw import login

GOALS = {
    ("crash", "normal"): 0.20,
    ("crash", "fast"): 0.12,
    ("cable", "normal"): 1.3,
    ("cable", "fast"): 0.36,
    ("power", "normal"): 1.3,
    ("power", "fast"): 0.36,
    ("planned", "normal"): 0.10,
    ("planned", "fast"): 0.10,
}
STEPS = ("detect_ms", "elect_ms", "duty_ms", "total_ms")
# A fault may fall anywhere between two heartbeats.
PHASE = 0.3


@dataclass(frozen=True, slots=True)
class Run:
    """One failover: the outside view, the survivor's own account, and the pause between claims."""

    seconds: float
    steps: dict[str, float]
    gap: float

    @property
    def published_after(self) -> float:
        """What the survivor's own account does not hold: its word on the way to the observer.

        Below zero where the survivor counts a silence: its last word was heard before the fault.
        """
        return self.seconds - self.steps.get("total_ms", math.nan) / 1000


def crash(group: Group, hot: str, _: str) -> float:
    return group.kill(hot)


def cable(group: Group, hot: str, _: str) -> float:
    at = time.monotonic()
    group.lan.unplug(hot)
    return at


def power(group: Group, hot: str, _: str) -> float:
    return group.power_off(hot)


def planned(group: Group, hot: str, survivor: str) -> float:
    """The order of a client that is connected already, so that its own start is not measured."""
    hosts = group.lan.hosts
    with login(hosts[OUTSIDER], hosts[hot], "benchmark") as client:
        at = time.monotonic()
        client.sendall(publish(f"edge/{GROUP}/request/switchover", survivor.encode(), number=1))
        client.recv(4)
    return at


FAULTS: dict[str, Callable[[Group, str, str], float]] = {
    "crash": crash,
    "cable": cable,
    "power": power,
    "planned": planned,
}


def repair(group: Group, fault: str, name: str) -> None:
    if fault in {"cable", "power"}:
        group.lan.plug(name)
    if fault in {"crash", "power"}:
        group.start(name)


def first_word(group: Group, survivor: str, after: float) -> float | None:
    """When the survivor's broker first told an outsider that the survivor is hot."""
    wanted = (survivor + OUTSIDE, group.topic("hot"), survivor.encode())
    words = (
        entry.at
        for entry in list(group.observer.entries)
        if isinstance(entry, Delivered)
        and entry.at >= after
        and (entry.via, entry.topic, entry.payload) == wanted
    )
    return next(words, None)


def account(group: Group, survivor: str, after: float) -> dict[str, float]:
    """The survivor's own breakdown, from its event."""
    kinds = ("failover", "switchover")
    events = [event for kind in kinds for event in group.events(kind, survivor)]
    bodies = [e.body for e in events if e.at >= after and e.body.get("to") == survivor]
    found = bodies[0] if bodies else {}
    return {step: float(str(found[step])) for step in STEPS if found.get(step) is not None}


def gap(group: Group, hot: str, survivor: str, after: float) -> float:
    """From the end of the old claim to the start of the new one."""
    new = next(claim.start for claim in group.claims(survivor) if claim.start >= after)
    old = max(group.claims(hot), key=lambda claim: claim.start)
    return new - old.end


def one_run(group: Group, fault: str, hot: str, survivor: str) -> Run:
    time.sleep(random.uniform(0, PHASE))
    after = FAULTS[fault](group, hot, survivor)
    group.wait_for(lambda: first_word(group, survivor, after), f"{survivor} hot after {fault}")
    seconds = (first_word(group, survivor, after) or math.nan) - after
    group.wait_hot(survivor)
    group.wait_for(lambda: group.role(hot) != "hot", f"{hot} is not hot")
    group.wait_for(lambda: account(group, survivor, after), "the survivor's account")
    run = Run(seconds, account(group, survivor, after), gap(group, hot, survivor, after))
    repair(group, fault, hot)
    group.wait_redundant(survivor, hot)
    return run


def measure(group: Group, fault: str, runs: int) -> list[Run]:
    done = []
    for number in range(1, runs + 1):
        hot, survivor = current(group)
        done.append(one_run(group, fault, hot, survivor))
        print(f"\r{group.file.profile} {fault}: {number}/{runs}", end="", flush=True)
    print()
    return done


def current(group: Group) -> tuple[str, str]:
    hot = next(name for name in group.file.nodes if group.role(name) == "hot")
    return hot, next(name for name in group.file.nodes if name != hot)


def row(profile: str, fault: str, runs: list[Run]) -> list[str]:
    times = [run.seconds for run in runs]
    goal = GOALS[fault, profile]
    steps = [f"{median([run.steps.get(step, math.nan) for run in runs]):.0f}" for step in STEPS]
    return [
        profile,
        fault,
        str(len(runs)),
        milliseconds(median(times)),
        milliseconds(max(times)),
        milliseconds(goal),
        f"{verdict(median(times), goal)} / {verdict(max(times), goal)}",
        *steps,
        milliseconds(median([run.published_after for run in runs])),
        milliseconds(min(run.gap for run in runs)),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--profiles", nargs="+", default=["normal", "fast"])
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--engine", default="embedded")
    return parser.parse_args()


def main() -> None:
    wanted = arguments()
    rows, two_hot = [], 0
    for profile in wanted.profiles:
        file = GroupFile(profile=profile, engine=wanted.engine, anonymous="operate")
        with started_group(file) as group:
            rows += [
                row(profile, fault, measure(group, fault, wanted.runs)) for fault in wanted.faults
            ]
            two_hot += len(group.overlaps())
    columns = ["profile", "fault", "runs", "median", "max", "goal", "median / max", "detect"]
    columns += ["elect", "duty", "total", "publish", "least gap"]
    print_table("failover, milliseconds", columns, rows)
    print(f"moments of two hot nodes: {two_hot} (goal 0)")
    raise SystemExit(1 if two_hot else 0)


if __name__ == "__main__":
    main()
