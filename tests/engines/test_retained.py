"""Retained messages: set, replaced, cleared, handed out at subscription and only then."""

import asyncio

from broker.client import Message
from broker.settings import BrokerSettings
from tests.engines.tools import (
    Broker,
    connect,
    messages_until,
    next_message,
    open_settings,
    running,
)

CROWD = 200
TOPICS = 300


async def test_retained_is_handed_out_at_subscription(broker: Broker) -> None:
    writer = await connect(broker, "writer")
    await writer.publish("state", b"old", retain=True)
    await writer.publish("state", b"new", retain=True)
    reader = await connect(broker, "reader")
    await reader.subscribe("state")
    assert await next_message(reader) == Message("state", b"new", qos=1, retain=True)
    await writer.publish("state", b"live", retain=True)
    assert await next_message(reader) == Message("state", b"live", qos=1, retain=False)


async def test_retained_is_cleared_by_an_empty_payload(broker: Broker) -> None:
    writer = await connect(broker, "writer")
    await writer.publish("state", b"old", retain=True)
    await writer.publish("state", b"", retain=True)
    reader = await connect(broker, "reader")
    await reader.subscribe("state")
    await writer.publish("state", b"end")
    assert await messages_until(reader, b"end") == []


async def test_nothing_retained_without_subscription(broker: Broker) -> None:
    writer = await connect(broker, "writer")
    await writer.subscribe("state")
    await writer.publish("state", b"kept", retain=True)
    reader = await connect(broker, "reader")
    await reader.subscribe("other")
    await reader.publish("other", b"end")
    assert await messages_until(reader, b"end") == []


async def test_seeds_stand_when_start_returns(engine: str, port: int) -> None:
    seed = (("lease", "first"), ("state/a", "größer"))
    before = open_settings(port)
    settings = BrokerSettings(before.listeners, before.roles, anonymous=before.anonymous, seed=seed)
    async with running(engine, settings) as broker:
        reader = await connect(broker, "reader")
        await reader.subscribe("#")
        seen = {await next_message(reader) for _ in seed}
        assert {(each.topic, each.payload.decode(), each.retain) for each in seen} == {
            (topic, payload, True) for topic, payload in seed
        }


async def test_a_crowd_reconnects_while_topics_are_retained(broker: Broker) -> None:
    writer = await connect(broker, "writer")
    for number in range(TOPICS):
        await writer.publish(f"crowd/{number}", b"kept", retain=True)
    dashboard = await connect(broker, "dashboard")
    await dashboard.subscribe("crowd/#", qos=0)
    crowd = [await connect(broker, f"member-{number}") for number in range(CROWD)]
    for number, member in enumerate(crowd):
        await member.subscribe(f"member/{number}")
    await asyncio.gather(*(member.abort() for member in crowd))
    joining = (_join(broker, number) for number in range(CROWD))
    results = await asyncio.gather(*joining, return_exceptions=True)
    assert results == [None] * CROWD


async def _join(broker: Broker, number: int) -> None:
    member = await connect(broker, f"member-{number}")
    await member.subscribe(f"member/{number}")
    await member.subscribe("crowd/#", qos=0)
    topics = {(await next_message(member)).topic for _ in range(TOPICS)}
    assert len(topics) == TOPICS
