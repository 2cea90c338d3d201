"""A connection that moves: order, acknowledgements, bounds, and what is never lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge.client import ClosedError, Follower, Group, Message, Move
from tests.client.brokers import DEADLINE, GROUP, Speaker, speakers
from tests.client.proxy import Proxy, proxy_to
from tests.engines.tools import connect
from tests.shell.raw_broker import until


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Speaker, Speaker, Proxy, Group]]:
    """White, hot and behind a cable that can be held, and black."""
    async with speakers("white", "black") as (white, black):
        await white.names("white", 5)
        await black.names("white", 5)
        async with proxy_to(white.broker.port) as proxy:
            addresses = [proxy.address, black.address]
            async with asyncio.timeout(3 * DEADLINE), Group(addresses, name=GROUP) as group:
                await until(lambda: all(group.owner(each) for each in addresses))
                yield white, black, proxy, group


async def ready(connection: Follower, *filters: str) -> None:
    await connection.subscribe(*filters)
    await until(lambda: len(connection.ready) == 2)


async def received(connection: Follower, count: int) -> list[str]:
    async with asyncio.timeout(DEADLINE):
        return [(await anext(connection.messages)).payload.decode() for _ in range(count)]


async def test_it_publishes_to_the_hot_node_and_hears_only_it() -> None:
    async with pair() as (_white, black, _, group), group.follow() as connection:
        await ready(connection, "a/#")
        await black.client.publish("a/b", b"from elsewhere", qos=1)
        await connection.publish("a/b", "one")
        await connection.publish("a/b", b"two", qos=0)
        assert connection.node == "white"
        assert await received(connection, 2) == ["one", "two"]
        assert connection.unacknowledged == 0


async def test_a_move_is_told_and_takes_the_subscriptions_along() -> None:
    async with pair() as (_white, black, _, group), group.follow() as connection:
        moves = connection.moves()
        await ready(connection, "a/#")
        await black.names("black", 6, reason="switchover")
        await until(lambda: connection.node == "black")
        await connection.publish("a/b", "there")
        assert await received(connection, 1) == ["there"]
        assert (await anext(moves)).node == "white"
        assert await anext(moves) == Move("black", black.address, 6, 0)


async def test_what_was_not_acknowledged_goes_to_the_next_hot_node_in_order() -> None:
    async with pair() as (_white, black, proxy, group), group.follow() as connection:
        await ready(connection, "n/#")
        proxy.passes_answers.clear()
        for number in range(250):  # more than may be on the way at once
            await connection.enqueue("n/x", str(number))
        assert connection.unacknowledged == 250
        moves = connection.moves()
        await black.names("black", 6)
        await connection.drain()
        seen = await received(connection, 250)
        assert seen == [str(number) for number in range(250)]
        assert (await anext(moves)).again == 100


async def test_drain_and_leaving_wait_for_nobody_who_goes_on_publishing() -> None:
    async with pair() as (white, _black, _, group):
        listener = await connect(white.broker, "listener")
        await listener.subscribe("n/#")
        async with asyncio.timeout(DEADLINE):
            async with group.follow() as connection:
                others = [asyncio.create_task(publish_without_end(connection)) for _ in range(9)]
                await until(lambda: connection.unacknowledged > 0)
                await connection.enqueue("n/x", "1")
                await connection.drain()
                await connection.enqueue("n/x", "2")
            ends = await asyncio.gather(*others, return_exceptions=True)
            assert {type(each) for each in ends} == {ClosedError}
            assert [(await listener.messages.get()).payload for _ in range(2)] == [b"1", b"2"]


async def publish_without_end(connection: Follower) -> None:
    while True:
        await connection.publish("o/x", "again and again")


async def test_what_was_acknowledged_just_before_a_death_goes_out_again() -> None:
    async with pair() as (_white, black, proxy, group), group.follow() as connection:
        await until(lambda: connection.node == "white")
        for number in range(3):
            await connection.publish("n/x", str(number))
        listener = await connect(black.broker, "listener")
        await listener.subscribe("n/#")
        proxy.cut()
        await black.names("black", 6)
        async with asyncio.timeout(DEADLINE):
            assert [(await listener.messages.get()).payload for _ in range(3)] == [b"0", b"1", b"2"]


async def test_without_repetition_a_move_takes_only_what_nobody_acknowledged() -> None:
    async with pair() as (_white, black, _, group), group.follow(repeat=0) as connection:
        await connection.publish("n/x", "before")
        moves = connection.moves()
        await black.names("black", 6, reason="switchover")
        assert (await anext(moves)).again == 0


async def test_an_order_to_the_group_is_not_given_twice() -> None:
    async with pair() as (_white, black, _, group), group.follow() as connection:
        await connection.publish(f"edge/{GROUP}/request/switchover", b"")
        moves = connection.moves()
        await black.names("black", 6, reason="switchover")
        assert (await anext(moves)).again == 0


async def test_a_broken_connection_to_the_same_node_is_mended() -> None:
    async with pair() as (_white, _black, proxy, group), group.follow() as connection:
        moves = connection.moves()
        await ready(connection, "n/#")
        proxy.cut()
        await connection.enqueue("n/x", "1")
        proxy.is_cut = False
        await connection.drain()
        assert await received(connection, 1) == ["1"]
        assert [(await anext(moves)).node, (await anext(moves)).node] == ["white", "white"]


async def test_messages_of_the_next_hot_node_count_before_the_move_is_known() -> None:
    """Publisher and receiver learn of a move at different moments."""
    async with pair() as (_white, black, _, group), group.follow() as connection:
        await ready(connection, "n/#")
        await black.client.publish("n/x", b"early", qos=1)
        await black.client.publish("n/kept", b"kept", qos=1, retain=True)
        await black.names("black", 6)
        assert await received(connection, 2) == ["early", "kept"]


async def test_what_the_next_hot_nodes_broker_retains_comes_after_the_move() -> None:
    async with pair() as (_white, black, _, group), group.follow() as connection:
        await black.client.publish("n/kept", b"kept", qos=1, retain=True)
        await ready(connection, "n/#")
        await connection.publish("n/x", "on white")
        assert await received(connection, 1) == ["on white"]
        await black.names("black", 6)
        found = {await _next(connection) for _ in range(2)}
        assert found == {("kept", True), ("on white", False)}


async def _next(connection: Follower) -> tuple[str, bool]:
    async with asyncio.timeout(DEADLINE):
        message = await anext(connection.messages)
    return message.payload.decode(), message.retained


async def test_a_late_acknowledgement_of_the_last_connection_is_nobodys() -> None:
    """The numbers on both connections are the same, and the new one's broker has said nothing."""
    async with (
        asyncio.timeout(3 * DEADLINE),
        speakers("white", "black", "grey") as (white, black, grey),
        proxy_to(white.broker.port) as to_white,
        proxy_to(black.broker.port) as to_black,
    ):
        for each in (white, black, grey):
            await each.names("white", 5)
        async with (
            Group([to_white.address, to_black.address, grey.address]) as group,
            group.follow() as connection,
        ):
            await connection.subscribe("n/#")
            await until(lambda: len(connection.ready) == 3 and connection.node == "white")
            to_white.passes_answers.clear()
            to_black.passes_answers.clear()
            for number in range(9):
                await connection.enqueue("n/x", str(number))
            await grey.names("black", 6)
            await until(lambda: connection.node == "black")
            await white.client.publish("n/end", b"end", qos=1)
            to_white.passes_answers.set()
            while (await anext(connection.messages)).payload != b"end":
                pass
            assert connection.unacknowledged == 9
            to_black.passes_answers.set()


async def test_messages_of_the_last_hot_node_count_for_a_while() -> None:
    async with pair() as (white, black, _, group), group.follow() as connection:
        await ready(connection, "n/#")
        await black.names("black", 6, reason="switchover")
        await until(lambda: connection.node == "black")
        await white.client.publish("n/x", b"late", qos=1)
        assert await received(connection, 1) == ["late"]


async def test_nothing_goes_out_while_nobody_is_hot() -> None:
    async with pair() as (white, black, _, group), group.follow() as connection:
        await until(lambda: connection.node == "white")
        await white.say("hot", "none")
        await black.say("hot", "none")
        await until(lambda: group.hot is None)
        assert connection.node is None
        waiting = asyncio.create_task(connection.publish("n/x", "patient"))
        await white.client.ping()
        assert connection.unacknowledged == 1
        await black.names("black", 6)
        async with asyncio.timeout(DEADLINE):
            await waiting


async def test_a_full_queue_makes_the_caller_wait_and_keeps_the_order() -> None:
    async with pair() as (_white, _black, proxy, group), group.follow(limit=3) as connection:
        await ready(connection, "n/#")
        proxy.passes_answers.clear()
        tasks = [asyncio.create_task(connection.publish("n/x", str(each))) for each in range(20)]
        await until(lambda: connection.unacknowledged == 3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.enqueue("n/x", "no room")
        assert connection.unacknowledged == 3
        proxy.passes_answers.set()
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*tasks)
        assert await received(connection, 20) == [str(each) for each in range(20)]


async def test_a_cancelled_publish_leaves_the_others_in_order() -> None:
    async with pair() as (_white, _black, proxy, group), group.follow() as connection:
        await ready(connection, "n/#")
        proxy.passes_answers.clear()
        tasks = [asyncio.create_task(connection.publish("n/x", str(each))) for each in range(3)]
        await until(lambda: connection.unacknowledged == 3)
        tasks[1].cancel()
        proxy.passes_answers.set()
        async with asyncio.timeout(DEADLINE):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [type(None), asyncio.CancelledError, type(None)]
        assert await received(connection, 3) == ["0", "1", "2"]


async def test_leaving_says_what_nobody_acknowledged() -> None:
    async with pair() as (_white, _black, proxy, group):
        connection = await group.follow(farewell=0.05).__aenter__()
        await until(lambda: connection.node == "white")
        proxy.passes_answers.clear()
        waiting = asyncio.create_task(connection.publish("n/x", "1"))
        await until(lambda: connection.unacknowledged == 1)
        await connection.enqueue("n/x", "2")
        with pytest.raises(ClosedError, match="2 messages"):
            await connection.__aexit__(None, None, None)
        with pytest.raises(ClosedError):
            await waiting
        with pytest.raises(ClosedError):
            await connection.publish("n/x", "3")
        with pytest.raises(StopAsyncIteration):
            await anext(connection.messages)


async def test_a_slow_reader_loses_the_newest_and_can_count_them() -> None:
    async with pair() as (*_, group), group.follow(messages_kept=3) as connection:
        await ready(connection, "n/#")
        for number in range(10):
            await connection.publish("n/x", str(number))
        await until(lambda: connection.messages.dropped == 7)
        assert await received(connection, 3) == ["0", "1", "2"]


async def test_unsubscribed_filters_bring_nothing() -> None:
    async with pair() as (_white, _black, _, group), group.follow() as connection:
        await ready(connection, "a/#", "b/#")
        await connection.unsubscribe("a/#")
        await connection.publish("a/x", "no")
        await connection.publish("b/x", "yes")
        assert await received(connection, 1) == ["yes"]


@pytest.mark.parametrize(
    ("topic", "payload", "qos"),
    [("a/#", b"", 1), ("", b"", 1), ("a", b"", 2), ("a", b"", -1), ("a", bytes(1024**2 - 16), 1)],
)
async def test_what_would_cost_the_connection_is_refused_at_once(
    topic: str, payload: bytes, qos: int
) -> None:
    async with pair() as (_white, _black, _, group), group.follow() as connection:
        with pytest.raises(ValueError, match=r"topic|qos|payload"):
            await connection.publish(topic, payload, qos=qos)
        with pytest.raises(ValueError, match="filter"):
            await connection.subscribe("a/#/b")
        await connection.publish("a", "good")


async def test_the_largest_payload_and_retained_messages_pass() -> None:
    largest = bytes(1024**2 - 16 - len("a/large"))
    async with pair() as (_white, _black, _, group), group.follow() as connection:
        async with asyncio.timeout(DEADLINE):
            await connection.publish("a/large", largest, retained=True)
            await connection.subscribe("a/#")
            found = await anext(connection.messages)
        assert found == Message("a/large", largest, retained=True, qos=1)


async def test_a_node_nobody_gave_an_address_of_is_waited_for() -> None:
    async with pair() as (_white, black, _, group), group.follow() as connection:
        await black.say(
            "node/grey/state", b'{"state":"online","role":"hot","term":9,"session":"1"}'
        )
        await black.say("hot", "grey")
        await until(lambda: group.hot is not None and group.hot.node == "grey")
        assert connection.node is None
        await black.names("black", 10)
        async with asyncio.timeout(DEADLINE):
            await connection.publish("a/b", "c")
