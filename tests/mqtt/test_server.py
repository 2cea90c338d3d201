"""The shell on real sockets: what a well-behaved client cannot show."""

import asyncio
import fcntl
import os
import socket
import ssl
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import ClassVar, TypeVar

import pytest

from broker.admission.access import hash_password
from broker.connections.connection import TURN
from broker.errors import EngineError
from broker.protocol import codec, packets
from broker.protocol.codec import decode, encode
from broker.protocol.packets import (
    MQTT_3_1_1,
    Connack,
    Connect,
    Plain,
    Publish,
    Subscribe,
    Will,
)
from broker.server.server import UNSENT_SIZE, Server
from broker.settings import BrokerSettings, Limits, Listener, TlsFiles, Transport, User
from tests.engines.tools import free_port
from tests.lan.deadline import SCALE
from tests.mqtt.tools import settings
from tests.mqtt.transports import open_streams

T = TypeVar("T")
DEADLINE = 20.0 * SCALE
WILL = Will("will", b"gone", 0, retain=False)


@asynccontextmanager
async def serving(of: BrokerSettings | None = None) -> AsyncIterator[tuple[Server, int]]:
    port = free_port()
    listener = Listener("127.0.0.1", port, Raw.transport)
    server = Server(replace(of or settings(), listeners=(listener,), tls=Raw.tls), lambda _: None)
    await server.start()
    try:
        yield server, port
    finally:
        server.stop()
        await Raw.close_all()
        await until(lambda: not server.clients)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


class Raw:
    """A client that sends exactly the bytes it is told to."""

    opened: ClassVar[list["Raw"]] = []
    transport: ClassVar[Transport] = Transport.TCP
    tls: ClassVar[TlsFiles | None] = None
    context: ClassVar[ssl.SSLContext | None] = None

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.version = MQTT_3_1_1

    @classmethod
    async def open(cls, port: int, transport: Transport | None = None) -> "Raw":
        raw = cls(*await open_streams(port, transport or cls.transport, cls.context))
        cls.opened.append(raw)
        return raw

    @classmethod
    async def close_all(cls) -> None:
        """Whatever a test left open, so that nothing reaches into the next one."""
        while cls.opened:
            writer = cls.opened.pop().writer
            with suppress(AttributeError):  # Python 3.11.2, once TLS has ended by itself
                writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    @classmethod
    async def connect(
        cls, port: int, client_id: str, will: Will | None = None, **more: int
    ) -> "Raw":
        raw = await cls.open(port)
        raw.send(encode(Connect(client_id, will=will, keep_alive=more.get("keep_alive", 0))))
        assert await raw.read() == Connack(session_present=False, code=0)
        return raw

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def subscribe(self, topic_filter: str, qos: int = 0) -> None:
        self.send(encode(Subscribe(1, ((topic_filter, qos),))))
        await self.read()

    async def read(self) -> packets.Packet:
        async with asyncio.timeout(DEADLINE):
            data = await self.reader.readexactly(2)
            while data[-1] & 0x80:
                data += await self.reader.readexactly(1)
            bounds = codec.frame(data, 0)
            assert bounds
            body = await self.reader.readexactly(bounds[1] - bounds[0])
            return decode(data + body, self.version)

    async def pings(self) -> bool:
        """Whether the broker still answers."""
        self.send(encode(Plain(packets.PINGREQ)))
        return await self.read() == Plain(packets.PINGRESP)

    async def end(self) -> bytes:
        """Everything up to the broker's closing."""
        async with asyncio.timeout(DEADLINE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def over(transports: Iterable[Transport]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Run a test with `serving` and `Raw` on each of these."""
    each = pytest.mark.parametrize("transport", list(transports), indirect=True, ids=str)

    def decorate(test: Callable[..., T]) -> Callable[..., T]:
        marked: Callable[..., T] = pytest.mark.usefixtures("transport")(each(test))
        return marked

    return decorate


async def test_a_port_in_use_is_one_clear_line() -> None:
    async with serving() as (_, port):
        of = replace(settings(), listeners=(Listener("127.0.0.1", port),))
        with pytest.raises(EngineError) as caught:
            await Server(of, lambda _: None).start()
        assert str(caught.value) == (
            f"port {port} on 127.0.0.1 is already in use by another program; "
            "stop it or choose another port"
        )


async def test_no_listener_stays_open_if_one_cannot_be_had() -> None:
    async with serving() as (_, port):
        free = free_port()
        both = (Listener("127.0.0.1", free), Listener("127.0.0.1", port))
        with pytest.raises(EngineError):
            await Server(replace(settings(), listeners=both), lambda _: None).start()
        with pytest.raises(ConnectionRefusedError):
            await Raw.open(free)


@over(Transport)
async def test_silence_before_the_connect_is_cut() -> None:
    async with serving(settings(limits=Limits(connect_timeout=0.2))) as (server, port):
        silent, dripping = await Raw.open(port), await Raw.open(port)
        dripping.send(encode(Connect("a"))[:4])
        assert await silent.end() == b""
        assert await dripping.end() == b""
        assert server.router.counters.timed_out == 2


@over(Transport)
async def test_bytes_that_drip_do_not_keep_a_client_alive() -> None:
    async with serving() as (server, port):
        watcher = await Raw.connect(port, "watcher")
        await watcher.subscribe("will")
        peer = await Raw.connect(port, "a", WILL, keep_alive=1)
        drip = asyncio.create_task(_drip(peer))
        assert await watcher.read() == Publish("will", b"gone")
        assert server.router.counters.timed_out == 1
        await cancel(drip)


async def cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _drip(peer: Raw) -> None:
    for byte in encode(Publish("a", bytes(1000))):
        peer.send(bytes((byte,)))
        await asyncio.sleep(0.05)


@over(Transport)
async def test_a_password_check_holds_up_nobody_and_loses_nothing() -> None:
    person = User("person", hash_password("secret"), "everything")
    async with serving(settings(users=(person,))) as (_, port):
        peers = [await Raw.open(port) for _ in range(20)]
        for number, peer in enumerate(peers):
            connect = Connect(f"p{number}", username="person", password=b"secret")
            ping = encode(Plain(packets.PINGREQ))
            peer.send(encode(connect) + ping + ping)
        assert await (await Raw.connect(port, "quick")).pings()
        for peer in peers:
            assert await peer.read() == Connack(session_present=False, code=0)
            assert await peer.read() == await peer.read() == Plain(packets.PINGRESP)


@over(Transport)
async def test_a_client_that_goes_during_the_check_leaves_nothing() -> None:
    person = User("person", hash_password("secret"), "everything")
    async with serving(settings(users=(person,))) as (server, port):
        for number in range(10):
            peer = await Raw.open(port)
            peer.send(encode(Connect(f"p{number}", username="person", password=b"wrong")))
            peer.reset()
        await until(lambda: server.router.counters.refused >= 1)
        await until(lambda: not server.clients)
        assert not server.router._sessions


@over(Transport)
async def test_what_was_sent_before_a_reset_is_routed() -> None:
    """The client never reads its acknowledgements and goes: the broker's writing fails first."""
    async with serving() as (server, port):
        server.read_buffer = memoryview(bytearray(4096))  # so that the kernel holds most of it
        watcher = await Raw.connect(port, "watcher")
        await watcher.subscribe("a")
        peer = await Raw.connect(port, "a")
        # One loop runs both sides: the broker sees nothing of this before the reset.
        payloads = [b"%d" % number + bytes(20) for number in range(900)]
        for number, payload in enumerate(payloads, 1):
            peer.send(encode(Publish("a", payload, 1, packet_id=number)))
        while _unsent_bytes(peer.writer.get_extra_info("socket").fileno()):
            pass
        peer.reset()
        for payload in payloads:
            assert await watcher.read() == Publish("a", payload)


def _unsent_bytes(descriptor: int) -> int:
    return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


@over(Transport)
async def test_a_subscriber_that_does_not_read_is_cut_off_with_its_will() -> None:
    limits = Limits(send_buffer=1024 * 1024)
    async with serving(settings(limits=limits)) as (server, port):
        watcher = await Raw.connect(port, "watcher")
        await watcher.subscribe("will")
        deaf = await Raw.connect(port, "deaf", WILL)
        await deaf.subscribe("flood")
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        flood = asyncio.create_task(_flood(port))
        assert await watcher.read() == Publish("will", b"gone")
        await cancel(flood)
        assert server.router.counters.cut_off == 1


@over(Transport)
async def test_a_packet_larger_than_the_bound_reaches_who_reads() -> None:
    """Also one that the socket does not take at once."""
    payload = bytes(4_000_000)
    limits = Limits(send_buffer=100_000, packet_size=5_000_000, queue_bytes=10_000_000)
    async with serving(settings(limits=limits)) as (server, port):
        reader = await Raw.connect(port, "reader")
        await reader.subscribe("a")
        writer = await Raw.connect(port, "writer")
        writer.send(encode(Publish("a", payload)))
        assert await reader.read() == Publish("a", payload)
        assert server.router.counters.cut_off == 0


async def test_what_came_while_the_process_was_stopped_comes_before_the_timers() -> None:
    """SIGCONT ends the wait for sockets without a look at them."""
    async with serving() as (server, port):
        peer = await Raw.connect(port, "client", keep_alive=1)
        (client,) = server.clients
        client.connection._heard_at -= 10.0
        os.write(peer.writer.get_extra_info("socket").fileno(), encode(Plain(packets.PINGREQ)))
        client._on_timer()
        assert await peer.read() == Plain(packets.PINGRESP)


async def _flood(port: int, client_id: str = "flood") -> None:
    peer = await Raw.connect(port, client_id)
    data = encode(Publish("flood", bytes(50_000)))
    try:
        while True:
            peer.send(data)
            await peer.writer.drain()
    finally:
        peer.close()


@over(Transport)
async def test_a_client_that_never_reads_its_acknowledgements_is_cut_off() -> None:
    limits = Limits(send_buffer=100_000)
    async with serving(settings(limits=limits)) as (server, port):
        peer = await Raw.connect(port, "a")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionError):
            await _ping_for_ever(peer)
        assert server.router.counters.cut_off == 1


async def _ping_for_ever(peer: Raw) -> None:
    data = encode(Plain(packets.PINGREQ)) * 10_000
    async with asyncio.timeout(DEADLINE):
        while True:
            peer.send(data)
            await peer.writer.drain()


@over(Transport)
async def test_garbage_from_many_hurts_nobody() -> None:
    async with serving() as (server, port):
        good = await Raw.connect(port, "good")
        await good.subscribe("a")
        bad = [await Raw.open(port) for _ in range(200)]
        for number, each in enumerate(bad):
            each.send(bytes((number * 7 % 256,)) * 300)
        good.send(encode(Publish("a", b"1")))
        assert await good.read() == Publish("a", b"1")
        for each in bad[::10]:
            each.close()
        await until(lambda: server.router.counters.malformed > 0)
        assert await good.pings()


@over(Transport)
async def test_others_are_served_within_turns_of_a_flood() -> None:
    """Counted in what the flood got through meanwhile, not in seconds."""
    async with serving() as (server, port):
        ponger = await Raw.connect(port, "ponger")
        floods = [asyncio.create_task(_flood(port, f"flood {each}")) for each in range(4)]
        counters = server.router.counters
        await until(lambda: counters.received > 100 and counters.connected == 5)
        before, rounds = counters.received, 50
        for _ in range(rounds):
            assert await ponger.pings()
        assert counters.received - before < rounds * 4 * TURN * 6
        await cancel(*floods)


@over(Transport)
async def test_every_connection_sends_at_once() -> None:
    async with serving() as (server, port):
        await Raw.connect(port, "a")
        (client,) = server.clients
        raw = client._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_SIZE


@over(Transport)
async def test_stop_does_not_wait_for_anybody() -> None:
    async with serving() as (server, port):
        peers = [await Raw.connect(port, f"p{number}") for number in range(5)]
        server.stop()
        for peer in peers:
            assert await peer.end() == b""
