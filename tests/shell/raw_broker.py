"""A listener that answers with exactly the bytes that a test wants, MQTT or not."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.lan.deadline import SCALE

DEADLINE = 60.0 * SCALE
CONNACK = bytes([0x20, 2, 0, 0])

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class RawBroker:
    port: int
    accepted: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)


# A test may have replaced asyncio.sleep to count the pauses of the product.
REAL_SLEEP = asyncio.sleep
# Turns of the loop from a connection's first byte to its script.
TURNS = 5


async def _be_accepted() -> None:
    """Connections that asyncio is just accepting reach their scripts, so that each is closed."""
    tasks = asyncio.all_tasks()
    accepting = [each for each in tasks if "_accept_connection2" in repr(each.get_coro())]
    await asyncio.gather(*accepting, return_exceptions=True)
    for _ in range(TURNS):
        await REAL_SLEEP(0)


@asynccontextmanager
async def raw_broker(script: Script, host: str = "127.0.0.1") -> AsyncIterator[RawBroker]:
    """Runs `script` for every connection; closes a connection when its script is done."""
    broker = RawBroker(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker.accepted += 1
        broker.writers.append(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await script(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        await _be_accepted()
        for writer in broker.writers:
            writer.close()


async def packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next MQTT packet: its first byte and its content."""
    first = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return first, await reader.readexactly(length)


def publish(topic: bytes, payload: bytes, *, retained: bool = False) -> bytes:
    content = len(topic).to_bytes(2, "big") + topic + payload
    return bytes([0x31 if retained else 0x30]) + _length(len(content)) + content


def suback(request: bytes, count: int = 1) -> bytes:
    return bytes([0x90, 2 + count]) + request[:2] + bytes([1] * count)


def _length(value: int) -> bytes:
    digits = []
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (128 if value else 0))
        if not value:
            return bytes(digits)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what only time brings about; a deadline ends a test that has failed already."""
    ends_at = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < ends_at, "the condition did not come true in time"
        await asyncio.sleep(0.005)
