"""What a node costs while nothing happens: CPU and memory of agent and embedded broker together.

Run as root: python -m benchmarks.idle [--seconds 30]
"""

import argparse
import time
from dataclasses import dataclass

import psutil

from benchmarks.report import print_table, started_group, verdict
from tests.lan.group import Group
from tests.lan.groupfile import GroupFile
from tests.lan.processes import command_line

CPU_GOAL = 3.0
MEMORY_GOAL = 90.0
MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process or of a whole node: CPU seconds so far, memory now."""

    cpu: float
    rss: float
    pss: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu + other.cpu, self.rss + other.rss, self.pss + other.pss)


def cost(pid: int) -> Cost:
    process = psutil.Process(pid)
    times, memory = process.cpu_times(), process.memory_full_info()
    return Cost(times.user + times.system, memory.rss / MEGABYTE, memory.pss / MEGABYTE)


def costs(group: Group) -> dict[tuple[str, int], Cost]:
    return {
        (name, pid): cost(pid)
        for name in group.file.nodes
        for pid in group.processes[name].family()
    }


def row(name: str, part: str, before: Cost, after: Cost, seconds: float) -> list[str]:
    cpu = 100 * (after.cpu - before.cpu) / seconds
    judged = part == "together"
    verdicts = [verdict(cpu, CPU_GOAL), verdict(after.rss, MEMORY_GOAL)] if judged else ["", ""]
    return [name, part, f"{cpu:.2f}", f"{after.rss:.1f}", f"{after.pss:.1f}", *verdicts]


def rows(
    before: dict[tuple[str, int], Cost], after: dict[tuple[str, int], Cost], seconds: float
) -> list[list[str]]:
    made = []
    for name in dict.fromkeys(name for name, _ in before):
        pids = [pid for member, pid in before if member == name]
        for pid in pids:
            part = "broker" if "-m broker" in command_line(pid) else "agent"
            made.append(row(name, part, before[name, pid], after[name, pid], seconds))
        first = sum((before[name, pid] for pid in pids), Cost(0, 0, 0))
        last = sum((after[name, pid] for pid in pids), Cost(0, 0, 0))
        made.append(row(name, "together", first, last, seconds))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--profile", default="normal")
    wanted = parser.parse_args()
    with started_group(GroupFile(profile=wanted.profile)) as group:
        group.observer.stop()  # an observer costs the brokers something too
        before, start = costs(group), time.monotonic()
        time.sleep(wanted.seconds)
        after, seconds = costs(group), time.monotonic() - start
        made = rows(before, after, seconds)
    columns = ["node", "part", "CPU % of a core", "RSS MB", "PSS MB"]
    columns += [f"CPU <= {CPU_GOAL:g} %", f"RSS <= {MEMORY_GOAL:g} MB"]
    print_table(f"idle cost, profile {wanted.profile}, {seconds:.0f} s", columns, made)


if __name__ == "__main__":
    main()
