"""A path to a broker: every connection a new session, problems said once, no hammering."""

import asyncio
import itertools
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from edge.adapters.links import Handlers, LinkOptions, MqttLink
from edge.adapters.mqtt import Endpoint
from edge.core.model import Link
from edge.ports import Message
from tests.shell.raw_broker import (
    CONNACK,
    DEADLINE,
    Script,
    packet,
    publish,
    raw_broker,
    suback,
    until,
)

SILENCE = 0.4


@dataclass(slots=True)
class Heard:
    """What a link told, in order."""

    calls: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)

    def handlers(self) -> Handlers:
        def up(_link: Link, session: str) -> None:
            self.sessions.append(session)
            self.calls.append("up")

        return Handlers(
            up,
            lambda _: self.calls.append("subscribed"),
            lambda _: self.calls.append("lost"),
            lambda _: self.calls.append("denied"),
            lambda _, message: self.calls.append(message.payload.decode()),
        )


@asynccontextmanager
async def link_to(port: int, host: str = "127.0.0.1") -> AsyncIterator[tuple[MqttLink, Heard]]:
    heard, numbers = Heard(), itertools.count(1)
    filters = ("edge/RPI/lease",), ("edge/RPI/request/+",)
    options = LinkOptions("test", filters, 5, SILENCE, connect_timeout=DEADLINE)
    link = MqttLink(
        link=Link("white"),
        endpoint=Endpoint(host, port),
        options=options,
        handlers=heard.handlers(),
        new_session=lambda: f"boot-{next(numbers)}",
        client_id=lambda session: f"edge-{session}",
        will=lambda _, session: Message("will", session.encode(), retained=True),
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(link.run())
        yield link, heard
        task.cancel()


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await packet(reader)
    writer.write(CONNACK)


async def grant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _, content = await packet(reader)
    writer.write(suback(content))


def problems(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if each.levelno >= logging.WARNING]


CLOSES_AT_ONCE: Script = accept


async def grants_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await accept(reader, writer)
    await grant(reader, writer)
    await grant(reader, writer)


async def accepts_and_says_no_more(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await accept(reader, writer)
    await reader.read()


async def sends_noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await accept(reader, writer)
    writer.write(b"\xf0\xff\xff\xff\xff\xff" * 50)
    await reader.read()


@pytest.mark.parametrize(
    "script", [CLOSES_AT_ONCE, grants_and_closes, accepts_and_says_no_more, sends_noise]
)
async def test_a_bad_broker_is_not_hammered_and_complained_about_once(
    script: Script, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(delay: float) -> None:
        pauses.append(delay)
        await sleep(0)

    monkeypatch.setattr("edge.adapters.links.asyncio.sleep", note)
    monkeypatch.setattr("edge.adapters.links.random.uniform", lambda _low, high: high)
    with caplog.at_level(logging.INFO):
        async with raw_broker(script) as broker, link_to(broker.port) as (_, heard):
            while len(pauses) < 7:
                await asyncio.wait_for(sleep(0.005), 30)
    assert pauses[:6] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert len(problems(caplog)) == 1
    assert len(caplog.records) <= 2, "connected at most once"
    assert len(set(heard.sessions)) == len(heard.sessions), "a session is never reused"
    assert heard.calls.count("up") - heard.calls.count("lost") in {0, 1}


async def test_it_is_subscribed_when_the_second_request_is_granted() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        await grant(reader, writer)
        writer.write(publish(b"edge/RPI/lease", b"retained"))
        await grant(reader, writer)
        await reader.read()

    async with raw_broker(script) as broker, link_to(broker.port) as (link, heard):
        await until(lambda: len(heard.calls) >= 3)
        assert link.is_subscribed
    assert heard.calls[:3] == ["up", "retained", "subscribed"]


async def test_silence_ends_a_connection_and_says_so() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await grants_and_closes(reader, writer)
        await reader.read()

    async with raw_broker(script) as broker, link_to(broker.port) as (_, heard):
        await until(lambda: heard.calls.count("up") >= 2)
    assert heard.calls[:4] == ["up", "subscribed", "lost", "up"]


async def test_a_slow_name_server_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the silence that ends a connection, and without a second attempt beside it."""
    asked: list[str] = []
    resolve = socket.getaddrinfo
    wait = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(host: str, *rest: object, **more: object) -> object:
        if host == "slow.invalid":
            asked.append(host)
            asyncio.run_coroutine_threadsafe(wait.wait(), loop).result(30)
            host = "127.0.0.1"
        return resolve(host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with (
        raw_broker(accepts_and_says_no_more) as broker,
        link_to(broker.port, "slow.invalid") as (_, heard),
    ):
        loop.call_later(3 * SILENCE, wait.set)
        await until(lambda: "up" in heard.calls)
    assert asked == ["slow.invalid"]


async def test_asking_again_ends_with_the_second_grant() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await grants_and_closes(reader, writer)
        await grant(reader, writer)
        writer.write(publish(b"edge/RPI/request/ping", b"kept", retained=True))
        await grant(reader, writer)
        await reader.read()

    async with raw_broker(script) as broker, link_to(broker.port) as (link, heard):
        await until(lambda: "subscribed" in heard.calls)
        link.ask_again("edge/RPI/request/+", lambda: heard.calls.append("all"))
        await until(lambda: "all" in heard.calls)
    assert heard.calls[2:4] == ["kept", "all"]


async def test_giving_up_makes_a_new_session(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        raw_broker(accepts_and_says_no_more) as broker,
        link_to(broker.port) as (link, heard),
    ):
        await until(lambda: "up" in heard.calls)
        link.give_up("a record did not come back")
        await until(lambda: heard.calls.count("up") == 2)
    assert "a record did not come back" in problems(caplog)[0]
