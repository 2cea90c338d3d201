"""Start, stop, death and resurrection of the child process."""

import asyncio
import os
import signal
import socket
import sys

import pytest

from broker.engines import mosquitto
from broker.engines.engine import Engine, supervise
from broker.errors import EngineError
from broker.settings import BrokerSettings, Listener
from tests.engines.tools import (
    DEADLINE,
    HOST,
    Broker,
    accepts,
    connect,
    free_port,
    make_engine,
    open_settings,
    pid_of,
    running,
    until,
)


async def test_clients_connect_on_every_listener(engine: str, port: int) -> None:
    one = open_settings(port)
    listeners = (*one.listeners, Listener(HOST, free_port()))
    async with running(engine, BrokerSettings(listeners, one.roles, anonymous=one.anonymous)):
        for listener in listeners:
            client = await connect(Broker(engine, listener.port, 0), "client")
            await client.ping()
            await client.disconnect()


async def test_stop_frees_the_port(engine: str, port: int) -> None:
    for turn in range(2):  # the second start needs the port that the first one had
        async with running(engine, open_settings(port)) as broker:
            await connect(broker, f"client-{turn}")
        assert not accepts(port)


async def test_stop_does_not_wait_for_a_client_that_does_not_read(kind: str, port: int) -> None:
    async with running(kind, open_settings(port)) as broker:
        reader = socket.create_connection((HOST, port))
        reader.sendall(bytes.fromhex("100e00044d5154540402000000026465"))
        reader.sendall(bytes.fromhex("82060001000161") + b"\x01")
        writer = await connect(broker, "writer")
        for _ in range(20):
            await writer.publish("a", bytes(100_000))
    assert not accepts(port)
    reader.close()


async def test_stop_without_start_and_twice(engine: str, port: int) -> None:
    never = make_engine(engine, open_settings(port))
    await never.stop()
    broker = make_engine(engine, open_settings(port))
    await broker.start()
    await broker.stop()
    await broker.stop()


async def test_death_is_noticed(engine: str, port: int) -> None:
    broker = make_engine(engine, open_settings(port))
    await broker.start()
    os.kill(pid_of(broker), signal.SIGKILL)
    async with asyncio.timeout(DEADLINE):
        reason = await broker.failed()
    assert "SIGKILL" in reason
    assert "\n" not in reason
    await broker.stop()


async def test_a_frozen_broker_can_be_stopped(engine: str, port: int) -> None:
    broker = make_engine(engine, open_settings(port))
    await broker.start()
    os.kill(pid_of(broker), signal.SIGSTOP)
    async with asyncio.timeout(DEADLINE):
        await broker.stop()
    assert not accepts(port)


async def test_the_broker_dies_with_its_parent(engine: str, port: int) -> None:
    command = [sys.executable, "-m", "tests.engines.parent", engine, str(port)]
    parent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"running\n"
    assert accepts(port)
    parent.kill()
    await parent.communicate()
    await until(lambda: not accepts(port))


async def test_port_in_use_is_one_clear_line(engine: str, port: int) -> None:
    with socket.create_server((HOST, port)):
        broker = make_engine(engine, open_settings(port))
        with pytest.raises(EngineError) as caught:
            await broker.start()
    assert str(port) in str(caught.value)
    assert "already in use" in str(caught.value)
    assert "\n" not in str(caught.value)
    await broker.stop()


async def test_missing_mosquitto_names_the_package(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(mosquitto, "MORE_PATH", "")
    broker = make_engine("mosquitto", open_settings(port))
    with pytest.raises(EngineError, match="Debian package mosquitto"):
        await broker.start()


async def test_missing_plugin_names_the_package(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(mosquitto, "PLUGIN_PLACES", ())
    broker = make_engine("mosquitto", open_settings(port))
    with pytest.raises(EngineError, match="Debian package mosquitto"):
        await broker.start()


async def test_supervise_starts_it_again(engine: str, port: int) -> None:
    engines: list[Engine] = []
    started: asyncio.Queue[int] = asyncio.Queue()
    failures: list[str] = []

    def make() -> Engine:
        engines.append(make_engine(engine, open_settings(port)))
        return engines[-1]

    supervisor = asyncio.create_task(
        supervise(
            make,
            on_started=lambda: started.put_nowait(pid_of(engines[-1])),
            on_failed=failures.append,
        )
    )
    async with asyncio.timeout(2 * DEADLINE):
        for _ in range(2):
            pid = await started.get()
            assert accepts(port)
            os.kill(pid, signal.SIGKILL)
        await started.get()
    assert len(failures) == 2
    supervisor.cancel()
    await asyncio.wait((supervisor,))
    assert not accepts(port)


async def test_supervise_raises_when_the_first_start_fails(engine: str, port: int) -> None:
    with socket.create_server((HOST, port)), pytest.raises(EngineError, match="already in use"):
        await supervise(
            lambda: make_engine(engine, open_settings(port)),
            on_started=lambda: None,
            on_failed=lambda _: None,
        )
