"""What a contender costs while nothing happens: processor, memory, packets on the wire."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.contenders import NODES, Contender
from benchmarks.idle import Cost, cost


@dataclass(frozen=True, slots=True)
class Traffic:
    """So far, both directions, at one switch port."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Idle:
    """Of the node that holds the role and of the other; memory in MB, the rest per second."""

    contender: str
    node: str
    cpu_percent: float
    rss: float
    pss: float
    packets: float
    bytes: float


def idle_costs(name: str, contender: Contender, seconds: float) -> list[Idle]:
    """Nobody looks meanwhile: neither the probe nor an observer."""
    before = {node: (_cost(contender, node), contender_traffic(contender, node)) for node in NODES}
    began_at = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began_at
    found = []
    for node, (spent, traffic) in before.items():
        now, passed = _cost(contender, node), contender_traffic(contender, node)
        found.append(
            Idle(
                contender=name,
                node="with the role" if node == NODES[0] else "standby",
                cpu_percent=100 * (now.cpu - spent.cpu) / took,
                rss=now.rss,
                pss=now.pss,
                packets=(passed.packets - traffic.packets) / took,
                bytes=(passed.bytes - traffic.bytes) / took,
            )
        )
    return found


def _cost(contender: Contender, node: str) -> Cost:
    costs = (replace(cost(pid), cpu=_cpu(pid)) for pid in contender.family(node))
    return sum(costs, Cost(0, 0, 0))


def _cpu(pid: int) -> float:
    """In nanoseconds from the scheduler: the usual counters are too coarse for so little."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9


def contender_traffic(contender: Contender, node: str) -> Traffic:
    said = contender.lan.switches[0].ip("-s", "-j", "link", "show", f"p-{node}")
    counted = json.loads(said)[0]["stats64"]
    both = [counted[direction] for direction in ("rx", "tx")]
    return Traffic(sum(each["packets"] for each in both), sum(each["bytes"] for each in both))
