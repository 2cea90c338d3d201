"""The names under `$SYS`, held against a real mosquitto."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from broker.admission.refusals import Limit
from broker.client import Client
from broker.engines.child import Child, bound_to_parent
from broker.engines.mosquitto import find_binary
from broker.settings import Action, Role, Rule
from tests.engines.tools import (
    DEADLINE,
    EVERYTHING,
    HOST,
    Broker,
    connect,
    next_message,
    open_settings,
    running,
)

PREFIX = "$SYS/broker/"
READER = Role("reader", (*EVERYTHING.rules, Rule(Action.SUBSCRIBE, "$SYS/#", True)))
# Counting the bytes of payloads would cost something for each message.
LEFT_OUT = {"publish/bytes/received", "publish/bytes/sent"}
ADDED = {"clients/refused", "messages/dropped", *(f"limits/{limit}" for limit in Limit)}


async def test_names_are_those_of_mosquitto(port: int) -> None:
    ours = await _names_of_embedded(port)
    theirs = await _names_of_mosquitto(port, (ours - ADDED) | LEFT_OUT)
    assert ours - theirs == ADDED
    assert theirs - ours == LEFT_OUT


async def _names_of_embedded(port: int) -> set[str]:
    """They are all retained before the first client can connect."""
    of = replace(open_settings(port), roles=(READER,), anonymous=READER.name)
    async with running("embedded", of) as broker:
        client = await connect(broker, "watcher")
        await client.subscribe("$SYS/#")
        await client.subscribe("end")
        await client.publish("end", b"")
        names: set[str] = set()
        while (message := await next_message(client)).topic != "end":
            names.add(message.topic.removeprefix(PREFIX))
        return names


async def _names_of_mosquitto(port: int, expected: set[str]) -> set[str]:
    """It publishes some of them late: all that come until the expected ones are there."""
    child = Child("reference")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mosquitto.conf"
        lines = (f"listener {port} {HOST}", "allow_anonymous true", "user root", "sys_interval 1")
        file.write_text("\n".join(lines) + "\n")
        await child.start_foreign(bound_to_parent([find_binary(), "-c", str(file)]), " running")
    try:
        client = await connect(Broker("reference", port, child.pid or 0), "watcher")
        names = await _names_until(client, expected)
        await client.disconnect()
        return names
    finally:
        await child.stop()


async def _names_until(client: Client, expected: set[str]) -> set[str]:
    await client.subscribe("$SYS/#")
    names: set[str] = set()
    async with asyncio.timeout(DEADLINE):
        while not names >= expected:
            names.add((await client.messages.get()).topic.removeprefix(PREFIX))
    return names
