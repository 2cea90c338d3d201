"""A group from outside: its name, its hot node, and everything that must not fool the client."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.admission.access import hash_password
from broker.settings import BrokerSettings, Listener, User
from edge.client import (
    AmbiguousGroupError,
    Change,
    ClosedError,
    Group,
    Hot,
    Stream,
    UnreachableGroupError,
)
from edge.client import group as group_module
from tests.client.brokers import (
    DEADLINE,
    GROUP,
    Speaker,
    gone,
    online,
    speaker,
    speakers,
)
from tests.client.proxy import proxy_to
from tests.client.test_beliefs import HOSTILE_STATES
from tests.engines.tools import EVERYTHING, connect, free_port, running
from tests.shell.raw_broker import CONNACK, Script, raw_broker, until

TLS = Path(__file__).parent / "tls"


@asynccontextmanager
async def followed(*given: Speaker, name: str | None = GROUP) -> AsyncIterator[Group]:
    """A group that has heard all of these brokers."""
    async with Group([each.address for each in given], name=name, timeout=DEADLINE) as group:
        await until(lambda: all(group.owner(each.address) for each in given))
        yield group


async def following(stream: Stream[Change]) -> Change:
    async with asyncio.timeout(DEADLINE):
        return await anext(stream)


@pytest.mark.parametrize("name", [GROUP, None])
async def test_the_name_can_be_given_or_found(name: str | None) -> None:
    async with speakers("white") as (white,):
        await white.names("white", 5)
        async with followed(white, name=name) as group:
            assert group.name == GROUP
            assert group.hot == Hot("white", 5, "died")
            assert group.owner(white.address) == "white"


async def test_the_stream_begins_with_what_holds_and_goes_on_with_changes() -> None:
    async with speakers("white", "black") as (white, black):
        await white.names("white", 5, reason="cold_start")
        await black.names("white", 5, reason="cold_start")
        async with followed(white, black) as group:
            changes = group.changes()
            assert await following(changes) == Change("white", 5, "cold_start", None)
            await black.names("black", 6)
            assert await following(changes) == Change("black", 6, "died", "white")
            assert group.hot == Hot("black", 6, "died")
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


async def test_a_frozen_nodes_old_word_is_not_believed_again() -> None:
    """White's broker still says white, term 5; black, term 6, is lost meanwhile."""
    async with speakers("white", "black") as (white, black):
        await white.names("white", 5)
        await black.names("black", 6)
        async with followed(white, black) as group:
            changes = group.changes()
            while (await following(changes)).node != "black":
                pass
            await black.say("node/black/state", gone())
            assert await following(changes) == Change(None, 6, "nobody is hot", "black")
            await white.say("node/white/state", online(5, reason="still"))
            await white.say("node/grey/state", online(7))
            await white.say("hot", "grey")
            assert await following(changes) == Change("grey", 7, "died", None)


async def test_a_group_that_began_anew_is_believed_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_module, "FORGET_AFTER", 0.05)
    async with speakers("white") as (white,):
        await white.names("white", 900)
        async with followed(white) as group:
            await white.names("white", 1)
            async with asyncio.timeout(DEADLINE):
                await until(lambda: group.hot == Hot("white", 1, "died"))


@pytest.mark.parametrize("alive", [0, 1])
async def test_any_broker_may_be_down_at_the_start_and_come_later(alive: int) -> None:
    port = free_port()
    async with speaker("here") as here:
        await here.names("here", 5)
        addresses = [here.address, f"127.0.0.1:{port}"][:: 1 if alive == 0 else -1]
        async with Group(addresses, timeout=DEADLINE) as group:
            assert group.hot == Hot("here", 5, "died")
            async with speaker("late", port) as late:
                await late.names("late", 6)
                await until(lambda: group.hot == Hot("late", 6, "died"))
            await until(lambda: group.hot is None)


async def test_nobody_answers() -> None:
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with pytest.raises(UnreachableGroupError) as caught:
        async with Group(addresses, timeout=0.3):
            pytest.fail("there is no group")
    assert all(each in str(caught.value) for each in addresses)
    assert str(caught.value).count("Connection refused") == 2


async def test_a_broker_that_knows_no_group() -> None:
    async with speakers("white") as (white,):
        with pytest.raises(
            UnreachableGroupError, match="lets us in and knows nothing of any group"
        ):
            async with Group([white.address], timeout=0.3):
                pytest.fail("there is no group")


async def test_the_last_broker_goes() -> None:
    async with speaker("white") as white:
        await white.names("white", 5)
        async with proxy_to(white.broker.port) as proxy, Group([proxy.address]) as group:
            changes = group.changes()
            await following(changes)
            proxy.cut()
            assert await following(changes) == Change(None, 5, "no broker answers", "white")
            proxy.is_cut = False
            assert await following(changes) == Change("white", 5, "died", None)


async def test_two_groups_on_one_broker_need_a_name() -> None:
    async with speakers("white") as (white,):
        await white.names("white", 5)
        await white.say("hot", "pump", group="OTHER")
        await white.say("node/pump/state", online(99), group="OTHER")
        with pytest.raises(AmbiguousGroupError, match="OTHER, RPI"):
            async with followed(white, name=None):
                pytest.fail("it is not clear which one")
        async with followed(white) as group:
            assert group.hot == Hot("white", 5, "died")


async def test_hostile_payloads_change_nothing() -> None:
    async with speakers("white", "black") as (white, black):
        await white.names("white", 5)
        await black.names("white", 5)
        async with followed(white, black) as group:
            changes = group.changes()
            for payload in HOSTILE_STATES:
                await black.say("node/white/state", payload)
                await black.say("hot", payload[:200] or b"\xff")
            for place in ("node/white/state/x", "node//state", "hot/hot", "lease", "state"):
                await black.say(place, online(9))
            for number in range(200):
                await black.say("hot", "nobody-known", group=f"noise{number}")
            await black.names("black", 6)
            assert await following(changes) == Change("white", 5, "died", None)
            assert await following(changes) == Change("black", 6, "died", "white")


async def test_a_slow_reader_of_changes_misses_the_oldest() -> None:
    async with speakers("white") as (white,):
        await white.names("white", 1)
        async with followed(white) as group:
            changes = group.changes()
            for term in range(2, 130):
                await white.say("node/white/state", online(term))
            await until(lambda: group.hot == Hot("white", 129, "died"))
            assert changes.dropped > 0
            seen = [await following(changes) for _ in range(100)]
            assert [each.term for each in seen] == list(range(30, 130))


async def test_user_and_password_are_passed_on() -> None:
    users = (User("app", hash_password("correct horse"), EVERYTHING.name),)
    listener = Listener("127.0.0.1", free_port())
    settings = BrokerSettings((listener,), roles=(EVERYTHING,), users=users)
    address = f"127.0.0.1:{listener.port}"
    async with running("embedded", settings) as broker:
        client = await connect(broker, "speaker", user="app", password="correct horse")
        await Speaker("white", broker, client).names("white", 5)
        with pytest.raises(UnreachableGroupError, match=r"(?i)not authorized|bad user name"):
            async with Group([address], timeout=1.0):
                pytest.fail("nobody was let in")
        login = {"username": "app", "password": "correct horse"}
        async with Group([address], timeout=DEADLINE, **login) as group:  # type: ignore[arg-type]
            assert group.hot == Hot("white", 5, "died")
            async with group.follow() as connection, asyncio.timeout(DEADLINE):
                await connection.publish("a/b", "c")


@asynccontextmanager
async def white_with_tls() -> AsyncIterator[str]:
    """The address of a broker behind TLS."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    async with speakers("white") as (white,):
        await white.names("white", 5)
        async with proxy_to(white.broker.port, server) as proxy:
            yield proxy.address


async def test_tls_is_passed_on() -> None:
    """And what the broker sends in one large record is read to its end."""
    trusting = ssl.create_default_context(cafile=TLS / "certificate.pem")
    async with (
        asyncio.timeout(DEADLINE),
        white_with_tls() as address,
        Group([address], tls=trusting) as group,
        group.follow() as connection,
    ):
        await connection.subscribe("n/#")
        for number in range(300):
            await connection.enqueue("n/x", str(number))
        seen = [int((await anext(connection.messages)).payload) for _ in range(300)]
        assert seen == list(range(300))


async def test_a_certificate_that_nobody_vouches_for_is_not_taken() -> None:
    async with white_with_tls() as address:
        with pytest.raises(UnreachableGroupError, match=r"(?i)certificate"):
            async with Group([address], tls=ssl.create_default_context(), timeout=0.5):
                pytest.fail("a stranger's certificate was taken")


@pytest.mark.parametrize(
    "addresses", ["white:1883", [], ["white:0"], ["white:x"], ["a b"], [""], ["u@h:1"], ["h/p"]]
)
async def test_addresses_that_are_none(addresses: list[str]) -> None:
    with pytest.raises(ValueError, match="address"):
        Group(addresses)


@pytest.mark.parametrize("name", ["", "a/b", "+", "x" * 65])
async def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Group(["white"], name=name)


async def test_an_exception_of_the_callers_comes_out_as_it_is() -> None:
    async with speakers("white") as (white,):
        await white.names("white", 5)
        with pytest.raises(LookupError):
            async with followed(white) as group, group.follow():
                raise LookupError


async def test_a_cancelled_start_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), Group([f"127.0.0.1:{free_port()}"], timeout=1000):
            pytest.fail("there is no group")
    assert time.monotonic() - began < DEADLINE
    assert asyncio.all_tasks() == before


async def test_a_broker_of_another_group_in_the_list_is_named_and_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with speaker("white") as white, speaker("pump") as pump:
        await white.names("white", 5)
        async with proxy_to(pump.broker.port) as proxy:
            proxy.cut()
            async with Group([proxy.address, white.address], timeout=DEADLINE) as group:
                await pump.say("broker", "pump", group="OTHER")
                await pump.say("node/pump/state", online(99), group="OTHER")
                await pump.say("hot", "pump", group="OTHER")
                proxy.is_cut = False
                words = f"{proxy.address} is of group OTHER, not of {GROUP}"
                await until(lambda: words in caplog.text)
                assert caplog.text.count(words) == 1
                assert group.hot == Hot("white", 5, "died")
                assert group.owner(proxy.address) is None


async def _silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await reader.read()


async def _noise(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CONNACK + bytes(range(256)) * 16)
    await writer.drain()


async def _end(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """And the listener closes the connection."""


@pytest.mark.parametrize("script", [_silence, _web, _noise, _end])
async def test_what_is_no_broker_is_named_and_does_not_matter_beside_one(script: Script) -> None:
    async with raw_broker(script) as wrong, speaker("white") as white:
        await white.names("white", 5)
        address = f"127.0.0.1:{wrong.port}"
        with pytest.raises(UnreachableGroupError, match=address):
            async with Group([address], timeout=0.3):
                pytest.fail("there is no group")
        async with (
            asyncio.timeout(DEADLINE),
            Group([address, white.address]) as group,
            group.follow() as connection,
        ):
            assert await group.wait_for_hot() == Hot("white", 5, "died")
            await connection.subscribe("n/#")
            await connection.publish("n/x", "one")
            assert (await anext(connection.messages)).payload == b"one"
            accepted = wrong.accepted
            await until(lambda: wrong.accepted > accepted or script is _silence)


async def test_a_name_that_nobody_resolves_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UnreachableGroupError, match="nowhere:1883: Name or service not known"):
        async with Group(["nowhere:1883"], timeout=0.3):
            pytest.fail("there is no group")


async def test_a_group_of_another_name_is_not_taken() -> None:
    async with speakers("white") as (white,):
        await white.names("white", 5)
        with pytest.raises(UnreachableGroupError, match="knows nothing of OTHER"):
            async with Group([white.address], name="OTHER", timeout=0.3):
                pytest.fail("there is no such group")


async def test_who_waits_for_a_hot_node_is_told_when_the_group_is_left() -> None:
    async with speakers("white") as (white,):
        await white.say("broker", "white")
        async with followed(white) as group:
            waiting = asyncio.create_task(group.wait_for_hot())
            await asyncio.sleep(0)
        with pytest.raises(ClosedError):
            await waiting
