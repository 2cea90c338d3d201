"""Clients that misbehave must not hurt the others."""

import asyncio
import random
import socket
from dataclasses import replace

import psutil
import pytest

from broker.client import Client, ClientError, Login, connect_packet, packet
from broker.settings import Limits
from tests.engines.tools import (
    HOST,
    Broker,
    connect,
    next_message,
    open_settings,
    running,
)

MEGABYTE = 1_000_000
GARBAGE_CONNECTIONS = 200


async def test_a_payload_of_a_megabyte(broker: Broker) -> None:
    payload = random.Random(1).randbytes(MEGABYTE)
    client = await connect(broker, "client")
    await client.subscribe("large")
    await client.publish("large", payload)
    assert (await next_message(client)).payload == payload


async def test_a_packet_over_the_limit_closes_its_connection(engine: str, port: int) -> None:
    settings = replace(open_settings(port), limits=Limits(packet_size=10_000))
    async with running(engine, settings) as broker:
        other = await connect(broker, "other")
        await other.subscribe("large")
        greedy = await connect(broker, "greedy")
        with pytest.raises((ClientError, TimeoutError)):
            async with asyncio.timeout(5):
                await greedy.publish("large", bytes(20_000))
        await other.publish("large", b"end")
        assert (await next_message(other)).payload == b"end"


async def test_a_subscriber_that_does_not_read(engine: str, port: int) -> None:
    """It costs the broker no more than its queue, and the others nothing."""
    limits = Limits(queue_bytes=2 * MEGABYTE, send_buffer=2 * MEGABYTE)
    async with running(engine, replace(open_settings(port), limits=limits)) as broker:
        stuck = _deaf_subscriber(port)
        reader = await connect(broker, "reader")
        await reader.subscribe("flood", qos=0)
        writer = await connect(broker, "writer")
        before = psutil.Process(broker.pid).memory_info().rss
        for number in range(600):
            await writer.publish("flood", b"%6d" % number + bytes(MEGABYTE // 10))
            assert int((await next_message(reader)).payload[:6]) == number
        grown = psutil.Process(broker.pid).memory_info().rss - before
        stuck.close()
        assert grown < 25 * MEGABYTE


async def test_connections_that_send_garbage(broker: Broker) -> None:
    source = random.Random(2)
    witness = await connect(broker, "witness")
    await witness.subscribe("alive")
    opened = [socket.create_connection((HOST, broker.port)) for _ in range(GARBAGE_CONNECTIONS)]
    for number, each in enumerate(opened):
        each.setblocking(False)
        each.send(_garbage(source, number))
    newcomer = await connect(broker, "newcomer")
    await newcomer.publish("alive", b"yes")
    assert (await next_message(witness)).payload == b"yes"
    for each in opened:
        each.close()
    await newcomer.publish("alive", b"still")
    assert (await next_message(witness)).payload == b"still"
    assert psutil.Process(broker.pid).is_running()


async def test_a_connection_that_says_nothing_is_closed(engine: str, port: int) -> None:
    settings = replace(open_settings(port), limits=Limits(connect_timeout=0.5))
    async with running(engine, settings):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            async with asyncio.timeout(3):
                assert await reader.read() == b""
        finally:
            writer.close()


async def test_a_taken_over_session_goes_on(broker: Broker) -> None:
    """The new connection has the subscription of the old one, which is closed."""
    old = await _resume(broker, "traveller")
    await old.subscribe("mail")
    new = await _resume(broker, "traveller")
    writer = await connect(broker, "writer")
    async with asyncio.timeout(5):
        await old.closed.wait()
        await writer.publish("mail", b"letter")
        assert (await next_message(new)).payload == b"letter"


async def test_messages_wait_for_a_client_that_is_away(broker: Broker) -> None:
    away = await _resume(broker, "traveller")
    await away.subscribe("mail")
    await away.disconnect()
    writer = await connect(broker, "writer")
    for number in range(10):
        await writer.publish("mail", b"%d" % number)
    back = await _resume(broker, "traveller")
    seen = [(await next_message(back)).payload for _ in range(10)]
    assert seen == [b"%d" % number for number in range(10)]


async def _resume(broker: Broker, name: str) -> Client:
    return await connect(broker, name, clean=False)


def _deaf_subscriber(port: int) -> socket.socket:
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect((HOST, port))
    deaf.sendall(connect_packet(Login("deaf")))
    assert deaf.recv(4)[:1] == b"\x20"
    deaf.sendall(packet(0x82, b"\x00\x01\x00\x05flood\x01"))
    assert deaf.recv(5)[:1] == b"\x90"
    return deaf


def _garbage(source: random.Random, number: int) -> bytes:
    """Noise; noise after a good CONNECT; a CONNECT cut short; a length that never ends."""
    noise = source.randbytes(source.randint(1, 2000))
    good = connect_packet(Login(f"garbage-{number}"))
    shapes = (
        noise,
        good + noise,
        good[: source.randint(1, len(good) - 1)],
        b"\x30\xff\xff\xff\xff\xff",
    )
    return shapes[number % len(shapes)]
