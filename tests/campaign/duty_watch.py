"""Who has the virtual address, as the kernels say it: every node's is asked in turn, some hundred
times a second, over a socket of its own in the node's namespace. No node takes part in it."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from edge.duty.guard.netlink import Kernel, parse
from tests.campaign.history import Suffered
from tests.lan.namespaces import Namespace

ROUND = 0.002


@dataclass(frozen=True, slots=True)
class Both:
    """Two nodes had the address at one time, from the first round that saw it to the last."""

    nodes: tuple[str, ...]
    began_at: float
    ended_at: float


@dataclass(slots=True)
class DutyWatch:
    """`holders` are the changes: since when which nodes have the address."""

    address: bytes
    kernels: dict[str, Kernel]
    rounds: int = 0
    slowest: float = 0.0
    holders: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)

    def look(self) -> None:
        """One round. Two count only if the first one still has it after the second was asked."""
        began_at = time.monotonic()
        held = [name for name in self.kernels if self._has(name)]
        if len(held) > 1:
            held = [name for name in held if self._has(name)]
        if not self.holders or self.holders[-1][1] != tuple(held):
            self.holders.append((began_at, tuple(held)))
        self.rounds += 1
        self.slowest = max(self.slowest, time.monotonic() - began_at)

    def _has(self, name: str) -> bool:
        return any(each.packed == self.address for each in self.kernels[name].addresses())

    def overlaps(self) -> list[Both]:
        ends = [at for at, _ in self.holders[1:]] + [time.monotonic()]
        spans = zip(self.holders, ends, strict=True)
        return [Both(nodes, at, end) for (at, nodes), end in spans if len(nodes) > 1]

    def moves(self) -> int:
        """How often the address came to another node than the one that had it before."""
        owners = [nodes[0] for _, nodes in self.holders if nodes]
        return sum(one != other for one, other in pairwise(owners))

    def lines(self, faults: Iterable[Suffered], begun_at: float) -> list[str]:
        """For the report."""
        found = self.overlaps()
        return [
            "## The virtual address, seen from outside",
            "",
            f"{self.rounds} rounds, the slowest {self.slowest * 1000:.1f} ms; "
            f"{len(list(faults))} faults; the address moved {self.moves()} times; "
            f"two nodes had it {len(found)} times.",
            "",
            *(
                f"- {each.began_at - begun_at:8.3f} s: {' and '.join(each.nodes)} for "
                f"{(each.ended_at - each.began_at) * 1000:.1f} ms"
                for each in found
            ),
        ]


@contextmanager
def watching(address: str, nodes: dict[str, Namespace]) -> Iterator[DutyWatch]:
    """Look for as long as the block lasts."""
    kernels = {}
    for name, namespace in nodes.items():
        with namespace.entered():
            kernels[name] = Kernel()
    watch, is_over = DutyWatch(parse(address)[0], kernels), threading.Event()

    def run() -> None:
        while not is_over.wait(ROUND):
            watch.look()

    thread = threading.Thread(target=run, name="duty watch")
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()
        for kernel in kernels.values():
            kernel.close()
