"""The back end of docs/clients.md, in a real HAProxy: requests reach the hot node, also after it
was killed, and connections to the last one are ended."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.engines.tools import free_port
from tests.shell.raw_broker import DEADLINE, until
from tests.shell.running import FILE, members
from tests.shell.test_console_port import answers, who_is_hot, with_consoles

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"
HEAD = """\
defaults
    mode http
    option httpclose
    timeout connect 1s
    timeout client 60s
    timeout server 60s

frontend everybody
    bind 127.0.0.1:{port}
    default_backend application

"""


def haproxy() -> str:
    found = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
    if found is None:
        reason = "haproxy is not installed (Debian package haproxy)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not skip this")
        pytest.skip(reason)
    return found


def documented_backend(consoles: dict[str, int], applications: dict[str, int]) -> str:
    """As it stands there, but for addresses and ports: on one machine each node needs its own."""
    (block,) = re.findall(
        r"^```\n(backend application\n.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL
    )
    assert isinstance(block, str)
    assert "check port 8080 " in block
    block = block.replace("check port 8080 ", "check ")
    for name, port in applications.items():
        own = f"server {name} 127.0.0.1:{port} port {consoles[name]}"
        block, count = re.subn(rf"server {name} \S+", own, block)
        assert count == 1
    return block


@contextmanager
def balancer(folder: Path, text: str) -> Iterator[None]:
    file = folder / "haproxy.cfg"
    file.write_text(text)
    subprocess.run([haproxy(), "-c", "-f", file], check=True, capture_output=True)
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([haproxy(), "-db", "-f", file], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE)


@asynccontextmanager
async def application(name: str) -> AsyncIterator[int]:
    """A program beside each node that says whose it is, and keeps a request of /stay open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + name.encode())
        if b"/stay" in head:
            await writer.drain()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_haproxy_follows_the_hot_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with members(tmp_path, FILE) as group:
        consoles = with_consoles(group, monkeypatch)
        first = await who_is_hot(consoles)
        other = "black" if first == "white" else "white"
        await answers(consoles[other], "/standby", 200)
        async with application("white") as white, application("black") as black:
            text = documented_backend(consoles, {"white": white, "black": black})
            with balancer(tmp_path, HEAD.format(port=port) + text):
                # Until its first check HAProxy takes every server for a good one.
                await until(lambda: is_down(tmp_path, other))
                await _reaches(port, first)
                reader, writer = await _stay(port, first)
                group.send(first, signal.SIGKILL)
                await until(lambda: is_down(tmp_path, first))
                await _reaches(port, other)
                await _is_shut(reader)
                writer.close()


async def _stay(port: int, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that this one has answered and does not end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /stay HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(DEADLINE):
        await reader.readuntil(name.encode())
    return reader, writer


async def _is_shut(reader: asyncio.StreamReader) -> None:
    """With its server."""
    async with asyncio.timeout(DEADLINE):
        assert await reader.read() == b""


def is_down(folder: Path, server: str) -> bool:
    return f"Server application/{server} is DOWN" in (folder / "haproxy.log").read_text()


async def _reaches(port: int, name: str) -> None:
    """The first answer that is one: while no server is up there is 503."""
    assert await answers(port, "/", 200) == name.encode()
