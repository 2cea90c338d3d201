"""What a load generator is told, what it finds out, and messages under way between its clients."""

import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from benchmarks.broker.clients import Publisher, Subscriber
from benchmarks.broker.streams import Stream, open_stream

# Seconds without any message after which what is missing is lost.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with the broker at `ports`, process `pid`, for `seconds`."""

    kind: str
    seconds: float
    qos: int = 1
    publishers: int = 1
    subscribers: int = 1
    rate: int = 0
    count: int = 0
    window: int = 500  # messages under way at most
    queue: int = 1000  # messages that wait for one client at most
    persistence: str = "off"
    transports: tuple[str, ...] = ("tcp",)  # one listener each; most clients use the first
    ports: tuple[int, ...] = ()  # of the listeners
    pid: int = 0
    certificates: str = ""  # the file of the CA that signed the broker's
    directory: str = ""  # of the broker's store

    @property
    def is_kept(self) -> bool:
        """Whether subscribers have sessions that the broker must keep on disk."""
        return self.persistence == "all"


@dataclass(frozen=True, slots=True)
class Result:
    """What happened: messages (or connections) per second, latencies in ms, mistakes.

    `busy` is this process's part of a core, `processor` the broker's seconds of one per second.
    `gaps` are places where messages were missing when the next one came; those of them that came
    after all, or again, are `reordered`.
    """

    rate: float = 0.0
    median: float = 0.0
    p99: float = 0.0
    busy: float = 0.0
    processor: float = 0.0
    lost: int = 0
    gaps: int = 0
    reordered: int = 0
    visits: int = 0  # tried, of which some were refused
    refused: int = 0


@dataclass(slots=True)
class Watch:
    """How long something took, and how much of that two processes used a core."""

    elapsed: float = 0.0
    busy: float = 0.0
    processor: float = 0.0


@contextmanager
def watched(job: Job) -> Iterator[Watch]:
    watch, broker = Watch(), psutil.Process(job.pid)
    before, own_before, began_at = broker.cpu_times(), time.process_time(), time.perf_counter()
    yield watch
    after = broker.cpu_times()
    watch.elapsed = time.perf_counter() - began_at
    watch.busy = (time.process_time() - own_before) / watch.elapsed
    used = after.user + after.system - before.user - before.system
    watch.processor = used / watch.elapsed


@dataclass(slots=True)
class Load:
    """Clients between which messages are under way."""

    publishers: list[Publisher]
    subscribers: list[Subscriber]
    copies: int  # of each message; 0: nobody subscribes
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    sent: int = 0
    received: int = 0

    def __post_init__(self) -> None:
        clients: list[Subscriber | Publisher] = [*self.subscribers, *self.publishers]
        for each in clients:
            self.selector.register(each.stream.fileno(), selectors.EVENT_READ, each)

    def take(self, patience: float) -> bool:
        """Take what has come, or wait for it; False if nothing came."""
        ready = self.selector.select(patience)
        for key, _ in ready:
            self.received += key.data.receive()
        return bool(ready)

    def fill(self, window: int) -> None:
        """Send until as much is under way as should be."""
        share = max(1, window // len(self.publishers))
        for publisher in self.publishers:
            free = window - (self.sent - self.received // self.copies)
            if free >= share // 2 + 1:
                self.sent += publisher.send(min(free, share))

    def finish(self, watch: Watch, count: float, *, is_acknowledged: bool) -> Result:
        """Wait for what is under way; what is missing then is lost. `count` came while watched."""
        while self._missing() or (is_acknowledged and self._unanswered()):
            if not self.take(PATIENCE):
                break
        answers_lost = self._unanswered() if is_acknowledged else 0
        return Result(
            rate=count / watch.elapsed,
            busy=watch.busy,
            processor=watch.processor,
            lost=self._missing() + answers_lost,
            gaps=sum(each.gaps for each in self.subscribers),
            reordered=sum(each.reordered for each in self.subscribers),
        )

    def _missing(self) -> int:
        """What came twice makes it negative, and is a mistake as well."""
        return abs(self.sent * self.copies - self.received)

    def _unanswered(self) -> int:
        return self.sent - sum(each.acknowledged for each in self.publishers)


def open_for(job: Job, listener: int = 0) -> Stream:
    return open_stream(job.ports[listener], job.transports[listener], job.certificates)
