"""Chapter 3.3: PUBLISH, what is retained, what is passed on, aliases, expiry."""

import pytest

from broker.protocol import packets
from broker.protocol.fields import write_text
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Properties,
    Publish,
    Subscribe,
)
from broker.protocol.reasons import ReasonCode
from broker.settings import Limits
from tests.conformance.tools import (
    NOT_UTF8,
    connect,
    lasting,
    publish,
    raw,
    raw_publish,
    retained,
    shows,
    subscriber,
    was_closed,
)
from tests.mqtt.tools import Hub, settings

NO_LOCAL, KEEP_RETAIN, IF_NEW, NEVER = 0x04, 0x08, 0x10, 0x20


@shows(v3="3.3.1-2 3.3.1-3 4.3.1-1", v5="3.3.1-2 3.3.1-3 4.3.1-1 4.3.2-2 4.3.3-2")
def test_dup_is_not_passed_on(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    for qos in (0, 1, 2):
        publish(hub, qos=qos, dup=qos > 0)
    assert [(each.qos, each.dup) for each in reader.published()] == [
        (0, False),
        (1, False),
        (2, False),
    ]


@shows(v3="3.3.1-2", v5="3.3.1-2")
def test_qos_0_with_dup_closes(version: int) -> None:
    peer = connect(Hub(), version)
    peer.send(raw_publish(version, b"\0\1a", 0x38))
    assert was_closed(peer, version, ReasonCode.MALFORMED_PACKET)


@shows(v3="3.3.1-4", v5="3.3.1-4")
def test_qos_3_closes(version: int) -> None:
    peer = connect(Hub(), version)
    peer.send(raw_publish(version, b"\0\1a", 0x36, b"\0\1"))
    assert was_closed(peer, version, ReasonCode.MALFORMED_PACKET)


# Retained messages


@shows(v3="3.3.1-5 3.3.1-6 3.3.1-8", v5="3.3.1-5")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_last_retained_message_is_handed_out(version: int, qos: int) -> None:
    hub = Hub()
    publish(hub, payload=b"old", qos=1, retain=True)
    publish(hub, payload=b"new", qos=qos, retain=True)
    found = [(each.payload, each.qos, each.retain) for each in retained(hub, version)]
    assert found == [(b"new", qos, True)]


@shows(v3="3.3.1-7")
def test_qos_0_replaces_what_was_retained() -> None:
    hub = Hub()
    publish(hub, payload=b"old", qos=2, retain=True)
    publish(hub, payload=b"new", retain=True)
    assert [each.payload for each in retained(hub, MQTT_3_1_1)] == [b"new"]


@shows(v3="3.3.1-9", v5="3.3.1-12")
def test_live_messages_have_no_retain(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    publish(hub, retain=True)
    assert [each.retain for each in reader.published()] == [False]


@shows(v3="3.3.1-10 3.3.1-11", v5="3.3.1-6 3.3.1-7")
def test_an_empty_message_removes_and_is_passed_on(version: int) -> None:
    hub = Hub()
    publish(hub, payload=b"old", retain=True)
    reader = subscriber(hub, version, options=2 | (NEVER if version == MQTT_5 else 0))
    reader.got()
    publish(hub, payload=b"", retain=True)
    assert reader.payloads() == [b""]
    assert retained(hub, version) == []


@shows(v3="3.3.1-12", v5="3.3.1-8")
def test_a_plain_message_changes_nothing_in_the_store(version: int) -> None:
    hub = Hub()
    publish(hub, payload=b"kept", retain=True)
    for payload in (b"other", b""):
        publish(hub, payload=payload)
    publish(hub, "b", b"other")
    assert [each.payload for each in retained(hub, version)] == [b"kept"]


@shows(v5="3.3.1-9 3.3.1-10 3.3.1-11")
@pytest.mark.parametrize(("handling", "counts"), [(0, [1, 1]), (IF_NEW, [1, 0]), (NEVER, [0, 0])])
def test_retain_handling(handling: int, counts: list[int]) -> None:
    hub = Hub()
    publish(hub, retain=True)
    peer = connect(hub, MQTT_5)
    found = []
    for _ in counts:
        peer.send(Subscribe(1, (("a", handling),)))
        found.append(len(peer.published()))
    assert found == counts


@shows(v5="3.3.1-12 3.3.1-13")
@pytest.mark.parametrize("keeps", [False, True])
def test_retain_as_published(*, keeps: bool) -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5, options=1 | (KEEP_RETAIN if keeps else 0))
    publish(hub, payload=b"1", retain=True)
    publish(hub, payload=b"2")
    assert [each.retain for each in reader.published()] == [keeps, False]


# Topics and what comes with a message


@shows(v3="3.3.2-2 4.7.1-1", v5="3.3.2-2 4.7.0-1")
@pytest.mark.parametrize("topic", ["a/#", "+", "a/+/b", "a#"])
def test_a_topic_has_no_wildcards(version: int, topic: str) -> None:
    peer = connect(Hub(), version)
    peer.send(raw_publish(version, write_text(topic)))
    assert was_closed(peer, version, ReasonCode.TOPIC_NAME_INVALID)


@shows(v3="3.3.2-3", v5="3.3.2-3")
def test_what_is_delivered_matches(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version, "a/+/c")
    for topic in ("a/b/c", "a/b", "a/b/c/d", "x/b/c", "a//c"):
        publish(hub, topic)
    assert [each.topic for each in reader.published()] == ["a/b/c", "a//c"]


EVERYTHING = Properties(
    payload_format=1,
    content_type="text/plain",
    response_topic="answers/1",
    correlation_data=bytes(range(256)),
    user_properties=(("b", "1"), ("a", "2"), ("b", "1"), ("", "several\nlines")),
)


@shows(v5="3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_are_passed_on(qos: int) -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    publish(hub, qos=qos, properties=EVERYTHING, retain=True)
    assert [each.properties for each in reader.published()] == [EVERYTHING]
    assert [each.properties for each in retained(hub, MQTT_5)] == [EVERYTHING]
    assert [each.properties for each in retained(hub, MQTT_3_1_1)] == [packets.NONE]


@shows(v5="3.3.2-13 3.3.2-14 3.3.2-19")
@pytest.mark.parametrize(
    "found",
    [
        b"\x08" + NOT_UTF8,
        b"\x08\0\3a/#",
        b"\x08\0\1+",
        b"\x08\0\0",
        b"\x03" + NOT_UTF8,
        b"\x03\0\2a\0",
    ],
)
def test_properties_that_are_text(found: bytes) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(raw(0x30, b"\0\1a" + bytes((len(found),)) + found))
    assert was_closed(peer, MQTT_5, ReasonCode.MALFORMED_PACKET, ReasonCode.PROTOCOL_ERROR)


# Expiry


@shows(v5="3.3.2-5 3.3.2-6")
def test_a_message_expires_while_it_waits() -> None:
    hub = Hub()
    subscriber(hub, MQTT_5).vanish()
    subscriber(hub, MQTT_3_1_1, client_id="old").vanish()
    publish(hub, payload=b"short", qos=1, properties=Properties(message_expiry=5))
    publish(hub, payload=b"long", qos=1, properties=Properties(message_expiry=50))
    publish(hub, payload=b"ever", qos=1)
    hub.pass_time(10)
    for version, client_id in ((MQTT_5, "reader"), (MQTT_3_1_1, "old")):
        peer = hub.peer()
        peer.send(packets.Connect(client_id, clean_session=False, version=version))
        found = [(each.payload, each.properties.message_expiry) for each in peer.published()]
        left = 40 if version == MQTT_5 else None
        assert found == [(b"long", left), (b"ever", None)]


@shows(v5="3.3.2-5 3.3.2-6")
def test_a_retained_message_expires() -> None:
    hub = Hub()
    publish(hub, retain=True, properties=Properties(message_expiry=10))
    hub.pass_time(4)
    assert [each.properties.message_expiry for each in retained(hub, MQTT_5)] == [6]
    hub.pass_time(6)
    assert retained(hub, MQTT_5) == []
    assert hub.router.retained.store.count == 0
    assert len(hub.router.agenda) == 0


@shows(v5="3.3.2-6")
@pytest.mark.parametrize("expiry", [5, 0xFFFFFFFF])
@pytest.mark.parametrize("started", [0.1, 1234567.8, 31999999.7])
def test_an_expiry_never_becomes_more_than_was_asked(expiry: int, started: float) -> None:
    """Not by the error of a float either, which would not fit into the field."""
    hub = Hub()
    hub.pass_time(started)
    publish(hub, retain=True, properties=Properties(message_expiry=expiry))
    assert [each.properties.message_expiry for each in retained(hub, MQTT_5)] == [expiry]


def test_a_retained_message_that_was_replaced_does_not_expire() -> None:
    hub = Hub()
    publish(hub, retain=True, properties=Properties(message_expiry=10))
    publish(hub, payload=b"stays", retain=True)
    hub.pass_time(100)
    assert [each.payload for each in retained(hub, MQTT_5)] == [b"stays"]


def test_expired_messages_make_room_in_a_full_queue() -> None:
    hub = Hub(settings(limits=Limits(queue_messages=3)))
    subscriber(hub, MQTT_5).vanish()
    for _ in range(3):
        publish(hub, payload=b"short", qos=1, properties=Properties(message_expiry=5))
    hub.pass_time(10)
    publish(hub, payload=b"new", qos=1)
    peer = hub.peer()
    peer.send(packets.Connect("reader", clean_session=False, version=MQTT_5))
    assert peer.payloads() == [b"new"]


# Aliases


@shows(v5="3.3.2-7 3.3.2-12")
def test_an_alias_stands_for_its_topic() -> None:
    hub = Hub(settings(limits=Limits(topic_aliases=3)))
    reader = subscriber(hub, MQTT_5)
    peer = connect(hub, MQTT_5)
    for alias in (1, 2, 3):
        peer.send(Publish(f"t{alias}", b"", properties=Properties(topic_alias=alias)))
    for alias in (3, 1, 2):
        peer.send(Publish("", b"", properties=Properties(topic_alias=alias)))
    peer.send(Publish("new", b"", properties=Properties(topic_alias=1)))
    peer.send(Publish("", b"", properties=Properties(topic_alias=1)))
    found = reader.published()
    assert [each.topic for each in found] == ["t1", "t2", "t3", "t3", "t1", "t2", "new", "new"]
    assert all(each.properties.topic_alias is None for each in found)
    peer.vanish()
    peer = connect(hub, MQTT_5)
    peer.send(Publish("", b"", properties=Properties(topic_alias=1)))
    assert was_closed(peer, MQTT_5, ReasonCode.PROTOCOL_ERROR), "aliases end with the connection"


@shows(v5="3.3.2-8 3.3.2-9 3.2.2-17")
@pytest.mark.parametrize("alias", [b"\0\0", b"\0\x04", b"\xff\xff"])
def test_an_alias_that_may_not_be(alias: bytes) -> None:
    peer = connect(Hub(settings(limits=Limits(topic_aliases=3))), MQTT_5)
    peer.send(raw(0x30, b"\0\1a\3\x23" + alias))
    assert was_closed(peer, MQTT_5, ReasonCode.TOPIC_ALIAS_INVALID)


def test_neither_topic_nor_alias() -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(raw(0x30, b"\0\0\0x"))
    assert was_closed(peer, MQTT_5, ReasonCode.PROTOCOL_ERROR)


@shows(v5="3.1.2-26 3.1.2-27 3.3.2-8 3.3.2-11")
@pytest.mark.parametrize("most", [None, 0, 1, 2])
def test_the_broker_keeps_to_the_alias_maximum(most: int | None) -> None:
    hub = Hub()
    reader = lasting(hub, MQTT_5, "reader", properties=Properties(topic_alias_maximum=most))
    reader.send(Subscribe(1, (("#", 0),)))
    reader.got()
    for topic in ("a", "b", "c") * 2:
        publish(hub, topic)
    found = [(each.topic, each.properties.topic_alias) for each in reader.published()]
    known = min(most or 0, 3)
    first = [(topic, i + 1 if i < known else None) for i, topic in enumerate("abc")]
    second = [("", i + 1) if i < known else (topic, None) for i, topic in enumerate("abc")]
    assert found == first + second


@shows(v5="3.3.4-6")
def test_a_client_sends_no_subscription_identifier() -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(raw(0x30, b"\0\1a\2\x0b\1x"))
    assert was_closed(peer, MQTT_5, ReasonCode.PROTOCOL_ERROR)


def test_a_client_cannot_have_the_broker_remember_any_number_of_topics() -> None:
    hub = Hub(settings(limits=Limits(topic_aliases=2)))
    reader = lasting(hub, MQTT_5, "reader", properties=Properties(topic_alias_maximum=0xFFFF))
    reader.send(Subscribe(1, (("#", 0),)))
    for number in range(5):
        publish(hub, f"t{number}")
    found = [each.properties.topic_alias for each in reader.published()]
    assert found == [1, 2, None, None, None]


def test_no_alias_alone_at_qos_2() -> None:
    """MQTT.js hands such messages on without a topic."""
    hub = Hub()
    reader = lasting(hub, MQTT_5, "reader", properties=Properties(topic_alias_maximum=5))
    reader.send(Subscribe(1, (("#", 2),)))
    for qos in (2, 0, 2, 1):
        publish(hub, "a", qos=qos)
    found = [(each.qos, each.topic, each.properties.topic_alias) for each in reader.published()]
    assert found == [(2, "a", 1), (0, "", 1), (2, "a", 1), (1, "", 1)]
