"""What is subscribed everywhere: refusals, and several addresses of one broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from broker.settings import Action, BrokerSettings, Listener, Role, Rule
from edge.client import Group, RefusedError
from tests.client.brokers import DEADLINE, GROUP, Speaker, speakers
from tests.client.proxy import Proxy, proxy_to
from tests.client.test_follower import ready, received
from tests.engines.tools import connect, free_port, running
from tests.shell.raw_broker import until

NOT_SECRET = Role(
    "some",
    (
        Rule(Action.SUBSCRIBE, "secret/#", allow=False),
        Rule(Action.SUBSCRIBE, "#", allow=True),
        Rule(Action.PUBLISH, "#", allow=True),
    ),
)


@asynccontextmanager
async def closed_speaker() -> AsyncIterator[Speaker]:
    """A broker that lets nobody read secret/#."""
    listener = Listener("127.0.0.1", free_port())
    settings = BrokerSettings((listener,), roles=(NOT_SECRET,), anonymous="some")
    async with running("embedded", settings) as broker:
        yield Speaker("white", broker, await connect(broker, "speaker"))


async def test_a_refused_subscription_is_told_and_forgotten() -> None:
    async with closed_speaker() as white:
        await white.names("white", 5)
        async with (
            asyncio.timeout(DEADLINE),
            Group([white.address]) as group,
            group.follow() as connection,
        ):
            await connection.subscribe("open/#")
            with pytest.raises(RefusedError, match="secret"):
                await connection.subscribe("secret/#")
            await until(lambda: bool(connection.ready))
            await connection.publish("open/x", "still here")
            assert await received(connection, 1) == ["still here"]


async def test_a_refused_subscription_costs_no_other_one_that_is_asked_for_meanwhile() -> None:
    async with closed_speaker() as white:
        await white.names("white", 5)
        async with (
            asyncio.timeout(DEADLINE),
            Group([white.address]) as group,
            group.follow() as connection,
        ):
            await until(lambda: connection.node == "white")
            found = await asyncio.gather(
                *(connection.subscribe(each) for each in ("a/#", "secret/#", "b/#")),
                return_exceptions=True,
            )
            assert [type(each) for each in found] == [type(None), RefusedError, type(None)]
            await until(lambda: bool(connection.ready))
            await connection.publish("a/x", "a")
            await connection.publish("b/x", "b")
            assert await received(connection, 2) == ["a", "b"]


@asynccontextmanager
async def one_closed_one_open() -> AsyncIterator[tuple[Proxy, Group]]:
    """Black is hot; white's broker, which lets nobody read secret/#, is behind a cable."""
    async with speakers("black") as (black,), closed_speaker() as white:
        for each in (white, black):
            await each.names("black", 5)
        async with (
            asyncio.timeout(DEADLINE),
            proxy_to(white.broker.port) as proxy,
            Group([proxy.address, black.address], name=GROUP) as group,
        ):
            yield proxy, group


async def test_what_one_broker_refuses_comes_from_no_other() -> None:
    """Also when the one that refuses it was not there when it was asked for."""
    async with one_closed_one_open() as (proxy, group), group.follow() as connection:
        proxy.cut()
        await connection.subscribe("open/#")
        await until(lambda: connection.node == "black" and len(connection.ready) == 1)
        await connection.subscribe("secret/#")
        await connection.publish("secret/x", "granted so far")
        assert await received(connection, 1) == ["granted so far"]
        proxy.is_cut = False
        await until(lambda: len(connection.ready) == 2)
        await connection.publish("secret/x", "not any more")
        await connection.publish("open/x", "as before")
        assert await received(connection, 1) == ["as before"]


@asynccontextmanager
async def two_ways() -> AsyncIterator[tuple[Proxy, Proxy, Group]]:
    """White, hot, at two addresses."""
    async with (
        asyncio.timeout(3 * DEADLINE),
        speakers("white") as (white,),
        proxy_to(white.broker.port) as first,
        proxy_to(white.broker.port) as second,
    ):
        await white.names("white", 5)
        async with Group([first.address, second.address]) as group:
            yield first, second, group


async def test_two_paths_to_one_broker_bring_everything_once() -> None:
    async with two_ways() as (*_, group), group.follow() as connection:
        await ready(connection, "n/#")
        for _ in range(2):
            await connection.publish("n/x", "on", retained=True)
        await connection.publish("n/x", "end")
        assert await received(connection, 3) == ["on", "on", "end"]


@pytest.mark.parametrize("which", [0, 1])
async def test_one_of_two_paths_is_enough(which: int) -> None:
    async with two_ways() as (first, second, group), group.follow() as connection:
        await ready(connection, "n/#")
        (first, second)[which].cut()
        await connection.publish("n/x", "by the other one")
        assert await received(connection, 1) == ["by the other one"]
        await until(lambda: connection.node == "white")
