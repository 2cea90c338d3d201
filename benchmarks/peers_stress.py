"""What no contender should do: move the role while nothing is wrong but the load."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.calm import BURNER, LOSS_PERCENT
from benchmarks.contenders import Contender, holder
from benchmarks.probe import Probe, changes, time_with_two
from tests.lan.group import OUTSIDER

# More than there are cores, so that everybody has to wait for one.
BURNERS_PER_CORE = 2


@dataclass(frozen=True, slots=True)
class Stress:
    """How often the client's answers changed their sender, and how long two held the role."""

    contender: str
    load: str
    lasted: float
    changes: int
    two: float


@contextmanager
def busy_cores(contender: Contender, hot: str) -> Iterator[None]:
    del hot  # all nodes share these cores
    log = contender.folder / "load.log"
    with ExitStack() as stack:
        for _ in range(BURNERS_PER_CORE * (os.cpu_count() or 1)):
            burner = contender.client.start([sys.executable, *BURNER], log)
            stack.callback(burner.kill)
        yield


@contextmanager
def loss(contender: Contender, hot: str) -> Iterator[None]:
    with contender.lan.lossy(hot, LOSS_PERCENT):
        yield


LOADS: dict[str, Callable[[Contender, str], AbstractContextManager[None]]] = {
    "busy cores": busy_cores,
    f"{LOSS_PERCENT} % packet loss": loss,
}


def stress(name: str, contender: Contender, probe: Probe, seconds: float) -> list[Stress]:
    found = []
    for load, impose in LOADS.items():
        hot = holder(probe)
        probe.forget()
        with impose(contender, hot):
            time.sleep(seconds)
            answers, asked_at = list(probe.answers), dict(probe.asked_at)
        count, two = changes(answers, OUTSIDER), time_with_two(answers, asked_at)
        found.append(Stress(name, load, seconds, count, two))
    return found
