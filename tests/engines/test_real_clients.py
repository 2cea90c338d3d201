"""The clients that people use: paho, aiomqtt, mosquitto_pub and mosquitto_sub, MQTT.js."""

import asyncio
import json
import threading
from pathlib import Path

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.engines.tools import DEADLINE, HOST, Broker

NODE = Path(__file__).parent / "node"


async def test_paho(broker: Broker) -> None:
    seen = await asyncio.to_thread(_talk_with_paho, broker.port)
    assert seen == ["paho/0", "paho/1", "paho/2", "paho/kept"]


def _talk_with_paho(port: int) -> list[str]:
    seen: list[str] = []
    subscribed, complete = threading.Event(), threading.Event()

    def on_message(_: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        seen.append(message.topic)
        if len(seen) == 4:
            complete.set()

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="paho")
    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(HOST, port)
    client.loop_start()
    try:
        client.subscribe("paho/#", qos=2)
        assert subscribed.wait(DEADLINE)
        for qos in (0, 1, 2):
            client.publish(f"paho/{qos}", b"hello", qos=qos).wait_for_publish(DEADLINE)
        client.publish("paho/kept", b"hello", qos=1, retain=True).wait_for_publish(DEADLINE)
        assert complete.wait(DEADLINE)
    finally:
        client.disconnect()
        client.loop_stop()
    return sorted(seen)


async def test_aiomqtt(broker: Broker) -> None:
    async with asyncio.timeout(DEADLINE), aiomqtt.Client(HOST, broker.port) as client:
        await client.subscribe("aio/+", qos=2)
        for qos in (0, 1, 2):
            await client.publish(f"aio/{qos}", f"qos {qos}", qos=qos)
        seen = [await anext(client.messages) for _ in range(3)]
    assert {(str(each.topic), each.payload) for each in seen} == {
        (f"aio/{qos}", f"qos {qos}".encode()) for qos in (0, 1, 2)
    }


async def test_quality_is_the_lower_of_published_and_subscribed(broker: Broker) -> None:
    async with asyncio.timeout(DEADLINE), aiomqtt.Client(HOST, broker.port) as client:
        granted = []
        for subscribed in (0, 1, 2):
            await client.subscribe(f"quality/{subscribed}", qos=subscribed)
            for published in (0, 1, 2):
                await client.publish(f"quality/{subscribed}", str(published), qos=published)
            seen = [await anext(client.messages) for _ in range(3)]
            granted.append({int(str(each.payload, "ascii")): each.qos for each in seen})
    assert granted == [{0: 0, 1: 0, 2: 0}, {0: 0, 1: 1, 2: 1}, {0: 0, 1: 1, 2: 2}]


async def test_mosquitto_clients(broker: Broker) -> None:
    where = ["-h", HOST, "-p", str(broker.port), "-q", "2"]
    await run("mosquitto_pub", *where, "-t", "shell/kept", "-m", "one line", "-r")
    text = await run("mosquitto_sub", *where, "-t", "shell/#", "-v", "-C", "1")
    assert text == "shell/kept one line\n"
    await run("mosquitto_pub", *where, "-t", "shell/kept", "-r", "-n")
    await run("mosquitto_pub", *where, "-t", "shell/kept", "-m", "new", "-r")
    text = await run("mosquitto_sub", *where, "-t", "shell/kept", "-C", "1", "-F", "%r %p")
    assert text == "1 new\n"


async def test_javascript_client(broker: Broker, javascript: Path) -> None:
    text = await run("node", str(javascript / "client.js"), str(broker.port))
    assert sorted(json.loads(text)) == [
        ["js/0", "qos 0", False],
        ["js/1", "qos 1", False],
        ["js/2", "qos 2", False],
        ["js/retained", "kept", True],
    ]


async def run(*command: str) -> str:
    async with asyncio.timeout(4 * DEADLINE):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()
