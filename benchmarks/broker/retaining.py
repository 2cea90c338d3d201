"""Retained messages without end, on a few hundred topics; afterwards, are the last ones there?"""

import select
import time
from dataclasses import replace

from benchmarks.broker.clients import CYCLE, PAYLOAD, Publisher, log_in, publication
from benchmarks.broker.streams import CHUNK, Stream
from benchmarks.broker.work import PATIENCE, Job, Load, Result, open_for, watched
from broker.client import packet

# Together they fit into what may wait for one client; CYCLE is a multiple of them.
TOPICS = 500
WINDOW = 500
RETAIN = 0x01
SUBSCRIBE_ALL = packet(0x82, b"\x00\x01\x00\x06kept/#\x00")
SUBACK_SIZE = 5


def measure_retaining(job: Job) -> Result:
    """The rate is that of the acknowledgements."""
    packets = [_publication(number) for number in range(CYCLE)]
    publisher = Publisher(log_in(open_for(job), "publisher"), packets, 1)
    load = Load([publisher], [], copies=0)
    with watched(job) as watch:
        ends_at = time.perf_counter() + job.seconds
        while time.perf_counter() < ends_at:
            free = WINDOW - (load.sent - publisher.acknowledged)
            load.sent += publisher.send(free) if free else 0
            load.take(0.05)
        count = publisher.acknowledged
    result = load.finish(watch, count, is_acknowledged=True)
    newest = range(max(0, load.sent - TOPICS), load.sent)
    expected = {packets[number % CYCLE][-PAYLOAD:] for number in newest}
    found = _retained(log_in(open_for(job), "reader"), len(expected))
    return replace(result, lost=result.lost + len(expected - found))


def _publication(number: int) -> bytes:
    topic = b"\x00\x08kept/%03d" % (number % TOPICS)
    whole = publication(1, topic, number, packet_id=number + 1)
    return bytes((whole[0] | RETAIN,)) + whole[1:]


def _retained(stream: Stream, count: int) -> set[bytes]:
    """The payloads of what is retained; at QoS 0 there is no packet id."""
    stream.sendall(SUBSCRIBE_ALL)
    size = len(_publication(0)) - 2
    data = b""
    while len(data) < SUBACK_SIZE + count * size and select.select([stream], [], [], PATIENCE)[0]:
        data += stream.recv(CHUNK)
    messages = data[SUBACK_SIZE:]
    return {messages[at + size - PAYLOAD : at + size] for at in range(0, len(messages), size)}
