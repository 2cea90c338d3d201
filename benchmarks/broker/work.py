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
    """What to do with the broker at `port`, process `pid`, for `seconds`."""

    kind: str
    seconds: float
    qos: int = 1
    publishers: int = 1
    subscribers: int = 1
    rate: int = 0
    count: int = 0
    queue: int = 1000  # messages that wait for one client at most
    port: int = 0
    pid: int = 0
    transport: str = "tcp"
    certificates: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What happened: messages (or connections) per second, latencies in ms, mistakes.

    `busy` is this process's part of a core, `processor` the broker's seconds of one per second.
    """

    rate: float = 0.0
    median: float = 0.0
    p99: float = 0.0
    busy: float = 0.0
    processor: float = 0.0
    lost: int = 0
    misplaced: int = 0


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
    copies: int  # of each message
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

    def finish(self, *, is_acknowledged: bool) -> tuple[int, int]:
        """Wait for what is under way; how many deliveries were lost, how many out of place."""
        while self._missing() or (is_acknowledged and self._unanswered()):
            if not self.take(PATIENCE):
                break
        answers_lost = self._unanswered() if is_acknowledged else 0
        return self._missing() + answers_lost, sum(each.misplaced for each in self.subscribers)

    def _missing(self) -> int:
        """What came twice makes it negative, and is a mistake as well."""
        return abs(self.sent * self.copies - self.received)

    def _unanswered(self) -> int:
        return self.sent - sum(each.acknowledged for each in self.publishers)


def open_for(job: Job) -> Stream:
    return open_stream(job.port, job.transport, job.certificates)
