"""`edge run` as a process: start, stop, and the mistakes and faults that an operator meets."""

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.protocol.codec import encode
from broker.protocol.packets import Connect, Publish, Subscribe
from broker.settings import TlsFiles, Transport
from edge.app.node import _Node
from edge.wire import Topics
from tests.engines.tools import free_port
from tests.mqtt.certificates import Authority
from tests.mqtt.transports import open_streams
from tests.shell.raw_broker import raw_broker, until
from tests.shell.running import ALONE, DEADLINE, Client, Members, children_of, is_alive, members

UNTIL_LINES = ("Traceback", "Task exception", "never retrieved", "internal error")


def is_clean(log: str) -> bool:
    return not any(each in log for each in UNTIL_LINES)


@asynccontextmanager
async def client_of(group: Members, name: str) -> AsyncIterator[Client]:
    """A client as soon as the broker of `name` lets it in."""
    while True:
        client = Client(group.ports[name])
        with suppress(AssertionError):
            await client.open()
            break
        client.close()
        assert group.processes[name].poll() is None, group.log(name)
        await asyncio.sleep(0.05)
    try:
        yield client
    finally:
        client.close()


@asynccontextmanager
async def alone(folder: Path) -> AsyncIterator[tuple[Members, Client]]:
    """One node that is a group by itself, and hot."""
    with members(folder, ALONE) as group:
        group.start("white")
        async with client_of(group, "white") as client:
            await until(lambda: client.last("hot") == b"white")
            yield group, client


async def refusal(group: Members, name: str = "white") -> str:
    """The one line of a process that must end with 1."""
    assert await group.end_of(name) == 1
    lines = group.log(name).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("edge: ")
    return lines[0]


class SlowPath:
    """A way to a broker that takes its time."""

    def __init__(self) -> None:
        self.is_subscribed = True
        self.is_closed = False
        self.take: Callable[[], None] | None = None

    def ask_again(self, _topic_filter: str, then: Callable[[], None]) -> None:
        self.take = then

    def close(self) -> None:
        self.is_closed = True


async def test_no_connection_is_closed_before_every_broker_has_taken_what_came_last() -> None:
    """Else a release can be lost, and the next node waits as if this one had died."""
    paths = [SlowPath(), SlowPath(), SlowPath()]
    parts = SimpleNamespace(
        board=SimpleNamespace(say_good_bye=lambda: None),
        links=dict(enumerate(paths)),
        all_links=tuple(paths),
    )
    node = SimpleNamespace(_topics=Topics("RPI"))
    leaving = asyncio.create_task(_Node._say_good_bye(node, parts))  # type: ignore[arg-type]
    for path in paths:
        await until(lambda path=path: path.take is not None)  # type: ignore[misc]
        assert not any(each.is_closed for each in paths)
        assert path.take is not None
        path.take()
    await leaving
    assert all(each.is_closed for each in paths)


BROKEN = """
import edge.agent
from edge.cli import main
def broken(state, event, now, jitter):
    raise BrokenPipeError(32, "Broken pipe")
edge.agent.step = broken
main()
"""


async def test_a_broken_pipe_inside_is_no_silent_end(tmp_path: Path) -> None:
    """Who parses the command line takes that error for the end of our own standard output."""
    with members(tmp_path, ALONE) as group:
        group.start("white", program=("-c", BROKEN))
        assert await group.end_of("white") == 1
        assert "internal error, RuntimeError: BrokenPipeError" in group.log("white")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    async with alone(tmp_path) as (group, _):
        children = children_of(group.processes["white"].pid)
        assert len(children) == 1
        group.send("white", number)
        assert await group.end_of("white") == 0
    assert not any(is_alive(each) for each in children)
    assert is_clean(group.log("white"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_starts_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    """Each at another moment from the first file that it opens to the moment when it is hot."""
    lock = tmp_path / "state" / "RPI" / "white" / "lock"
    with members(tmp_path, ALONE) as group:
        for pause in (0.0, 0.02, 0.1, 0.3, 0.5):
            lock.unlink(missing_ok=True)
            group.start("white")
            pid = group.processes["white"].pid
            await until(lock.exists)
            await asyncio.sleep(pause)
            children = children_of(pid)
            group.send("white", number)
            assert await group.end_of("white") in {0, 130, -number}, group.log("white")
            assert not any(is_alive(each) for each in children)
        assert is_clean(group.log("white"))


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    async with alone(tmp_path) as (group, _):
        group.send("white", signal.SIGTERM)
        group.send("white", signal.SIGTERM)
        assert await group.end_of("white") == 0


async def test_a_second_process_of_a_node_is_refused(tmp_path: Path) -> None:
    async with alone(tmp_path) as (group, client):
        first = group.processes.pop("white")
        before = (tmp_path / "state" / "RPI" / "white" / "term.json").read_bytes()
        (tmp_path / "white.log").unlink()
        group.start("white")
        assert "runs already" in await refusal(group)
        assert (tmp_path / "state" / "RPI" / "white" / "term.json").read_bytes() == before
        assert first.poll() is None
        assert client.last("hot") == b"white"
        group.processes["white"] = first


async def test_a_port_in_use(tmp_path: Path) -> None:
    async def hold(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_broker(hold) as taken:
        with members(tmp_path, ALONE) as group:
            text = (tmp_path / "edge.toml").read_text()
            text = text.replace(str(group.ports["white"]), str(taken.port))
            (tmp_path / "edge.toml").write_text(text)
            group.start("white")
            assert str(taken.port) in await refusal(group)


def with_tls(folder: Path, files: TlsFiles) -> int:
    """The file with a websocket port with TLS; which port."""
    port = free_port()
    file = folder / "edge.toml"
    tls = f'[broker.tls]\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
    more = f"websocket_tls_port = {port}\n{tls}"
    file.write_text(file.read_text().replace("[access]", f"{more}[access]"))
    return port


async def test_a_websocket_with_tls_is_the_same_broker(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with members(tmp_path, ALONE) as group:
        port = with_tls(tmp_path, authority.files())
        group.start("white")
        async with client_of(group, "white") as client:
            await until(lambda: client.last("hot") == b"white")
        context = authority.client_context()
        reader, writer = await open_streams(port, Transport.WEBSOCKET_TLS, context)
        writer.write(encode(Connect("a")) + encode(Subscribe(1, (("edge/RPI/hot", 0),))))
        expected = encode(Publish("edge/RPI/hot", b"white", retain=True))
        async with asyncio.timeout(DEADLINE):
            assert (await reader.readuntil(expected)).startswith(b"\x20\x02\x00\x00")
        writer.close()


async def test_a_certificate_of_no_use_is_a_mistake_in_the_file(tmp_path: Path) -> None:
    with members(tmp_path, ALONE) as group:
        authority = Authority(tmp_path)
        one, other = authority.files("one"), authority.files("other")
        with_tls(tmp_path, replace(one, key=other.key))
        group.start("white")
        assert await group.end_of("white") == 2
        assert group.log("white") == (
            f'edge: broker.tls.key = "{other.key}": '
            f"does not belong to the certificate {one.certificate}\n"
        )


async def test_a_certificate_that_ran_out_is_an_alert(tmp_path: Path) -> None:
    with members(tmp_path, ALONE) as group:
        files = Authority(tmp_path).expired_files()
        with_tls(tmp_path, files)
        group.start("white")
        async with client_of(group, "white") as client:
            await until(lambda: client.last("hot") == b"white")
            await until(lambda: b"ran out on" in (client.last("alert/certificate") or b""))


async def test_a_state_dir_that_is_not_ours(tmp_path: Path) -> None:
    with members(tmp_path, ALONE) as group:
        (tmp_path / "edge.toml").write_text(
            (tmp_path / "edge.toml").read_text().replace(f"{tmp_path}/state", "/proc/edge")
        )
        group.start("white")
        assert "make state_dir writable" in await refusal(group)


@pytest.mark.parametrize("content", ["", "[]", '{"term": 1e999}', "[" * 5000, '{"boots": "x"}'])
async def test_a_damaged_term_file(tmp_path: Path, content: str) -> None:
    with members(tmp_path, ALONE) as group:
        folder = tmp_path / "state" / "RPI" / "white"
        folder.mkdir(parents=True)
        (folder / "term.json").write_text(content)
        group.start("white")
        assert "the file is damaged" in await refusal(group)


async def test_the_broker_is_killed_again_and_again(tmp_path: Path) -> None:
    async with alone(tmp_path) as (group, _):
        for _ in range(3):
            (child,) = children_of(group.processes["white"].pid)
            os.kill(child, signal.SIGKILL)
            async with client_of(group, "white") as client:
                await until(lambda client=client: client.last("hot") == b"white")  # type: ignore[misc]
        group.send("white", signal.SIGTERM)
        assert await group.end_of("white") == 0
    assert is_clean(group.log("white"))


async def test_a_disk_that_fills_up_while_it_runs(tmp_path: Path) -> None:
    """A limit on the size of files acts like a full disk; the lease that is held goes on."""
    async with alone(tmp_path) as (group, client):
        pid = group.processes["white"].pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        answer = await client.ask("pause", b"")
        assert answer["status"] == "ok"
        await until(lambda: client.last("alert/disk") != b"")
        assert client.last("hot") == b"white"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        await until(lambda: client.last("alert/disk") == b"")
        group.send("white", signal.SIGTERM)
        assert await group.end_of("white") == 0
    assert is_clean(group.log("white"))


async def test_an_ipv6_node(tmp_path: Path) -> None:
    port = free_port()
    text = ALONE.replace("127.0.0.1:{white}", f"[::1]:{port}").replace(
        'host = "127.0.0.1"', 'host = "::1"'
    )
    with members(tmp_path, text) as group:
        group.start("white")
        await until(lambda: "elected" in group.log("white"))
        group.send("white", signal.SIGTERM)
        assert await group.end_of("white") == 0


BREAK = (
    "import sys; from edge.agent import Agent; from edge.core.effects import Beat\n"
    "def explode(self): raise KeyError('a mistake of ours')\n"
    "Agent._beat = explode\n"
    "from edge.cli import main; main()"
)


async def test_a_mistake_of_ours_ends_the_process_with_one_line(tmp_path: Path) -> None:
    with members(tmp_path, ALONE) as group:
        group.start("white", program=("-c", BREAK))
        children: list[int] = []
        while group.processes["white"].poll() is None:
            children = children_of(group.processes["white"].pid) or children
            await asyncio.sleep(0.02)
        assert await group.end_of("white") == 1
        last = group.log("white").splitlines()[-1]
        assert "internal error" in last
        assert "Traceback" not in group.log("white")
        assert children
        assert not any(is_alive(each) for each in children)
        os.unlink(last.rpartition(" ")[2])  # noqa: PTH108  the details, in a file of their own
