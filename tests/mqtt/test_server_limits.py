"""Limits on real sockets: who is let in, who is read later, and what that costs the others."""

import asyncio
import os
import socket
import sys

import pytest

from broker.admission.entrance import STRANGERS
from broker.admission.refusals import Limit
from broker.connections.connection import TURN
from broker.protocol import packets
from broker.protocol.codec import encode
from broker.protocol.packets import MQTT_5, Connack, Connect, Publish, Subscribe
from broker.protocol.reasons import ReasonCode
from broker.server.server import NICENESS, Server
from broker.settings import Limits
from tests.mqtt.test_server import Raw, cancel, serving, until
from tests.mqtt.tools import settings


def count(server: Server, limit: Limit) -> int:
    return server.router.counters.refusals.counts[limit]


@pytest.mark.parametrize("version", [packets.MQTT_3_1_1, MQTT_5])
async def test_a_full_broker_says_so_and_serves_on(version: int) -> None:
    code = ReasonCode.SERVER_BUSY if version == MQTT_5 else packets.UNAVAILABLE
    async with serving(settings(limits=Limits(connections=2))) as (server, port):
        first, second = await Raw.connect(port, "a"), await Raw.connect(port, "b")
        third = await Raw.open(port)
        third.version = version
        third.send(encode(Connect("c", version=version)))
        answer = await third.read()
        assert isinstance(answer, Connack)
        assert answer.code == code
        assert await third.end() == b""
        first.close()
        await until(lambda: len(server.clients) == 1)
        fourth = await Raw.connect(port, "d")
        assert await fourth.pings()
        assert await second.pings()


async def test_those_that_say_nothing_shut_nobody_out() -> None:
    limits = Limits(connections=10, connect_timeout=60.0)
    async with serving(settings(limits=limits)) as (server, port):
        client = await Raw.connect(port, "client")
        silent = [await Raw.open(port) for _ in range(300)]
        late = await Raw.connect(port, "late")
        assert await client.pings()
        assert await late.pings()
        places = limits.connections + STRANGERS
        await until(lambda: len(server.clients) <= places)
        assert count(server, Limit.CONNECTIONS) == len(silent) + 2 - places
        assert await silent[0].end() == b""


async def test_a_flood_of_the_refused_keeps_no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may read why, but only so many may take their time for it."""
    monkeypatch.setattr("broker.server.client.LINGER", 1000.0)
    async with serving(settings(limits=Limits(connections=1))) as (server, port):
        client = await Raw.connect(port, "client")
        for number in range(3 * STRANGERS):
            refused = await Raw.open(port)
            refused.send(encode(Connect(f"c{number}", version=MQTT_5)))
        await until(lambda: count(server, Limit.CONNECTIONS) == 3 * STRANGERS)
        await until(lambda: len(server.clients) <= STRANGERS + 1)
        assert await client.pings()
    assert server.lingering == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
async def test_checks_of_passwords_leave_the_processor_to_others() -> None:
    before = os.nice(0)
    async with serving() as (server, _):
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(server._checks, os.nice, 0) == min(before + NICENESS, 19)
    assert os.nice(0) == before


async def test_a_client_that_is_too_fast_is_read_later_and_loses_nothing() -> None:
    """More than the kernel holds, so that it is TCP that holds the sender back.

    The limit is so low that a busy machine exceeds it, too.
    """
    limits = Limits(bytes_per_second=2_000_000)
    size, number_of = 20_000, 400
    async with serving(settings(limits=limits)) as (server, port):
        reader = await Raw.connect(port, "reader")
        await reader.subscribe("a", 1)
        fast = await Raw.connect(port, "fast", keep_alive=1)
        sender = fast.writer.get_extra_info("socket")
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        sending = asyncio.create_task(_send_numbered(fast, number_of, size))
        for number in range(1, number_of + 1):
            message = await reader.read()
            assert isinstance(message, Publish)
            assert int(message.payload[-8:]) == number
            reader.send(b"\x40\x02" + message.packet_id.to_bytes(2, "big"))
        await sending
        for number in range(1, number_of + 1):
            assert await fast.read() == packets.Acknowledge(packets.PUBACK, number)
        assert await fast.pings()
        assert count(server, Limit.RATE) > 0
        assert server.router.counters.timed_out == 0


async def _send_numbered(peer: Raw, number_of: int, size: int) -> None:
    for number in range(1, number_of + 1):
        peer.send(encode(Publish("a", b"%0*d" % (size, number), 1, packet_id=number)))
        await peer.writer.drain()


async def test_what_a_held_client_sent_before_it_left_is_handled() -> None:
    limits = Limits(messages_per_second=100)
    async with serving(settings(limits=limits)) as (server, port):
        fast = await Raw.connect(port, "fast")
        fast.send(encode(Publish("a", b"x")) * 300)
        await fast.writer.drain()
        fast.close()
        await until(lambda: server.router.counters.received == 300)
        await until(lambda: not server.clients)
        assert count(server, Limit.RATE) > 0


async def test_what_was_read_of_a_held_client_is_handled_when_it_resets() -> None:
    """The broker notices because it cannot write the acknowledgements."""
    limits = Limits(messages_per_second=TURN)
    async with serving(settings(limits=limits)) as (server, port):
        fast = await Raw.connect(port, "fast")
        number_of = 4 * TURN
        fast.send(encode(Publish("a", b"x", 1, packet_id=1)) * number_of)
        await until(lambda: count(server, Limit.RATE) > 0)
        assert server.router.counters.received < number_of
        fast.reset()
        await until(lambda: not server.clients)
        assert server.router.counters.received == number_of


async def test_a_client_with_a_thousand_subscriptions_gets_its_turns_like_others() -> None:
    """Counted in what it got through meanwhile."""
    async with serving() as (server, port):
        ponger = await Raw.connect(port, "ponger")
        greedy = await Raw.connect(port, "greedy")
        filters = tuple((f"a/{number}/+/#", 1) for number in range(1000))
        greedy.send(encode(Subscribe(1, filters)))
        await greedy.read()
        churn = asyncio.create_task(_subscribe_for_ever(greedy))
        counters = server.router.counters
        sender = await Raw.connect(port, "sender")
        flood = asyncio.create_task(_publish_for_ever(sender))
        await until(lambda: counters.received > 100)
        before, rounds = counters.received, 50
        for _ in range(rounds):
            assert await ponger.pings()
        assert counters.received - before < rounds * TURN * 6
        await cancel(churn, flood)


async def _subscribe_for_ever(peer: Raw) -> None:
    for number in range(1 << 16):
        peer.send(encode(Subscribe(1, ((f"a/{number % 1000}/+/#", number % 3),))))
        await peer.read()


async def _publish_for_ever(peer: Raw) -> None:
    data = encode(Publish("a/1/b", bytes(100))) * 100
    while True:
        peer.send(data)
        await peer.writer.drain()


async def test_an_urgent_message_passes_what_waits_for_a_slow_reader() -> None:
    """Counted in the messages that come before it: those that were on their way already."""
    of = settings(limits=Limits(inflight=20), urgent=("urgent",))
    async with serving(of) as (server, port):
        slow = await Raw.connect(port, "slow")
        slow.send(encode(Subscribe(1, (("#", 1),))))
        await slow.read()
        sender = await Raw.connect(port, "sender")
        for number in range(1, 501):
            sender.send(encode(Publish("bulk", b"", 1, packet_id=number)))
        for _ in range(500):
            await sender.read()
        other = await Raw.connect(port, "other")
        other.send(encode(Publish("urgent", b"now", 1, packet_id=1)))
        await other.read()
        seen: list[str] = []
        while not seen or seen[-1] != "urgent":
            message = await slow.read()
            assert isinstance(message, Publish)
            seen.append(message.topic)
        assert len(seen) <= 21
        assert server.router.counters.dropped == 0


async def test_a_reader_that_reads_loses_nothing_of_a_flood() -> None:
    """Its queue holds 50 messages, the flood is of 5,000 and waits for nothing."""
    of = settings(limits=Limits(queue_messages=50))
    async with serving(of) as (server, port):
        reader, sender = await Raw.connect(port, "reader"), await Raw.connect(port, "sender")
        await reader.subscribe("a", 1)
        sender.send(b"".join(encode(Publish("a", b"%d" % n, 1, packet_id=1)) for n in range(5000)))
        for number in range(5000):
            found = await reader.read()
            assert isinstance(found, Publish)
            assert int(found.payload) == number
            reader.send(encode(packets.Acknowledge(packets.PUBACK, found.packet_id)))
        assert server.router.counters.dropped == 0
        assert count(server, Limit.PACE) > 0
