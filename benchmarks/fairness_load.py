"""A client that hurts: `python -m benchmarks.fairness_load KIND PORT COUNT`; ends by being killed.

Each says `ready` when it has begun.
"""

import os
import resource
import selectors
import socket
import struct
import sys
import time
from contextlib import suppress

from broker.client import Login, connect_packet, packet

HOST = "127.0.0.1"
BATCH = 100
CHUNK = 1 << 16
# The broker is to be measured, not the scheduler's choice between it and its load.
NICENESS = 10
# Connections that are opened in one go; more would only fill the kernel's queue.
AT_ONCE = 200


def main() -> None:
    kind, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.nice(NICENESS)
    KINDS[kind](port, count)


def flood(port: int, _count: int) -> None:
    """Publish as fast as the broker reads."""
    connection = _connect(port, "flood")
    batch = packet(0x30, _text(b"bulk/flood") + bytes(64)) * BATCH
    _say_ready()
    while True:
        connection.sendall(batch)


def subscribe(port: int, count: int) -> None:
    """Have many subscriptions, and make each of them anew without end."""
    connection = _connect(port, "greedy")
    requests = [
        packet(0x82, struct.pack("!H", 1) + _text(b"bulk/%d/+/#" % number) + b"\1")
        for number in range(count)
    ]
    for number in range(0, count, BATCH):
        connection.sendall(b"".join(requests[number : number + BATCH]))
        connection.recv(CHUNK)
    _say_ready()
    while True:
        for request in requests:
            connection.sendall(request)
            connection.recv(CHUNK)


def read_nothing(port: int, count: int) -> None:
    """Subscribe to a flood, and never read: cut off at last, and back again."""
    _start_flood(port)
    _say_ready()
    while True:
        with _connect(port, "deaf", receive_buffer=4096) as deaf, suppress(OSError):
            deaf.sendall(packet(0x82, struct.pack("!H", 1) + _text(b"bulk/#") + b"\1"))
            for _ in range(count):
                time.sleep(0.05)
                deaf.send(b"\xc0\0")


def say_nothing(port: int, count: int) -> None:
    """Open connections without a word, and again those that the broker closes."""
    wanted = count + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, _hard_limit())))
    selector = selectors.DefaultSelector()
    opened = 0
    while True:
        for _ in range(min(AT_ONCE, count - len(selector.get_map()))):
            selector.register(_open(port), selectors.EVENT_READ)
            opened += 1
        if opened == count:
            _say_ready()
        for key, _ in selector.select(0.01):
            silent = key.fileobj
            assert isinstance(silent, socket.socket)
            selector.unregister(silent)
            silent.close()


def come_and_go(port: int, count: int) -> None:
    """Log on, and leave when the broker has said yes: so many at a time, without end."""
    selector = selectors.DefaultSelector()
    login = connect_packet(Login(""))
    _say_ready()
    while True:
        for _ in range(count - len(selector.get_map())):
            selector.register(_open(port), selectors.EVENT_WRITE)
        for key, events in selector.select():
            guest = key.fileobj
            assert isinstance(guest, socket.socket)
            selector.unregister(guest)
            if events & selectors.EVENT_READ:
                guest.close()
                continue
            with suppress(OSError):
                guest.send(login)
            selector.register(guest, selectors.EVENT_READ)


def _hard_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _start_flood(port: int) -> None:
    if not os.fork():
        flood(port, 0)


def _open(port: int) -> socket.socket:
    silent = socket.socket()
    silent.setblocking(False)  # noqa: FBT003  its only argument
    silent.connect_ex((HOST, port))
    return silent


def _connect(port: int, name: str, receive_buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((HOST, port))
    connection.sendall(connect_packet(Login(name)))
    assert connection.recv(4)[-1:] == b"\0", "refused"
    return connection


def _text(text: bytes) -> bytes:
    return struct.pack("!H", len(text)) + text


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


KINDS = {
    "flood": flood,
    "subscribe": subscribe,
    "read_nothing": read_nothing,
    "say_nothing": say_nothing,
    "come_and_go": come_and_go,
}

if __name__ == "__main__":
    main()
