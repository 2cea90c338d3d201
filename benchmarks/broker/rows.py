"""What is measured, in order, and what the embedded engine has to reach."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.broker.work import Job, Result
from broker.settings import EngineName


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: a figure of the result of a job. Several lines may share a job."""

    name: str
    job: Job
    figure: Callable[[Result], float]


@dataclass(frozen=True, slots=True)
class Goal:
    """A row of the embedded engine as a multiple of another one's (or as it is)."""

    row: str
    limit: float
    other: EngineName | None = EngineName.MOSQUITTO
    is_ceiling: bool = False

    def is_reached(self, value: float) -> bool:
        return value <= self.limit if self.is_ceiling else value >= self.limit


QOS_1 = "1 -> 1, QoS 1, messages/s"
P99 = "latency at 1000/s, QoS 1, p99, ms"
FAN_OUT = "1 -> {}, QoS 1, messages in/s"
IDLE = "{:,} idle connections, kB each"
TRANSPORTS = {"TLS": "tls", "websocket": "websocket", "websocket over TLS": "websocket_tls"}
GOALS = (
    Goal(QOS_1, 1.0),
    Goal(QOS_1, 10, EngineName.AMQTT),
    Goal(FAN_OUT.format(50), 1.0),
    Goal(FAN_OUT.format(1000), 1.0),
    Goal(P99, 2.0, is_ceiling=True),
    Goal(IDLE.format(1000), 8, None, is_ceiling=True),
    Goal(IDLE.format(5000), 8, None, is_ceiling=True),
)


def rows(seconds: float) -> Iterator[Row]:
    """Rates take `seconds` each."""
    for qos in (0, 1, 2):
        yield from _rate_and_cost(f"1 -> 1, QoS {qos}", Job("throughput", seconds, qos))
    for name, transport in TRANSPORTS.items():
        # mosquitto 2.0.11 does not start with websocket alone, hence the plain listener beside it;
        # and it drops messages if they come in larger groups over TLS.
        window = 100 if transport.endswith("tls") else 500
        job = Job("throughput", seconds, window=window, transports=(transport, "tcp"))
        yield from _rate_and_cost(f"1 -> 1, QoS 1, {name}", job)
    job = Job("throughput", seconds, persistence="all")
    yield from _rate_and_cost("1 -> 1, QoS 1, on disk", job)
    for name, persistence in (("retained, QoS 1", "off"), ("retained, QoS 1, on disk", "all")):
        job = Job("retaining", seconds, persistence=persistence)
        yield from _rate_and_cost(name, job)
    for subscribers in (50, 1000):
        job = Job("throughput", seconds, subscribers=subscribers)
        yield Row(FAN_OUT.format(subscribers), job, _rate)
        yield Row(f"1 -> {subscribers}, QoS 1, us each", job, _microseconds)
    yield Row("50 -> 1, QoS 1, messages/s", Job("throughput", seconds, publishers=50), _rate)
    job = Job("filters", seconds, count=10_000)
    yield Row("10,000 filters, QoS 1, messages/s", job, _rate)
    for rate in (100, 1000):
        job = Job("latency", seconds, rate=rate)
        yield Row(f"latency at {rate}/s, QoS 1, p50, ms", job, lambda result: result.median)
        yield Row(f"latency at {rate}/s, QoS 1, p99, ms", job, lambda result: result.p99)
    yield Row("connections/s", Job("connections", seconds, count=int(1000 * seconds)), _rate)
    for count in (1000, 5000):
        yield Row(IDLE.format(count), Job("hold", seconds, count=count), _rate)
    job = Job("hold", seconds, count=1000, transports=("tls",))
    yield Row("1,000 idle connections, TLS, kB each", job, _rate)


def _rate_and_cost(name: str, job: Job) -> Iterator[Row]:
    yield Row(f"{name}, messages/s", job, _rate)
    yield Row(f"{name}, us each", job, _microseconds)


def _rate(result: Result) -> float:
    return result.rate


def _microseconds(result: Result) -> float:
    """Of a core, for each message: what a busy machine disturbs least."""
    return 1e6 * result.processor / result.rate
