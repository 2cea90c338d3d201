"""The probe finds every engine fit, but for what is known, and says what an unfit one does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from broker.client import packet, read_packet
from broker.engines.defects import known_defects
from broker.probe import Target, probe
from broker.settings import EngineName
from tests.engines.tools import HOST, Broker, connect, next_message

ALL = ("connect", "order", "snapshot", "loss", "will_after_reset", "will_after_silence")


async def test_probe_agrees_with_the_known_defects(broker: Broker) -> None:
    findings = await probe(Target(HOST, broker.port), "scratch")
    assert tuple(each.id for each in findings) == ALL
    known = known_defects(EngineName(broker.kind)) if broker.kind != "reference" else ()
    unfit = {each.id for each in known} & set(ALL)
    assert {each.id for each in findings if not each.is_ok} == unfit
    late = await connect(broker, "late")
    await late.subscribe("scratch/#")
    await late.publish("scratch/end", b"end")
    assert (await next_message(late)).payload == b"end", "it left something behind"


async def test_probe_of_nobody(port: int) -> None:
    (finding,) = await probe(Target(HOST, port), "scratch")
    assert (finding.id, finding.is_ok) == ("connect", False)
    assert str(port) in finding.sentence


async def test_probe_of_a_listener_that_never_answers(port: int) -> None:
    async with _server(port, _swallow):
        (finding,) = await probe(Target(HOST, port), "scratch")
    assert (finding.id, finding.is_ok) == ("connect", False)


async def test_probe_of_a_listener_that_is_no_broker(port: int) -> None:
    async with _server(port, _talk_http):
        (finding,) = await probe(Target(HOST, port), "scratch")
    assert (finding.id, finding.is_ok) == ("connect", False)


async def test_probe_of_a_broker_that_keeps_no_promise(port: int) -> None:
    async with _server(port, Careless().serve):
        findings = await probe(Target(HOST, port), "scratch")
    assert {each.id for each in findings if not each.is_ok} == {
        "order",
        "snapshot",
        "will_after_reset",
        "will_after_silence",
    }


class Careless:
    """Acknowledges all, retains nothing, forgets wills, and swaps messages for some subscribers."""

    def __init__(self) -> None:
        self._subscribers: dict[bytes, list[Subscriber]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(bytes((0x20, 2, 0, 0)))
        while True:
            first, body = await read_packet(reader)
            self._answer(writer, first, body)

    def _answer(self, writer: asyncio.StreamWriter, first: int, body: bytes) -> None:
        if first >> 4 == 8:
            others = self._subscribers.setdefault(body[2:-1], [])
            others.append(Subscriber(writer, swaps=len(others) % 2 == 1))
            writer.write(packet(0x90, body[:2] + b"\x01"))
        elif first >> 4 == 3:
            end = 2 + int.from_bytes(body[:2], "big")
            writer.write(packet(0x40, body[end : end + 2]))
            for each in self._subscribers.get(body[:end], []):
                each.deliver(packet(0x30, body[:end] + body[end + 2 :]))


class Subscriber:
    def __init__(self, writer: asyncio.StreamWriter, *, swaps: bool) -> None:
        self._writer = writer
        self._swaps = swaps
        self._held = b""

    def deliver(self, message: bytes) -> None:
        if self._swaps and not self._held:
            self._held = message
        else:
            self._writer.write(message + self._held)
            self._held = b""


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _swallow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _talk_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


@asynccontextmanager
async def _server(port: int, serve: Serve) -> AsyncIterator[None]:
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                await serve(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_server(accept, HOST, port)
    try:
        yield
    finally:
        server.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
