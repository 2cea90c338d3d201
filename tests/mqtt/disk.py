"""A broker without sockets and a disk without files: what is synced stays, the rest may not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from broker.admission.access import Access
from broker.connections.connection import Connection
from broker.connections.patient import PatientConnection
from broker.routing.journal import DiskJournal
from broker.routing.router import Router
from broker.settings import BrokerSettings, Persistence
from broker.store.memory import Memory, is_complete
from broker.store.recall import Recall, restate
from tests.mqtt.tools import Hub, settings


def kept_settings(of: BrokerSettings | None = None) -> BrokerSettings:
    return replace(of or settings(), persistence=Persistence.ALL, not_kept=("edge/#",))


@dataclass
class Disk:
    """Files of transactions that are synced, and those that are not yet."""

    files: list[list[bytes]] = field(default_factory=lambda: [[]])
    loose: list[bytes] = field(default_factory=list)

    def memory(self) -> Memory:
        memory = Memory()
        for each in self.files:
            memory.apply_all(each)
        return memory

    def settle(self, count: int) -> None:
        """So many of the loose transactions are on disk now."""
        for each in self.loose[:count]:
            self.files[-1].append(each)
            if is_complete(each):
                del self.files[:-1]
        del self.loose[:count]


class DiskHub(Hub):
    """A Hub that keeps things. `wall` is the clock that goes on while it is down."""

    def __init__(
        self, of: BrokerSettings | None = None, disk: Disk | None = None, wall: float = 1e9
    ) -> None:
        self.now = 1000.0
        self.wall = wall
        self.disk = disk or Disk()
        self.log: list[str] = []
        self.settings = of or kept_settings()
        self.journal = DiskJournal(self.settings, lambda: self.now, lambda: self.wall)
        self.router = Router(self.settings, self.log.append, self.journal)
        self.router.agenda.now = self.now
        self.access = Access(self.settings)
        recall = Recall(self.router, self.journal, self.wall)
        recall.fill(self.disk.memory(), self.access.identity_of)
        self._restating: Iterator[None] | None = None

    def connection(self, wake: Callable[[], None], address: str = "peer:1") -> Connection:
        return PatientConnection(self.router, self.access, address, self.now, wake, self.journal)

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        super().pass_time(seconds)

    def sync(self) -> None:
        """Everything so far is on disk."""
        self.disk.loose += self.journal.drain()
        self.disk.settle(len(self.disk.loose))
        self.journal.reach(self.journal.serial, self.journal.backlog)

    def restate(self, steps: int) -> None:
        """A part of writing everything again, into a new file."""
        if self._restating is None:
            self.sync()
            self.disk.files.append([])
            self._restating = restate(self.router, self.journal)
        for _ in range(steps):
            try:
                next(self._restating)
            except StopIteration:
                self._restating = None
                return

    def after_power_cut(
        self, *, luck: int = 0, away: float = 0.0, of: BrokerSettings | None = None
    ) -> "DiskHub":
        """The broker that starts then. So many transactions were written, by luck, unsynced."""
        self.disk.loose += self.journal.drain()
        self.disk.settle(luck)
        self.disk.loose.clear()
        return DiskHub(of or self.settings, self.disk, self.wall + away)
