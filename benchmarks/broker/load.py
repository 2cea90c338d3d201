"""The load generator: `python -m benchmarks.broker.load JOB`, a JSON object; prints its result so.

One process with sockets that are read when they are ready. After the time is up it waits for
everything that is under way: what does not come is lost.
"""

import json
import select
import statistics
import struct
import sys
import time
from dataclasses import asdict

import psutil

from benchmarks.broker.churn import churn
from benchmarks.broker.clients import (
    TOPIC,
    Publisher,
    Subscriber,
    cycle,
    log_in,
    publication,
    subscribe,
)
from benchmarks.broker.retaining import measure_retaining
from benchmarks.broker.streams import Stream, read_exactly
from benchmarks.broker.work import PATIENCE, Job, Load, Result, open_for, watched
from broker.client import Login, connect_packet

# A broker takes no more than its window for QoS 2 (see Limits.inflight) from one client at a time;
# mosquitto drops what is beyond.
QOS_2_WINDOW = 20
# Deliveries under way to many subscribers together, so that the last ones come in time.
MOST_DELIVERIES = 50_000
FILTERS_PER_CLIENT = 100
CONNECTIONS_AT_ONCE = 50


def measure_throughput(job: Job) -> Result:
    """Keep a window of messages under way; how many reached each subscriber."""
    packets = cycle(job.qos)
    subscribers = []
    for index in range(job.subscribers):
        stream = log_in(open_for(job), f"subscriber-{index}", is_kept=job.is_kept)
        subscribe(stream, [TOPIC], job.qos)
        subscribers.append(Subscriber(stream, packets, job.qos, senders=job.publishers))
    publishers = [
        Publisher(log_in(open_for(job), f"publisher-{index}"), cycle(job.qos, index), job.qos)
        for index in range(job.publishers)
    ]
    return _run(job, Load(publishers, subscribers, copies=job.subscribers))


def measure_filters(job: Job) -> Result:
    """Many filters, each message for one of them; half of them have a wildcard."""
    clients = job.count // FILTERS_PER_CLIENT
    everything: list[list[bytes]] = []
    subscribers = []
    for client in range(clients):
        topics = [b"plant/%03d/%03d/value" % (client, n) for n in range(FILTERS_PER_CLIENT)]
        filters = [topic[:-5] + b"+" if n % 2 else topic for n, topic in enumerate(topics)]
        stream = log_in(open_for(job), f"subscriber-{client}")
        subscribe(stream, [_text(each) for each in filters], job.qos)
        packets = [
            publication(job.qos, _text(topic), n, packet_id=1 + n * clients + client)
            for n, topic in enumerate(topics)
        ]
        everything.append(packets)
        subscribers.append(Subscriber(stream, packets, job.qos))
    in_turns = [each[n] for n in range(FILTERS_PER_CLIENT) for each in everything]
    publisher = Publisher(log_in(open_for(job), "publisher"), in_turns, job.qos)
    return _run(job, Load([publisher], subscribers, copies=1))


def _run(job: Job, load: Load) -> Result:
    window = min(job.window, max(MOST_DELIVERIES // load.copies, 20))
    if job.qos == 2:
        window = QOS_2_WINDOW
    with watched(job) as watch:
        ends_at = time.perf_counter() + job.seconds
        while time.perf_counter() < ends_at:
            load.fill(window)
            load.take(0.05)
        count = load.received / load.copies
    return load.finish(watch, count, is_acknowledged=job.qos > 0)


def measure_latency(job: Job) -> Result:
    """Send at a fixed rate; how long each message took from publisher to subscriber."""
    stream = log_in(open_for(job), "subscriber")
    subscribe(stream, [TOPIC], job.qos)
    subscriber = Subscriber(stream, cycle(job.qos), job.qos)
    publisher = Publisher(log_in(open_for(job), "publisher"), cycle(job.qos), job.qos)
    sent_at: list[float] = []
    latencies: list[float] = []
    total = int(job.rate * job.seconds)
    with watched(job) as watch:
        began_at = time.perf_counter()
        gives_up_at = began_at + 3 * job.seconds + PATIENCE
        while len(latencies) < total and time.perf_counter() < gives_up_at:
            now = time.perf_counter()
            if len(sent_at) < total and now >= began_at + len(sent_at) / job.rate:
                sent_at.append(now)
                publisher.send(1)
            next_at = began_at + len(sent_at) / job.rate if len(sent_at) < total else now + 0.1
            _wait((publisher, subscriber), next_at - time.perf_counter(), sent_at, latencies)
    points = statistics.quantiles(latencies, n=100)
    return Result(
        median=points[49],
        p99=points[98],
        busy=watch.busy,
        processor=watch.processor,
        lost=total - len(latencies),
        gaps=subscriber.gaps,
        reordered=subscriber.reordered,
    )


def _wait(
    clients: tuple[Publisher, Subscriber],
    patience: float,
    sent_at: list[float],
    latencies: list[float],
) -> None:
    """Take what comes within this time, which is exact: epoll would round to milliseconds."""
    publisher, subscriber = clients
    descriptors = (publisher.stream.fileno(), subscriber.stream.fileno())
    ready, _, _ = select.select(descriptors, (), (), max(0.0, patience))
    if descriptors[0] in ready:
        publisher.receive()
    if descriptors[1] in ready:
        arrived = subscriber.receive()
        now = time.perf_counter()
        latencies += [1000 * (now - sent_at[len(latencies) + n]) for n in range(arrived)]


def measure_connections(job: Job) -> Result:
    """Connect in groups, each answered before the next one starts."""
    done = 0
    with watched(job) as watch:
        ends_at = time.perf_counter() + 10 * job.seconds
        while done < job.count and time.perf_counter() < ends_at:
            group = [open_for(job) for _ in range(CONNECTIONS_AT_ONCE)]
            for index, each in enumerate(group):
                each.sendall(connect_packet(Login(f"c{done + index}")))
            for each in group:
                read_exactly(each, 4)
                each.sendall(b"\xe0\x00")
                each.close()
            done += len(group)
    return Result(rate=done / watch.elapsed, busy=watch.busy, processor=watch.processor)


def hold_connections(job: Job) -> Result:
    """Connect many clients that then say nothing; the broker's memory for each, in kB."""
    broker = psutil.Process(job.pid)
    before = broker.memory_info().rss
    with watched(job) as watch:
        held = [_hold(job, index) for index in range(job.count)]
    kilobytes = (broker.memory_info().rss - before) / job.count / 1000
    for each in held:
        each.close()
    return Result(rate=kilobytes, busy=watch.busy, processor=watch.processor)


def _hold(job: Job, index: int) -> Stream:
    stream = open_for(job)
    stream.sendall(connect_packet(Login(f"held-{index:05}", keepalive=600)))
    read_exactly(stream, 4)
    subscribe(stream, [_text(b"held/%05d" % index)], 1)
    return stream


def _text(value: bytes) -> bytes:
    return struct.pack("!H", len(value)) + value


KINDS = {
    "throughput": measure_throughput,
    "filters": measure_filters,
    "retaining": measure_retaining,
    "latency": measure_latency,
    "connections": measure_connections,
    "hold": hold_connections,
    "churn": churn,
}


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    print(json.dumps(asdict(KINDS[job.kind](job))))


if __name__ == "__main__":
    main()
