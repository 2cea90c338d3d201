"""The disk behind a serving broker: group commit, refusals, new files; and SIGKILL under load."""

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from broker.client import Client, Login
from broker.connections import patient
from broker.errors import EngineError
from broker.protocol import packets
from broker.protocol.codec import encode
from broker.protocol.packets import (
    MQTT_5,
    Acknowledge,
    Connack,
    Connect,
    Farewell,
    Plain,
    Publish,
    Suback,
    Subscribe,
)
from broker.protocol.reasons import ReasonCode
from broker.server.server import Server
from broker.settings import BrokerSettings, Listener, Persistence, to_json
from broker.store import files as store
from broker.store import keeper
from tests.engines.tools import free_port
from tests.mqtt.test_server import Raw, until
from tests.mqtt.tools import settings

DEADLINE = 30.0
HOST = "127.0.0.1"


def on_disk(directory: Path, port: int = 0) -> BrokerSettings:
    return replace(
        settings(),
        listeners=(Listener(HOST, port),),
        persistence=Persistence.ALL,
        directory=str(directory),
    )


@asynccontextmanager
async def serving(directory: Path, log: list[str]) -> AsyncIterator[int]:
    port = free_port()
    server = Server(on_disk(directory, port), log.append)
    try:
        await server.start()
        yield port
    finally:
        server.stop()
        await Raw.close_all()
        await until(lambda: not server.clients)


class Disk:
    """Syncs only when it may, or refuses; counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.error: int | None = None
        self.syncs = 0
        self._real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, file: int) -> None:
        assert self.may_sync.wait(DEADLINE)
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        self.syncs += 1
        self._real(file)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    it = Disk(monkeypatch)
    yield it
    it.error = None
    it.may_sync.set()


def logs(directory: Path) -> list[Path]:
    return sorted(directory.glob("log-*"))


def retained(number: int, topic: str = "a") -> bytes:
    return encode(Publish(topic, b"%d" % number, 1, retain=True, packet_id=number))


async def pong(raw: Raw) -> list[packets.Packet]:
    """What came before the answer to a ping."""
    raw.send(encode(Plain(packets.PINGREQ)))
    seen = [await raw.read()]
    while seen[-1] != Plain(packets.PINGRESP):
        seen.append(await raw.read())
    return seen[:-1]


async def test_many_wait_for_one_sync(tmp_path: Path, disk: Disk) -> None:
    async with serving(tmp_path, []) as port:
        writer = await Raw.connect(port, "writer")
        writer.send(retained(1))
        assert await writer.read() == Acknowledge(packets.PUBACK, 1)
        before = disk.syncs
        disk.may_sync.clear()
        writer.send(retained(2))
        assert await pong(writer) == []
        for number in range(3, 200):
            writer.send(retained(number))
        assert await pong(writer) == []
        disk.may_sync.set()
        for number in range(2, 200):
            assert await writer.read() == Acknowledge(packets.PUBACK, number)
        assert disk.syncs - before <= 4


async def test_an_answer_that_comes_after_the_good_bye_is_not_written(
    tmp_path: Path, disk: Disk
) -> None:
    """The socket is half closed by then, so that the client can read why."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    async with serving(tmp_path, []) as port:
        first, second = await Raw.open(port), await Raw.open(port)
        for each in (first, second):
            each.version = MQTT_5
        connect = encode(Connect("writer", version=MQTT_5), MQTT_5)
        first.send(connect)
        assert isinstance(await first.read(), Connack)
        disk.may_sync.clear()
        first.send(encode(Publish("a", b"1", 1, retain=True, packet_id=1), MQTT_5))
        assert await pong(first) == []
        second.send(connect)
        end = await first.read()
        assert isinstance(end, Farewell)
        assert end.code == ReasonCode.SESSION_TAKEN_OVER
        disk.may_sync.set()
        other = await Raw.connect(port, "other")
        other.send(retained(2))
        assert await other.read() == Acknowledge(packets.PUBACK, 2)
        assert await first.end() == b""
    assert faults == []


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
async def test_a_disk_that_refuses_costs_acknowledgements_and_nothing_else(
    tmp_path: Path, disk: Disk, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RETRY", 0.05)
    log: list[str] = []
    async with serving(tmp_path, log) as port:
        reader, writer = await Raw.connect(port, "reader"), await Raw.connect(port, "writer")
        await reader.subscribe("#", 0)
        disk.error = error
        writer.send(retained(1))
        refused = (
            f"{tmp_path}: {os.strerror(error)}; what is to be kept is not acknowledged "
            "until it can be written"
        )
        await until(lambda: refused in log)
        writer.send(retained(2) + encode(Publish("b", b"3", 0)))
        assert await pong(writer) == []
        arrived = [await reader.read() for _ in range(3)]
        assert [each.payload for each in arrived if isinstance(each, Publish)] == [b"1", b"2", b"3"]
        disk.error = None
        answers = [await writer.read(), await writer.read()]
        assert answers == [Acknowledge(packets.PUBACK, 1), Acknowledge(packets.PUBACK, 2)]
        assert log.count(refused) == 1
        assert f"{tmp_path}: written again, nothing is missing" in log
    assert await stored(tmp_path) == {"a": b"2"}


async def stored(directory: Path) -> dict[str, bytes]:
    """What a broker that starts now has."""
    async with serving(directory, []) as port:
        client = await Client.connect(HOST, port, Login("looks"))
        await client.subscribe("#", 0)
        await client.ping()
        found = {}
        while not client.messages.empty():
            message = client.messages.get_nowait()
            found[message.topic] = message.payload
        await client.disconnect()
        return found


async def test_it_starts_on_a_full_disk_and_catches_up(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RETRY", 0.05)
    disk.error = errno.ENOSPC
    async with serving(tmp_path, []) as port:
        writer = await Raw.connect(port, "writer")
        writer.send(retained(1))
        assert await pong(writer) == []
        disk.error = None
        assert await writer.read() == Acknowledge(packets.PUBACK, 1)
    assert await stored(tmp_path) == {"a": b"1"}


async def test_an_orderly_stop_keeps_what_nobody_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path, []) as port:
        writer = await Raw.connect(port, "writer")
        writer.send(encode(Publish("a", b"1", 0, retain=True)))
        assert await pong(writer) == []
    assert await stored(tmp_path) == {"a": b"1"}


async def test_whoever_is_too_quick_is_read_again_later(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "MOST_BACKLOG", 1000)
    async with serving(tmp_path, []) as port:
        writer, other = await Raw.connect(port, "writer"), await Raw.connect(port, "other")
        disk.may_sync.clear()
        for number in range(1, 1001):
            writer.send(retained(number, f"a/{number}"))
        assert await pong(other) == []
        disk.may_sync.set()
        for number in range(1, 1001):
            assert await writer.read() == Acknowledge(packets.PUBACK, number)
    assert len(await stored(tmp_path)) == 1000


async def test_files_do_not_grow_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "SPARE_SIZE", 20_000)
    monkeypatch.setattr(keeper, "STEPS_AT_ONCE", 3)
    monkeypatch.setattr(store, "AHEAD", 1000)
    largest = 0
    log: list[str] = []
    async with serving(tmp_path, log) as port:
        writer = await Raw.connect(port, "writer")
        for number in range(1, 2001):
            topic = f"a/{number % 50}"
            writer.send(encode(Publish(topic, b"%d" % number, 1, retain=True, packet_id=1)))
            await writer.read()
            if not number % 20:
                sizes = [each.stat().st_size for each in logs(tmp_path)]
                largest = max(largest, sum(sizes))
        assert max(int(each.name[4:]) for each in logs(tmp_path)) >= 4
    assert 20_000 < largest < 60_000
    assert await stored(tmp_path) == {
        f"a/{number % 50}": b"%d" % number for number in range(1951, 2001)
    }


async def test_a_flood_does_not_outrun_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is alive takes 100 kB; without a brake the changes between two steps would be more."""
    monkeypatch.setattr(keeper, "SPARE_SIZE", 10_000)
    monkeypatch.setattr(keeper, "STEPS_AT_ONCE", 1)
    monkeypatch.setattr(keeper, "BYTES_AT_ONCE", 1)
    monkeypatch.setattr(patient, "MOST_BACKLOG", 20_000)
    monkeypatch.setattr(store, "AHEAD", 1000)
    largest = 0
    async with serving(tmp_path, []) as port:
        writer = await Raw.connect(port, "writer")
        for number in range(100):
            topic, payload = f"a/{number}", bytes(900)
            writer.send(encode(Publish(topic, payload, 1, retain=True, packet_id=1)))
            await writer.read()
        flood = encode(Publish("a/0", bytes(900), 1, retain=True, packet_id=1)) * 50
        for _ in range(60):
            writer.send(flood)
            for _ in range(50):
                await writer.read()
            sizes = [each.stat().st_size for each in logs(tmp_path)]
            largest = max(largest, sum(sizes))
        assert max(int(each.name[4:]) for each in logs(tmp_path)) >= 3
    assert 200_000 < largest < 4 * 100_000 + 2 * 10_000 + 3 * 60_000


async def test_damage_is_said_in_one_line_and_put_aside(tmp_path: Path) -> None:
    async with serving(tmp_path, []) as port:
        writer = await Raw.connect(port, "writer")
        for number in (1, 2):
            writer.send(retained(number, f"a/{number}"))
            await writer.read()
    (path,) = logs(tmp_path)
    whole = path.read_bytes().rstrip(b"\0")
    size = len(whole)
    path.write_bytes(whole[:-1])
    log: list[str] = []
    async with serving(tmp_path, log):
        await until((tmp_path / "damaged-00000001").exists)
    (line,) = [each for each in log if "cannot be read" in each]
    assert line.startswith(f"{path}: of {size - 1} bytes, ")
    assert line.endswith(
        f" to {size - 1} cannot be read; all the rest is there, "
        "and the file is kept as damaged-00000001"
    )
    assert await stored(tmp_path) == {"a/1": b"1"}


async def test_a_directory_in_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.store.files.LOCK_PATIENCE", 0.1)
    async with serving(tmp_path, []):
        with pytest.raises(EngineError, match="in use by another broker"):
            async with serving(tmp_path, []):
                pass


@contextmanager
def process(directory: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """A broker of its own, ready."""
    child = subprocess.Popen(
        [sys.executable, "-m", "broker", "embedded"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdin
        assert child.stdout
        child.stdin.write(to_json(on_disk(directory, port)) + "\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


class Load:
    """Two writers until the broker is gone; what was acknowledged to them."""

    def __init__(self) -> None:
        self.retained: dict[str, int] = {}
        self.queued = -1

    async def run(self, port: int, enough: asyncio.Event) -> None:
        one = await Client.connect(HOST, port, Login("one"))
        two = await Client.connect(HOST, port, Login("two"))
        await asyncio.gather(self._retain(one, enough), self._queue(two), return_exceptions=True)
        for each in (one, two):
            await each.disconnect()

    async def _retain(self, client: Client, enough: asyncio.Event) -> None:
        for number in range(1_000_000):
            topic = f"r/{number % 20}"
            await client.publish(topic, b"%d" % number, retain=True)
            self.retained[topic] = number
            if number == 60:
                enough.set()

    async def _queue(self, client: Client) -> None:
        for number in range(1000):  # as many as may wait
            await client.publish("q", b"%d" % number)
            self.queued = number


async def absent_reader(port: int) -> None:
    raw = await Raw.open(port)
    raw.send(encode(Connect("reader", clean_session=False)) + encode(Subscribe(1, (("q", 1),))))
    assert isinstance(await raw.read(), Connack)
    assert isinstance(await raw.read(), Suback)
    await Raw.close_all()


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_acknowledged_survives_sigkill(tmp_path: Path, seed: int) -> None:
    load, port = Load(), free_port()
    with process(tmp_path, port) as child:
        await absent_reader(port)
        enough = asyncio.Event()
        run = asyncio.create_task(load.run(port, enough))
        async with asyncio.timeout(DEADLINE):
            await enough.wait()
            await asyncio.sleep(random.Random(seed).random() / 20)  # any moment of the load
        child.send_signal(signal.SIGKILL)
        async with asyncio.timeout(DEADLINE):
            await run
    with process(tmp_path, port):
        looks = await Client.connect(HOST, port, Login("looks"))
        await looks.subscribe("r/#", 0)
        await looks.ping()
        found = {}
        while not looks.messages.empty():
            message = looks.messages.get_nowait()
            found[message.topic] = int(message.payload)
        await looks.disconnect()
        assert all(found[topic] >= number for topic, number in load.retained.items())
        reader = await Client.connect(HOST, port, Login("reader", clean=False))
        waited: list[int] = []
        async with asyncio.timeout(DEADLINE):
            while len(waited) <= load.queued:
                waited.append(int((await reader.messages.get()).payload))
        await reader.disconnect()
    assert load.queued > 10
    assert waited == list(range(len(waited)))
