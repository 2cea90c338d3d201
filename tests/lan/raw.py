"""Clients that no library would be: raw connections that say whatever a test wants."""

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.lan import mqtt
from tests.lan.deadline import SCALE
from tests.lan.harness import Host

GARBAGE_SIZE = 4096


def dial(source: Host, target: Host, port: int = 1883) -> socket.socket:
    """A TCP connection from one machine of the LAN to another."""
    with ExitStack() as unless_connected:
        connection = unless_connected.enter_context(source.namespace.socket())
        connection.settimeout(10 * SCALE)
        connection.connect((target.address, port))
        unless_connected.pop_all()
    return connection


def login(source: Host, target: Host, name: str) -> socket.socket:
    """An anonymous MQTT client, connected and accepted."""
    with ExitStack() as unless_accepted:
        connection = unless_accepted.enter_context(dial(source, target))
        connection.sendall(mqtt.connect(name))
        answer = connection.recv(4)
        assert answer == b"\x20\x02\x00\x00", answer
        unless_accepted.pop_all()
    return connection


def publish_all(
    source: Host, target: Host, messages: list[tuple[str, bytes]], *, retained: bool = False
) -> None:
    """Publish each with QoS 1 and wait for its acknowledgement, or for being thrown out."""
    for topic, payload in messages:
        name = f"publisher-{random.getrandbits(32):08x}"
        with login(source, target, name) as connection, suppress(ConnectionError):
            connection.sendall(mqtt.publish(topic, payload, retained=retained, number=1))
            connection.recv(4)


@contextmanager
def garbage(source: Host, target: Host, count: int) -> Iterator[None]:
    """Open connections that have sent noise, whole and half packets, and stay open."""
    chance = random.Random(1)  # the same noise in every run
    connections = []
    try:
        for index in range(count):
            connections.append(dial(source, target))
            with suppress(OSError):  # a broker may well have closed it already
                connections[-1].sendall(_noise(chance, index))
        yield
    finally:
        for connection in connections:
            connection.close()


def _noise(chance: random.Random, index: int) -> bytes:
    whole = mqtt.connect(f"noise-{index}")
    kinds = (
        chance.randbytes(GARBAGE_SIZE),
        whole[: len(whole) // 2],
        whole + chance.randbytes(GARBAGE_SIZE),
        whole + b"\x30\xff\xff\xff\x7f",  # a PUBLISH that promises 256 MB
        b"GET / HTTP/1.1\r\n\r\n",
    )
    return kinds[index % len(kinds)]


@contextmanager
def mute_broker(host: Host, port: int = 1883) -> Iterator[None]:
    """Accepts TCP (the kernel does) and never says a word."""
    with host.namespace.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen(64)
        yield
