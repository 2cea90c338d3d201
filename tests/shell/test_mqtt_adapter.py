"""One connection: whatever a broker sends, it ends that connection at most, and says why."""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge.adapters import mqtt
from edge.adapters.mqtt import (
    Connected,
    Connection,
    ConnectionEvent,
    Disconnected,
    Endpoint,
    Received,
    Refused,
    SubscribedTo,
)
from edge.ports import Message
from tests.engines.tools import free_port
from tests.shell.raw_broker import (
    CONNACK,
    Script,
    packet,
    publish,
    raw_broker,
    suback,
    until,
)

TOPIC = b"edge/RPI/lease"


@asynccontextmanager
async def connection_to(
    script: Script, connect_timeout: float = 5.0
) -> AsyncIterator[tuple[Connection, list[ConnectionEvent]]]:
    events: list[ConnectionEvent] = []
    threads: set[int] = set()

    def note(event: ConnectionEvent) -> None:
        threads.add(threading.get_ident())
        events.append(event)

    async with raw_broker(script) as broker:
        endpoint = Endpoint("127.0.0.1", broker.port, "white", "a password")
        connection = Connection(endpoint, "test", note, connect_timeout=connect_timeout)
        connection.open()
        yield connection, events
        connection.abort()
    assert threads <= {threading.get_ident()}, "events come on the loop"


def is_over(events: list[ConnectionEvent]) -> bool:
    return any(isinstance(each, Refused | Disconnected) for each in events)


def sends(content: bytes, *, stays: bool = False) -> Script:
    """Accept, send this, then close, or stay until the client goes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(CONNACK + content)
        await writer.drain()
        if stays:
            await reader.read()

    return script


async def test_what_a_broker_sends_arrives_in_order() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(CONNACK)
        _, content = await packet(reader)
        writer.write(publish(TOPIC, b"1", retained=True) + suback(content))
        writer.write(publish(TOPIC, b"2"))
        await reader.read()

    async with connection_to(script) as (connection, events):
        await until(lambda: bool(events))
        request = connection.subscribe("edge/#")
        await until(lambda: len(events) >= 4)
    first, second = (Message(TOPIC.decode(), each, qos=0) for each in (b"1", b"2"))
    assert events == [
        Connected(),
        Received(Message(first.topic, b"1", retained=True, qos=0)),
        SubscribedTo(request),
        Received(second),
    ]


async def test_a_port_where_nobody_listens() -> None:
    events: list[ConnectionEvent] = []
    connection = Connection(Endpoint("127.0.0.1", free_port()), "test", events.append)
    connection.open()
    await until(lambda: bool(events))
    assert events == [Refused("Connection refused", authentication=False)]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 80, "bad..name", "\u2603" * 70])
async def test_a_name_that_does_not_resolve(host: str) -> None:
    events: list[ConnectionEvent] = []
    connection = Connection(Endpoint(host, 1883), "test", events.append)
    connection.open()
    await until(lambda: bool(events))
    assert isinstance(events[0], Refused)
    assert not events[0].authentication


async def test_an_ipv6_broker() -> None:
    events: list[ConnectionEvent] = []
    async with raw_broker(sends(b"", stays=True), host="::1") as broker:
        connection = Connection(Endpoint("::1", broker.port), "test", events.append)
        connection.open()
        await until(lambda: bool(events))
        connection.abort()
    assert events == [Connected()]


async def test_a_broker_that_accepts_and_never_answers() -> None:
    async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with connection_to(script, connect_timeout=0.2) as (_, events):
        await until(lambda: bool(events))
    assert [type(each) for each in events] == [Refused]


async def test_a_broker_that_resets_at_once() -> None:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    for _ in range(20):
        async with connection_to(script) as (_, events):
            await until(lambda events=events: bool(events))  # type: ignore[misc]
        assert [type(each) for each in events] == [Refused]


async def test_a_topic_that_is_not_utf8_is_nobodys() -> None:
    script = sends(publish(b"edge/\xff\xfe", b"x") + publish(TOPIC, b"y"), stays=True)
    async with connection_to(script) as (_, events):
        await until(lambda: len(events) >= 3)
    assert [each.message.topic for each in events if isinstance(each, Received)] == [
        "",
        TOPIC.decode(),
    ]


async def test_a_large_message_is_received_and_a_huge_one_ends_the_connection() -> None:
    script = sends(publish(TOPIC, bytes(1_000_000)) + bytes([0x30, 0xFF, 0xFF, 0xFF, 0x7F]))
    async with connection_to(script) as (_, events):
        await until(lambda: is_over(events))
    assert [type(each) for each in events] == [Connected, Received, Disconnected]
    assert str(mqtt.PACKET_MAX) in str(events[-1])


GARBAGE = [random.Random(seed).randbytes(300) for seed in range(60)]
# A valid first byte and length with wrong content gets further than noise does.
GARBAGE += [
    bytes([kind, size]) + random.Random(kind).randbytes(size)
    for kind in range(0, 256, 5)
    for size in (0, 1, 3, 20)
]


async def test_garbage_ends_only_the_connection() -> None:
    """Whatever paho makes of it, nothing is raised on the loop (the fixture would see it)."""
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    for content in GARBAGE:
        async with connection_to(sends(content)) as (_, events):
            await until(lambda events=events: is_over(events))  # type: ignore[misc]
        assert is_over(events[-1:])
    assert problems == []


@pytest.mark.parametrize("answer", [b"\x20\x02\x00\x04", b"\x20\x02\x00\x05"])
async def test_a_refused_password(answer: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(answer)

    async with connection_to(script) as (_, events):
        await until(lambda: bool(events))
    assert isinstance(events[0], Refused)
    assert events[0].authentication
    assert len(events) == 1


@pytest.mark.parametrize("code", [1, 2, 3, 6, 77, 200, 255])
async def test_any_other_refusal(code: int) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(bytes([0x20, 2, 0, code]))

    async with connection_to(script) as (_, events):
        await until(lambda: bool(events))
    assert isinstance(events[0], Refused)
    assert not events[0].authentication


async def test_a_connection_that_is_over_takes_no_orders() -> None:
    async with connection_to(sends(b"")) as (connection, events):
        await until(lambda: is_over(events))
        connection.publish(Message("edge/x", b"x"))
        assert connection.subscribe("edge/#") == 0
        connection.close()
        count = len(events)
        await asyncio.sleep(0)
    assert len(events) == count


async def test_given_up_while_connecting_leaves_no_session_and_no_event() -> None:
    said: list[int] = []

    async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        said.append((await packet(reader))[0] >> 4)
        said.append((await packet(reader))[0] >> 4)

    events: list[ConnectionEvent] = []
    async with raw_broker(script) as broker:
        connection = Connection(Endpoint("127.0.0.1", broker.port), "test", events.append)
        connection.open()
        connection.abort()
        await until(lambda: len(said) == 2)
    assert said == [1, 14], "CONNECT, then DISCONNECT: no will is published"
    assert events == []


def test_a_password_is_not_shown() -> None:
    assert "a password" not in repr(Endpoint("h", 1, "white", "a password"))
