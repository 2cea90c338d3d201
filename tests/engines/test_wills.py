"""The last will of a client that is gone, however it went."""

import asyncio
import signal
import time

from broker.client import Client, Message
from tests.engines.tools import HOST, Broker, connect, messages_until, next_message

KEEPALIVE = 2
WILL = Message("will", b"lost", qos=1)
# Mosquitto looks for silent clients every 5 s; the rest is for a busy machine.
SILENCE_MARGIN = 8.0


async def test_will_after_reset(broker: Broker) -> None:
    watcher = await _watcher(broker)
    dying = await connect(broker, "dying", will=WILL)
    await dying.abort()
    assert (await next_message(watcher)).payload == b"lost"


async def test_will_after_kill(broker: Broker) -> None:
    watcher = await _watcher(broker)
    await watcher.publish("hello", b"hello", retain=True)
    command = ["mosquitto_sub", "-h", HOST, "-p", str(broker.port), "-t", "hello"]
    options = ["--will-topic", "will", "--will-payload", "lost"]
    process = await asyncio.create_subprocess_exec(
        *command, *options, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"hello\n"
    process.send_signal(signal.SIGKILL)
    assert (await next_message(watcher)).payload == b"lost"
    await process.communicate()


async def test_will_after_silence(broker: Broker) -> None:
    watcher = await _watcher(broker)
    last_packet_at = time.monotonic()
    await connect(broker, "silent", keepalive=KEEPALIVE, will=WILL)
    async with asyncio.timeout(1.5 * KEEPALIVE + SILENCE_MARGIN):
        assert (await watcher.messages.get()).payload == b"lost"
    assert time.monotonic() - last_packet_at >= 1.5 * KEEPALIVE


async def test_pings_keep_a_connection(broker: Broker) -> None:
    watcher = await _watcher(broker)
    quiet = await connect(broker, "quiet", keepalive=1, will=WILL)
    ends_at = time.monotonic() + 3.0
    while time.monotonic() < ends_at:
        await quiet.ping()
        await asyncio.sleep(0.25)  # the pace of the pings, not a synchronisation
    await quiet.publish("will", b"still here")
    assert await messages_until(watcher, b"still here") == []


async def test_no_will_after_disconnect(broker: Broker) -> None:
    watcher = await _watcher(broker)
    leaving = await connect(broker, "leaving", will=WILL)
    await leaving.disconnect()
    await watcher.publish("will", b"end")
    assert await messages_until(watcher, b"end") == []


async def test_will_is_retained_when_asked(broker: Broker) -> None:
    watcher = await _watcher(broker)
    dying = await connect(broker, "dying", will=Message("will", b"lost", qos=1, retain=True))
    await dying.abort()
    assert (await next_message(watcher)).payload == b"lost"
    late = await connect(broker, "late")
    await late.subscribe("will")
    kept = await next_message(late)
    assert (kept.payload, kept.retain) == (b"lost", True)


async def _watcher(broker: Broker) -> Client:
    watcher = await connect(broker, "watcher")
    await watcher.subscribe("will")
    return watcher
