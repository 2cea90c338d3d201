"""Is a broker fit to be a witness? Tries what docs/protocol.md asks of a broker, on a live one.

It needs a scratch topic prefix where it may publish and subscribe, leaves nothing there, and is
done within `PROBE_TIMEOUT`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from secrets import token_hex
from typing import NamedTuple

from broker.client import Client, ClientError, Login, Message

PROBE_TIMEOUT = 10.0
CHECK_TIMEOUT = 9.0  # leaves time to clean up
WILL_TIMEOUT = 8.0  # mosquitto looks for silent clients every 5 s only
ORDER_TIMEOUT = 3.0
CONNECT_TIMEOUT = 3.0
PUBLISHERS = 3
MESSAGES = 60  # of each publisher
SNAPSHOTS = 12  # subscribers that come while records flow
KEEPALIVE = 1


@dataclass(frozen=True, slots=True)
class Target:
    host: str
    port: int
    user: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One property of a broker. `sentence` says for an operator what was seen."""

    id: str
    is_ok: bool
    sentence: str


class Check(NamedTuple):
    id: str
    run: Callable[[Target, str], Awaitable[Finding]]


async def probe(target: Target, prefix: str) -> tuple[Finding, ...]:
    """Everything that a witness must do, tried at once under `prefix`; findings in fixed order."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await _try_to_connect(target)
            scratch = f"{prefix}/{token_hex(8)}"
            found = await asyncio.gather(*(_guarded(each, target, scratch) for each in CHECKS))
    except (ClientError, OSError, TimeoutError) as error:
        return (Finding("connect", False, f"cannot use {_name(target)}: {_reason(error)}"),)  # noqa: FBT003
    return (Finding("connect", True, f"{_name(target)} accepts connections"), *found)  # noqa: FBT003


async def check_order(target: Target, prefix: str) -> Finding:
    """One order of the messages on one topic for all subscribers, the publishers included."""
    sequences = await _crossfire(target, f"{prefix}/order")
    everywhere = set.intersection(*(set(each) for each in sequences))
    orders = {tuple(number for number in each if number in everywhere) for each in sequences}
    if len(orders) > 1:
        return _bad("order", "gives its subscribers different orders of the messages on one topic")
    return _good("order", "gives all subscribers of a topic one order")


async def check_loss(target: Target, prefix: str) -> Finding:
    """No message is lost on a connection that stays up."""
    sequences = await _crossfire(target, f"{prefix}/loss")
    missing = sum(PUBLISHERS * MESSAGES - len(set(each)) for each in sequences)
    if missing:
        return _bad("loss", f"lost {missing} acknowledged messages on connections that stayed up")
    return _good("loss", "loses no acknowledged message")


async def check_snapshot(target: Target, prefix: str) -> Finding:
    """The retained message at subscription is not older than the one before the first live one."""
    topic = f"{prefix}/snapshot"
    async with _connected(target, SNAPSHOTS + 1) as (writer, *readers):
        await writer.publish(topic, b"0", retain=True)
        flow = asyncio.create_task(_count_up(writer, topic), name="records")
        try:
            gaps = [await _gap_at_subscription(reader, topic) for reader in readers]
        finally:
            flow.cancel()
            await asyncio.wait((flow,))
            await _clear(writer, readers[-1], topic)
    if any(gap > 1 for gap in gaps):
        return _bad("snapshot", "leaves a gap between the retained message and the live ones")
    return _good("snapshot", "hands out the current retained message")


async def check_will_after_reset(target: Target, prefix: str) -> Finding:
    """The will of a connection that is reset is published."""
    topic = f"{prefix}/will/reset"
    async with _connected(target, 1) as (watcher,):
        await _subscribe(watcher, topic)
        dying = await _connect(target, will=Message(topic, b"lost", qos=1))
        await dying.abort()
        if await _heard(watcher):
            return _good("will_after_reset", "publishes the will of a reset connection")
    return _bad("will_after_reset", "does not publish the will of a reset connection")


async def check_will_after_silence(target: Target, prefix: str) -> Finding:
    """The will of a connection on which nothing comes any more is published."""
    topic = f"{prefix}/will/silence"
    async with _connected(target, 1) as (watcher,):
        await _subscribe(watcher, topic)
        silent = await _connect(target, KEEPALIVE, will=Message(topic, b"lost", qos=1))
        try:
            if await _heard(watcher):
                return _good("will_after_silence", "publishes the will of a silent connection")
        finally:
            await silent.disconnect()
    return _bad("will_after_silence", "does not publish the will of a connection that went silent")


CHECKS = (
    Check("order", check_order),
    Check("snapshot", check_snapshot),
    Check("loss", check_loss),
    Check("will_after_reset", check_will_after_reset),
    Check("will_after_silence", check_will_after_silence),
)


async def _guarded(check: Check, target: Target, prefix: str) -> Finding:
    """A check that gets no answer is a finding too, not a failure of the probe."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await check.run(target, prefix)
    except TimeoutError:
        return _bad(check.id, f"did not answer within {CHECK_TIMEOUT:g} s")
    except (ClientError, OSError) as error:
        return Finding(check.id, False, _reason(error))  # noqa: FBT003


async def _crossfire(target: Target, topic: str) -> list[list[bytes]]:
    """Several clients publish to one topic at the same time; what each of them received."""
    async with _connected(target, PUBLISHERS) as clients:
        for client in clients:
            await _subscribe(client, topic)
        await asyncio.gather(*(_publish_numbers(each, topic) for each in clients))
        return await asyncio.gather(*(_received(each, PUBLISHERS * MESSAGES) for each in clients))


async def _publish_numbers(client: Client, topic: str) -> None:
    name = token_hex(4)
    for number in range(MESSAGES):
        await client.publish(topic, f"{name} {number}".encode())


async def _received(client: Client, count: int) -> list[bytes]:
    """The payloads that came, waiting for `count` of them, but not for ever."""
    payloads: list[bytes] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(ORDER_TIMEOUT):
            while len(payloads) < count:
                payloads.append((await client.messages.get()).payload)
    return payloads


async def _count_up(writer: Client, topic: str) -> None:
    number = 0
    while True:
        number += 1
        await writer.publish(topic, str(number).encode(), retain=True)


async def _clear(writer: Client, reader: Client, topic: str) -> None:
    """Take the retained message away, and see it done: not every broker acts when it says so."""
    await writer.publish(topic, b"", retain=True)
    while (await reader.messages.get()).payload:
        pass


async def _gap_at_subscription(reader: Client, topic: str) -> int:
    """The largest step from the snapshot to the first live number, and between live ones.

    A snapshot that is newer than the first live message is no gap: what it skips still comes.
    """
    await _subscribe(reader, topic)
    seen = [await reader.messages.get() for _ in range(4)]
    if not any(message.retain for message in seen):
        raise ClientError("the broker hands out no retained message at subscription")
    snapshot = next(int(message.payload) for message in seen if message.retain)
    live = [int(message.payload) for message in seen if not message.retain]
    if not live:
        raise ClientError("the broker marks live messages as retained")
    return max(live[0] - snapshot, *(after - before for before, after in pairwise(live)))


async def _heard(watcher: Client) -> bool:
    try:
        async with asyncio.timeout(WILL_TIMEOUT):
            await watcher.messages.get()
    except TimeoutError:
        return False
    return True


async def _subscribe(client: Client, topic: str) -> None:
    if await client.subscribe(topic) >= 128:
        raise ClientError(f"the broker does not let this user subscribe to {topic}")


async def _try_to_connect(target: Target) -> None:
    async with asyncio.timeout(CONNECT_TIMEOUT):
        client = await _connect(target)
    await client.disconnect()


async def _connect(target: Target, keepalive: int = 0, will: Message | None = None) -> Client:
    login = Login(f"probe-{token_hex(8)}", target.user, target.password, keepalive, will)
    return await Client.connect(target.host, target.port, login)


@asynccontextmanager
async def _connected(target: Target, count: int) -> AsyncIterator[Sequence[Client]]:
    clients: list[Client] = []
    try:
        for _ in range(count):
            clients.append(await _connect(target))  # noqa: PERF401
        yield clients
    finally:
        for client in clients:
            await client.disconnect()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or "no answer"


def _name(target: Target) -> str:
    return f"{target.host}:{target.port}"


def _good(name: str, what: str) -> Finding:
    return Finding(name, True, f"the broker {what}")  # noqa: FBT003


def _bad(name: str, what: str) -> Finding:
    return replace(_good(name, what), is_ok=False)
