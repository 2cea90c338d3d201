"""What the broker's benchmark says of what it has seen: mistakes, growth, tables."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.broker.clients import Subscriber, cycle
from benchmarks.broker.contest import Failure, Sample, run_job
from benchmarks.broker.place import make_place
from benchmarks.broker.report import Figures, goals, remarks, table
from benchmarks.broker.rows import QOS_1, Row
from benchmarks.broker.soak import MOST_GROWTH, growth
from benchmarks.broker.streams import TRANSPORTS
from benchmarks.broker.work import Job, Result
from broker.settings import EngineName

EMBEDDED, MOSQUITTO = EngineName.EMBEDDED, EngineName.MOSQUITTO
BOTH = (EMBEDDED, MOSQUITTO)


class Prepared:
    """A connection on which these messages of the cycle come, in two parts."""

    def __init__(self, qos: int, numbers: Sequence[int]) -> None:
        packets = cycle(qos)
        whole = b"".join(packets[number % len(packets)] for number in numbers)
        self._parts = [whole[:100], whole[100:]]
        self.sent = b""

    def fileno(self) -> int:
        raise NotImplementedError

    def sendall(self, data: bytes, /) -> None:
        self.sent += data

    def recv(self, _: int, /) -> bytes:
        return self._parts.pop(0)

    def close(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("numbers", "gaps", "reordered"),
    [
        (range(4500), 0, 0),
        ([0, 1, 2, 5, 6], 1, 0),
        ([0, 2, 1, 3], 1, 1),
        ([0, 1, 1, 2], 0, 1),
        ([0, 3, 1, 2, 4], 1, 2),
        ([*range(1999), 2000, 1999, 2001], 1, 1),
    ],
    ids=["whole", "gap", "swapped", "repeated", "late", "over the end of a cycle"],
)
@pytest.mark.parametrize("qos", [0, 1])
def test_gaps_and_what_comes_late(
    qos: int, numbers: Sequence[int], gaps: int, reordered: int
) -> None:
    stream = Prepared(qos, numbers)
    subscriber = Subscriber(stream, cycle(qos), qos)
    assert subscriber.receive() + subscriber.receive() == len(numbers) == subscriber.received
    assert (subscriber.gaps, subscriber.reordered) == (gaps, reordered)
    assert len(stream.sent) == (4 * len(numbers) if qos else 0)


def test_growth_is_that_of_the_second_half() -> None:
    level = [10.0 + number for number in range(50)] + [60.0] * 50
    assert growth(level) == pytest.approx(0)
    assert growth([100.0 + number / 100 for number in range(200)]) == pytest.approx(0.01, rel=0.05)
    noisy = [50.0 + number % 2 for number in range(100)]
    assert abs(growth(noisy)) < MOST_GROWTH


def test_the_tables() -> None:
    plain, secret = Job("throughput", 1.0), Job("throughput", 1.0, transports=("tls",))
    rows = [Row(QOS_1, plain, lambda of: of.rate), Row("TLS", secret, lambda of: of.rate)]
    found: list[Sample | Failure] = [
        *(Sample(EMBEDDED, turn, plain, Result(rate=3000.0 + turn, busy=0.5)) for turn in (0, 1)),
        *(Sample(MOSQUITTO, turn, plain, Result(rate=2000.0, lost=2, gaps=1)) for turn in (0, 1)),
        Sample(EMBEDDED, 0, secret, Result(rate=12.345, busy=0.95)),
        Failure(MOSQUITTO, secret, "no such thing"),
    ]
    figures = Figures(rows, found)
    assert list(table(figures, BOTH)) == [
        "| figure | embedded | mosquitto | / mosquitto (range) |",
        "| --- | --- | --- | --- |",
        f"| {QOS_1} | 3,000 | 2,000 | 1.50 (1.50-1.50) |",
        "| TLS | 12.35 | - | - |",
    ]
    assert list(remarks(figures, BOTH)) == [
        "The load generator used a whole core, rates are lower bounds: TLS.",
        "mosquitto failed at throughput transports=('tls',): no such thing",
        "embedded: 0 lost, 0 gaps, 0 out of order",
        *["mosquitto: 2 lost, 1 gaps, 0 out of order at throughput"] * 2,
    ]
    assert list(goals(figures, BOTH))[2:] == [
        f"| {QOS_1}, as a multiple of mosquitto's: at least 1 | 1.50 | reached |"
    ]


@pytest.mark.parametrize(
    "job",
    [
        Job("throughput", 0.2, transports=("websocket_tls",), persistence="all"),
        Job("retaining", 0.2, transports=("tls",), persistence="all"),
        Job("churn", 0.5, transports=TRANSPORTS, persistence="all"),
    ],
    ids=lambda job: job.kind,
)
async def test_a_load_for_a_moment(job: Job, tmp_path: Path) -> None:
    """Each sends something at once, and all of that arrives."""
    with make_place(tmp_path) as place:
        result = await run_job(EMBEDDED, job, place)
    assert (result.lost, result.gaps, result.reordered, result.refused) == (0, 0, 0, 0)
    assert (result.visits > 0) == (job.kind == "churn")
