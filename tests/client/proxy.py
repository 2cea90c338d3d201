"""A cable between a client and a broker that a test can hold, cut, or wrap in TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Proxy:
    """While `passes_answers` is cleared, nothing that the broker says reaches a client."""

    port: int = 0
    passes_answers: asyncio.Event = field(default_factory=asyncio.Event)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    is_cut: bool = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self.is_cut = True
        for writer in tuple(self.writers):
            writer.transport.abort()


@asynccontextmanager
async def proxy_to(target: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy()
    proxy.passes_answers.set()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        if not proxy.is_cut:
            with suppress(OSError, asyncio.CancelledError):
                await _join(proxy, reader, writer, target)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _join(
    proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int
) -> None:
    back, forth = await asyncio.open_connection("127.0.0.1", target)
    proxy.writers |= {writer, forth}
    always = asyncio.Event()
    always.set()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, forth, always))
            group.create_task(_pump(back, writer, proxy.passes_answers))
    except* OSError:
        pass
    finally:
        proxy.writers -= {writer, forth}
        forth.transport.abort()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
) -> None:
    while chunk := await reader.read(65536):
        await gate.wait()
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError("the other side is gone")
