"""Role changes while nothing is wrong but the load: there must be none.

Run as root: python -m benchmarks.calm [--minutes 10]. Each disturbance lasts that long: a flood
by four publishers at the hot node's broker, 10 % packet loss on the hot node, all cores busy.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from benchmarks.report import print_table, started_group
from tests.lan.group import OUTSIDER, Group
from tests.lan.groupfile import GroupFile
from tests.lan.processes import Process

PUBLISHERS = 4
LOSS_PERCENT = 10
BURNER = ["-c", "while True: pass"]


@contextmanager
def flood(group: Group) -> Iterator[None]:
    """Application messages as fast as four publishers can, at both QoS 0 and QoS 1."""
    target = group.lan.hosts["white"].address
    with ExitStack() as stack:
        for number in range(PUBLISHERS):
            command = [sys.executable, "-m", "benchmarks.flood", target, str(number)]
            stack.enter_context(running(group, OUTSIDER, command))
        yield


@contextmanager
def loss(group: Group) -> Iterator[None]:
    with group.lan.lossy("white", LOSS_PERCENT):
        yield


@contextmanager
def busy_cores(group: Group) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            stack.enter_context(running(group, OUTSIDER, [sys.executable, *BURNER]))
        yield


@contextmanager
def running(group: Group, host: str, command: list[str]) -> Iterator[Process]:
    log = Path(group.folder) / "load.log"
    process = group.lan.hosts[host].start(command, log)
    try:
        yield process
        assert process.is_running(), f"the load ended by itself\n{process.tail()}"
    finally:
        process.kill()


DISTURBANCES: dict[str, Callable[[Group], AbstractContextManager[None]]] = {
    "flood": flood,
    "loss": loss,
    "busy cores": busy_cores,
}


def changes(group: Group) -> int:
    """Changes of the hot node that any broker told, and ends of white's own claim."""
    claims = [claim for name in group.file.nodes for claim in group.claims(name)]
    return len(claims) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--profile", default="normal")
    parser.add_argument("--only", nargs="+", default=list(DISTURBANCES))
    wanted = parser.parse_args()
    rows = []
    for name in wanted.only:
        with started_group(GroupFile(profile=wanted.profile, anonymous="operate")) as group:
            with DISTURBANCES[name](group):
                time.sleep(wanted.minutes * 60)
            rows.append([name, f"{wanted.minutes:g}", str(changes(group)), "0"])
    print_table("role changes", ["disturbance", "minutes", "changes", "goal"], rows)
    raise SystemExit(any(row[2] != "0" for row in rows))


if __name__ == "__main__":
    main()
