"""MQTT 5 with clients that others wrote, paho and MQTT.js, on the engines and on mosquitto."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.engines.test_real_clients import run
from tests.engines.tools import DEADLINE, HOST, Broker


def properties(kind: int, **values: Any) -> Properties:
    found = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(found, name, value)
    return found


class Client:
    """A paho client that waits for answers; `with` logs it on and off."""

    def __init__(self, broker: Broker, name: str, **session: Any) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self.connacks: list[tuple[bool, Any]] = []
        self.codes: list[int] = []
        self.goodbyes: list[int] = []
        self._broker = broker
        self._is_clean = session.pop("clean_start", True)
        self._session = properties(PacketTypes.CONNECT, **session)
        self._changed = threading.Condition()
        client = self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5
        )
        client.on_connect = lambda _, __, flags, ___, found: self._note(
            self.connacks, (flags.session_present, found)
        )
        client.on_message = lambda _, __, message: self._note(self.messages, message)
        client.on_subscribe = lambda _, __, ___, codes, ____: self._note(
            self.codes, *(each.value for each in codes)
        )
        client.on_unsubscribe = client.on_subscribe
        client.on_disconnect = lambda _, __, ___, code, ____: self._note(self.goodbyes, code.value)

    def _note(self, into: list[Any], *what: Any) -> None:
        with self._changed:
            into.extend(what)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE)

    def __enter__(self) -> Self:
        self.paho.connect(
            HOST, self._broker.port, clean_start=self._is_clean, properties=self._session
        )
        self.paho.loop_start()
        self.wait(lambda: bool(self.connacks))
        return self

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def subscribe(self, topic_filter: str, qos: int = 0, identifier: int = 0, **more: Any) -> int:
        before = len(self.codes)
        extra = (
            properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier)
            if identifier
            else None
        )
        options = SubscribeOptions(qos, **more)
        self.paho.subscribe(topic_filter, options=options, properties=extra)
        self.wait(lambda: len(self.codes) > before)
        return self.codes[-1]

    def publish(self, topic: str, payload: bytes, qos: int = 1, **more: Any) -> None:
        retain = more.pop("retain", False)
        extra = properties(PacketTypes.PUBLISH, **more)
        self.paho.publish(topic, payload, qos, retain, extra).wait_for_publish(DEADLINE)

    def property_of(self, index: int) -> Any:
        """Its attributes are named as in the specification; paho has no types for them."""
        return self.messages[index].properties

    def payloads(self, count: int) -> list[bytes]:
        """The first so many messages, when they have come."""
        self.wait(lambda: len(self.messages) >= count)
        return [bytes(each.payload) for each in self.messages]


async def test_mqtt_5(broker: Broker) -> None:
    await asyncio.to_thread(_talk, broker)


def _talk(broker: Broker) -> None:
    with Client(broker, "talker") as client:
        assert client.subscribe("five/#", 2) == 2
        for qos in (0, 1, 2):
            client.publish(f"five/{qos}", b"hello", qos)
        client.payloads(3)
        assert {(each.topic, each.qos) for each in client.messages} == {
            (f"five/{qos}", qos) for qos in (0, 1, 2)
        }


def _passes_properties_on(broker: Broker) -> None:
    with Client(broker, "reader") as reader, Client(broker, "writer") as writer:
        reader.subscribe("five/#", 1, identifier=42)
        sent: dict[str, Any] = {
            "ContentType": "text",
            "ResponseTopic": "answers",
            "CorrelationData": b"\x00\xff",
            "PayloadFormatIndicator": 1,
            "UserProperty": [("b", "1"), ("a", "2")],
        }
        writer.publish("five/a", b"x", **sent)
        reader.payloads(1)
        found = reader.property_of(0)
        assert {name: getattr(found, name) for name in sent} == sent
        assert found.SubscriptionIdentifier == [42]


def _keeps_a_session_while_it_shall(broker: Broker) -> None:
    with Client(broker, "keeper", SessionExpiryInterval=1000) as client:
        client.subscribe("five/#", 1)
    with Client(broker, "writer") as writer:
        writer.publish("five/a", b"expires", MessageExpiryInterval=1)
        writer.publish("five/b", b"stays", MessageExpiryInterval=1000)
    _wait_for_expiry(broker)
    with Client(broker, "keeper", clean_start=False, SessionExpiryInterval=0) as client:
        assert client.connacks[0][0]
        assert client.payloads(1)[0] == b"stays"
        assert client.property_of(0).MessageExpiryInterval <= 999
    with Client(broker, "keeper", clean_start=False) as client:
        assert not client.connacks[0][0]


def _wait_for_expiry(broker: Broker) -> None:
    """Until a retained message has gone that lives longer than the one that matters."""
    with Client(broker, "waiter") as waiter:
        waiter.subscribe("watch/mark")
        waiter.publish("watch/kept", b"kept", retain=True, MessageExpiryInterval=2)
        ends_at = time.monotonic() + DEADLINE
        while not waiter.messages or b"kept" in waiter.payloads(1):
            assert time.monotonic() < ends_at
            waiter.messages.clear()
            waiter.subscribe("watch/kept")
            waiter.publish("watch/mark", b"mark")
            waiter.wait(lambda: any(each.payload == b"mark" for each in waiter.messages))


def _shares_a_subscription(broker: Broker) -> None:
    with (
        Client(broker, "one") as one,
        Client(broker, "two") as two,
        Client(broker, "all") as everybody,
        Client(broker, "writer") as writer,
    ):
        for member in (one, two):
            assert member.subscribe("$share/group/five/#", 1) == 1
        everybody.subscribe("five/#", 1)
        for number in range(20):
            writer.publish("five/a", b"%d" % number)
        everybody.payloads(20)
        ends_at = time.monotonic() + DEADLINE
        while len(one.messages) + len(two.messages) < 20:
            assert time.monotonic() < ends_at
            time.sleep(0.005)
        found = [each.payload for each in (*one.messages, *two.messages)]
        assert sorted(found) == sorted(b"%d" % number for number in range(20))
        assert one.messages
        assert two.messages


def _knows_the_options_of_subscriptions(broker: Broker) -> None:
    with Client(broker, "client") as client, Client(broker, "writer") as writer:
        writer.publish("five/kept", b"kept", retain=True)
        client.subscribe("five/#", 1, noLocal=True, retainAsPublished=True, retainHandling=2)
        client.publish("five/mine", b"mine")
        writer.publish("five/live", b"live", retain=True)
        client.payloads(1)
        assert [(each.payload, each.retain) for each in client.messages] == [(b"live", True)]
        writer.publish("five/live", b"", retain=True)
        writer.publish("five/kept", b"", retain=True)


def _says_why(broker: Broker) -> None:
    with Client(broker, "") as client:
        assert client.connacks[0][1].AssignedClientIdentifier
    with Client(broker, "twin") as old:
        old.paho.reconnect_delay_set(1000, 1000)
        with Client(broker, "twin"):
            old.wait(lambda: bool(old.goodbyes))
        # Mosquitto 2.0.11 closes without a word.
        assert old.goodbyes[0] == (0x8E if broker.kind == "embedded" else 0x80)


SCENARIOS = (
    _passes_properties_on,
    _keeps_a_session_while_it_shall,
    _shares_a_subscription,
    _knows_the_options_of_subscriptions,
    _says_why,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__.strip("_"))
async def test_paho_5(five: Broker, scenario: Callable[[Broker], None]) -> None:
    await asyncio.to_thread(scenario, five)


async def test_javascript_client_5(five: Broker, javascript: Path) -> None:
    found = json.loads(await run("node", str(javascript / "client5.js"), str(five.port)))
    assert found == {
        "answer": ["js/answers", "1", "42 is the answer"],
        "shared": ["0", "1", "2", "3"],
        "subscription": 7,
        "refused": True,
        "user": {"color": ["red", "green"]},
    }
