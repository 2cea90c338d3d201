"""One order for everybody, and nothing that was acknowledged is lost."""

import asyncio

from broker.client import Client
from tests.engines.tools import Broker, connect, messages_until, next_message

PUBLISHERS = 4
MESSAGES = 100


async def test_one_order_for_all_subscribers(broker: Broker) -> None:
    publishers = [await connect(broker, f"publisher-{number}") for number in range(PUBLISHERS)]
    watchers = [await connect(broker, f"watcher-{number}") for number in range(2)]
    everybody = [*publishers, *watchers]
    for client in everybody:
        assert await client.subscribe("lease") == 1
    await asyncio.gather(*(_publish(each, number) for number, each in enumerate(publishers)))
    sequences = [
        [(await next_message(client)).payload for _ in range(PUBLISHERS * MESSAGES)]
        for client in everybody
    ]
    assert all(sequence == sequences[0] for sequence in sequences)
    assert len(set(sequences[0])) == PUBLISHERS * MESSAGES


async def test_no_gap_between_retained_and_live(broker: Broker) -> None:
    writer = await connect(broker, "writer")
    await writer.publish("count", b"0", retain=True)
    readers = [await connect(broker, f"reader-{number}") for number in range(20)]
    flow = asyncio.create_task(_count(writer))
    for reader in readers:
        await reader.subscribe("count")
        seen = [await next_message(reader) for _ in range(3)]
        numbers = [int(message.payload) for message in seen]
        assert [message.retain for message in seen] == [True, False, False], seen
        assert numbers[1] - numbers[0] <= 1
        assert numbers[2] - numbers[1] == 1
    flow.cancel()
    await asyncio.wait((flow,))


async def test_acknowledged_messages_survive_the_disconnect(broker: Broker) -> None:
    watcher = await connect(broker, "watcher")
    await watcher.subscribe("news")
    for turn in range(10):
        publisher = await connect(broker, f"publisher-{turn}")
        payloads = [b"%d-%d" % (turn, number) for number in range(20)]
        await asyncio.gather(*(publisher.publish("news", payload) for payload in payloads))
        await publisher.disconnect()
    closing = await connect(broker, "closing")
    await closing.publish("news", b"end")
    assert len(await messages_until(watcher, b"end")) == 200


async def _publish(client: Client, number: int) -> None:
    for index in range(MESSAGES):
        await client.publish("lease", b"%d-%d" % (number, index))


async def _count(writer: Client) -> None:
    number = 0
    while True:
        number += 1
        await writer.publish("count", b"%d" % number, retain=True)
