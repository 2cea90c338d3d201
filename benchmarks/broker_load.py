"""The load generator of `benchmarks.broker`: `python -m benchmarks.broker_load JOB`, a JSON object.

One process with raw sockets and prepared packets, so that it is never the bottleneck: packets have
one size, and acknowledgements are made by slicing instead of parsing. Prints its result as JSON.
"""

import json
import select
import selectors
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field

from broker.client import Login, connect_packet, packet

HOST = "127.0.0.1"
TOPIC = b"\x00\x04load"
PAYLOAD = 64
BLOCK = 2000  # prepared packets; more than can be under way at once, so packet ids are unique
# Messages under way from publisher to subscriber. A broker takes no more than its window for
# QoS 2 (20, see Limits.inflight) from one client at a time; mosquitto drops what is beyond.
WINDOWS = {0: 500, 1: 500, 2: 20}
CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with the broker at `port`, for `seconds`."""

    kind: str
    port: int
    seconds: float
    qos: int = 0
    publishers: int = 1
    subscribers: int = 1
    rate: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Messages (or connections) per second, or latencies in ms; how busy this process was."""

    rate: float = 0.0
    latencies: list[float] = field(default_factory=list)
    busy: float = 0.0


def measure_throughput(job: Job) -> Result:
    """Keep a window of messages under way for some seconds; how many reached each subscriber."""
    subscribers = [Subscriber(job.port, index, job.qos) for index in range(job.subscribers)]
    publishers = [Publisher(job.port, index, job.qos) for index in range(job.publishers)]
    selector = selectors.DefaultSelector()
    streams: list[Subscriber | Publisher] = [*subscribers, *publishers]
    for each in streams:
        selector.register(each.socket, selectors.EVENT_READ, each)
    window, sent, received = WINDOWS[job.qos], 0, 0
    share = max(1, window // job.publishers)
    started_at, cpu_at = time.perf_counter(), time.process_time()
    ends_at = started_at + job.seconds
    while time.perf_counter() < ends_at:
        for publisher in publishers:
            free = window - (sent - received // job.subscribers)
            if free >= share // 2 + 1:
                sent += publisher.send(min(free, share))
        for key, _ in selector.select(0.05):
            received += key.data.receive()
    elapsed = time.perf_counter() - started_at
    busy = (time.process_time() - cpu_at) / elapsed
    return Result(rate=received / job.subscribers / elapsed, busy=busy)


def measure_latency(job: Job) -> Result:
    """Send at a fixed rate; how long each message took from publisher to subscriber."""
    subscriber, publisher = Subscriber(job.port, 0, job.qos), Publisher(job.port, 0, job.qos)
    total = int(job.rate * job.seconds)
    sent_at: list[float] = []
    latencies: list[float] = []
    started_at, cpu_at = time.perf_counter(), time.process_time()
    gives_up_at = started_at + 3 * job.seconds + 5
    while len(latencies) < total and time.perf_counter() < gives_up_at:
        now = time.perf_counter()
        if len(sent_at) < total and now >= started_at + len(sent_at) / job.rate:
            sent_at.append(now)
            publisher.send(1)
        next_at = started_at + len(sent_at) / job.rate if len(sent_at) < total else now + 0.1
        # select takes microseconds; epoll would round up to a whole millisecond.
        sockets = (subscriber.socket, publisher.socket)
        ready, _, _ = select.select(sockets, (), (), max(0.0, next_at - time.perf_counter()))
        if publisher.socket in ready:
            publisher.receive()
        if subscriber.socket in ready:
            arrived = subscriber.receive()
            now = time.perf_counter()
            latencies += [1000 * (now - sent_at[len(latencies) + n]) for n in range(arrived)]
    busy = (time.process_time() - cpu_at) / (time.perf_counter() - started_at)
    return Result(latencies=latencies, busy=busy)


def measure_connections(job: Job) -> Result:
    """Connect in groups of 50, each answered before the next group starts."""
    started_at, cpu_at = time.perf_counter(), time.process_time()
    done = 0
    while done < job.count and time.perf_counter() < started_at + 10 * job.seconds:
        group = [socket.create_connection((HOST, job.port)) for _ in range(50)]
        for index, each in enumerate(group):
            each.sendall(connect_packet(Login(f"c{done + index}")))
        for each in group:
            _read_exactly(each, 4)
            each.sendall(b"\xe0\x00")
            each.close()
        done += len(group)
    elapsed = time.perf_counter() - started_at
    return Result(rate=done / elapsed, busy=(time.process_time() - cpu_at) / elapsed)


def hold_connections(job: Job) -> Result:
    """Hold many subscribed clients until standard input ends."""
    held = [_open(job.port, f"held-{index}") for index in range(job.count)]
    for index, each in enumerate(held):
        topic = b"held/%04d" % index
        each.sendall(packet(0x82, b"\x00\x01" + struct.pack("!H", len(topic)) + topic + b"\x01"))
        _read_exactly(each, 5)
    print("holding", flush=True)
    sys.stdin.read()
    return Result()


class Subscriber:
    """Counts the messages on the one topic and acknowledges them."""

    def __init__(self, port: int, index: int, qos: int) -> None:
        self._qos = qos
        self._size = len(_publish(qos, 1))
        self._rest = b""
        self.socket = _open(port, f"subscriber-{index}")
        self.socket.sendall(packet(0x82, b"\x00\x01" + TOPIC + bytes((qos,))))
        _read_exactly(self.socket, 5)

    def receive(self) -> int:
        """Take what has come; return the number of messages."""
        data = self._rest + self.socket.recv(CHUNK)
        return self._receive_twice(data) if self._qos == 2 else self._receive_once(data)

    def _receive_once(self, data: bytes) -> int:
        count = len(data) // self._size
        end = count * self._size
        self._rest = data[end:]
        if self._qos and count:
            self.socket.sendall(_replies(0x40, data[:end], 2 + len(TOPIC), self._size))
        return count

    def _receive_twice(self, data: bytes) -> int:
        position, count, replies = 0, 0, bytearray()
        while position < len(data):
            is_message = data[position] >> 4 == 3
            size, at = (self._size, 2 + len(TOPIC)) if is_message else (4, 2)
            if position + size > len(data):
                break
            packet_id = data[position + at : position + at + 2]
            replies += (b"\x50\x02" if is_message else b"\x70\x02") + packet_id
            count += is_message
            position += size
        self._rest = data[position:]
        self.socket.sendall(replies)
        return count


class Publisher:
    """Sends prepared messages; what it is told back matters at QoS 2 only."""

    def __init__(self, port: int, index: int, qos: int) -> None:
        self._qos = qos
        self._size = len(_publish(qos, 1))
        self._block = b"".join(_publish(qos, number + 1) for number in range(BLOCK))
        self._position = 0
        self._rest = b""
        self.socket = _open(port, f"publisher-{index}")

    def send(self, count: int) -> int:
        """Send so many messages, or fewer at the end of the block; return how many."""
        end = min(self._position + count, BLOCK)
        self.socket.sendall(self._block[self._position * self._size : end * self._size])
        count, self._position = end - self._position, end % BLOCK
        return count

    def receive(self) -> int:
        """Go on with the handshake of QoS 2. No messages come here: 0."""
        data = self._rest + self.socket.recv(CHUNK)
        end = len(data) - len(data) % 4
        self._rest = data[end:]
        if self._qos == 2:
            received = b"".join(data[at : at + 4] for at in range(0, end, 4) if data[at] >> 4 == 5)
            self.socket.sendall(_replies(0x62, received, 2, 4))
        return 0


def _replies(first: int, packets: bytes, id_at: int, size: int) -> bytes:
    """An acknowledgement for each of the packets, which have one size."""
    count = len(packets) // size
    replies = bytearray(bytes((first, 2, 0, 0)) * count)
    replies[2::4] = packets[id_at::size]
    replies[3::4] = packets[id_at + 1 :: size]
    return bytes(replies)


def _publish(qos: int, packet_id: int) -> bytes:
    number = struct.pack("!H", packet_id) if qos else b""
    return packet(0x30 | qos << 1, TOPIC + number + bytes(PAYLOAD))


def _open(port: int, name: str) -> socket.socket:
    stream = socket.create_connection((HOST, port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.sendall(connect_packet(Login(name)))
    _read_exactly(stream, 4)
    return stream


def _read_exactly(stream: socket.socket, count: int) -> None:
    while count:
        data = stream.recv(count)
        if not data:
            raise ConnectionError("the broker closed the connection")
        count -= len(data)


KINDS = {
    "throughput": measure_throughput,
    "latency": measure_latency,
    "connections": measure_connections,
    "hold": hold_connections,
}

if __name__ == "__main__":
    job = Job(**json.loads(sys.argv[1]))
    print(json.dumps(asdict(KINDS[job.kind](job))))
