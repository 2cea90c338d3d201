"""Chapters 3.8 to 3.11 and 4.7: SUBSCRIBE, UNSUBSCRIBE, filters."""

import pytest

from broker.protocol import packets
from broker.protocol.fields import write_text
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Connect,
    Properties,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from broker.protocol.reasons import ReasonCode
from broker.settings import Limits
from tests.conformance.tools import (
    connect,
    lasting,
    only,
    publish,
    raw,
    raw_publish,
    raw_subscribe,
    shows,
    subscriber,
    was_closed,
)
from tests.mqtt.tools import Hub, role, settings

NO_LOCAL = 0x04


@shows(
    v3="3.8.4-1 3.8.4-4 3.8.4-5 3.9.3-1 3.9.3-2",
    v5="3.8.4-1 3.8.4-5 3.8.4-6 3.8.4-7 3.9.3-1 3.9.3-2",
)
def test_each_filter_is_answered_in_order(version: int) -> None:
    few = Limits(topic_levels=2)
    hub = Hub(settings(role("some", "+subscribe a/#"), anonymous="some", limits=few))
    peer = connect(hub, version)
    peer.send(Subscribe(9, (("a/0", 0), ("b", 0), ("a/1", 1), ("a/+/b", 1), ("a/2", 2))))
    answer = only(peer.got(), Suback)
    refused, invalid = ReasonCode.NOT_AUTHORIZED, ReasonCode.TOPIC_FILTER_INVALID
    if version == MQTT_3_1_1:
        refused = invalid = ReasonCode.UNSPECIFIED_ERROR
    assert answer.packet_id == 9
    assert answer.codes == (0, refused, 1, invalid, 2)


def test_too_many_subscriptions_are_refused_with_a_reason() -> None:
    peer = connect(Hub(settings(limits=Limits(subscriptions=1))), MQTT_5)
    peer.send(Subscribe(1, (("a", 0), ("b", 0), ("a", 1))))
    assert only(peer.got(), Suback).codes == (0, ReasonCode.QUOTA_EXCEEDED, 1)


@shows(v3="3.8.3-3 3.10.3-2", v5="3.8.3-2 3.10.3-2")
@pytest.mark.parametrize("first", [0x82, 0xA2])
def test_a_request_has_a_filter(version: int, first: int) -> None:
    peer = connect(Hub(), version)
    peer.send(raw(first, b"\0\1" + (b"\0" if version == MQTT_5 else b"")))
    assert was_closed(peer, version, ReasonCode.PROTOCOL_ERROR)


@shows(v3="3.8.3-4")
@pytest.mark.parametrize("options", [3, 4, 8, 0x10, 0x80])
def test_options_of_3_1_1_are_the_qos_only(options: int) -> None:
    peer = connect(Hub(), MQTT_3_1_1)
    peer.send(raw_subscribe(MQTT_3_1_1, b"\0\1a", options))
    assert peer.is_closed


@shows(v5="3.8.3-5")
@pytest.mark.parametrize("options", [0x40, 0x80, 0xC0])
def test_reserved_options_are_malformed(options: int) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(raw_subscribe(MQTT_5, b"\0\1a", options))
    assert was_closed(peer, MQTT_5, ReasonCode.MALFORMED_PACKET)


@pytest.mark.parametrize("options", [0x03, 0x30])
def test_options_with_no_meaning_are_a_protocol_error(options: int) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(raw_subscribe(MQTT_5, b"\0\1a", options))
    assert was_closed(peer, MQTT_5, ReasonCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        (b"\x0b\0", ReasonCode.PROTOCOL_ERROR),  # identifier 0
        (b"\x0b\1\x0b\2", ReasonCode.PROTOCOL_ERROR),  # two of them
        (b"\x0b\xff\xff\xff\xff\1", ReasonCode.MALFORMED_PACKET),
        (b"\x0b\x80\0", ReasonCode.MALFORMED_PACKET),
        (b"\x01\1", ReasonCode.MALFORMED_PACKET),
    ],
)
def test_properties_of_a_subscribe_that_may_not_be(properties: bytes, code: ReasonCode) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(raw(0x82, b"\0\1" + bytes((len(properties),)) + properties + b"\0\1a\0"))
    assert was_closed(peer, MQTT_5, code)


@shows(v3="3.8.4-3", v5="3.8.4-3 3.8.4-4")
def test_the_same_filter_replaces_the_subscription(version: int) -> None:
    hub = Hub()
    publish(hub, payload=b"kept", qos=2, retain=True)
    reader = subscriber(hub, version, "a", 0)
    publish(hub, payload=b"1", qos=2)
    reader.send(Subscribe(2, (("a", 2),)))
    publish(hub, payload=b"2", qos=2)
    found = [(each.payload, each.qos, each.retain) for each in reader.published()]
    assert found == [(b"1", 0, False), (b"kept", 2, True), (b"2", 2, False)]


@shows(v3="3.8.4-6 3.3.4-1", v5="3.8.4-8")
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_the_lower_qos_counts(version: int, published: int, granted: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version, options=granted)
    publish(hub, qos=published)
    assert [each.qos for each in reader.published()] == [min(published, granted)]


@shows(v3="3.3.5-1", v5="3.3.4-2")
def test_overlapping_subscriptions_give_one_copy_with_the_highest_qos(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version, "a/#", 0)
    reader.send(Subscribe(2, (("a/b", 2), ("+/b", 1))))
    publish(hub, "a/b", qos=2)
    assert [each.qos for each in reader.published()] == [2]


@shows(v5="3.3.4-3 3.3.4-4")
def test_a_copy_has_the_identifiers_of_all_subscriptions() -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5, "none/of/it")
    for number, topic_filter in ((1, "a/#"), (200, "a/b"), (0xFFFFFFF, "+/b"), (0, "#")):
        identifiers = Properties(subscription_ids=(number,) if number else ())
        reader.send(Subscribe(2, ((topic_filter, 1),), identifiers))
    reader.got()
    publish(hub, "a/b", qos=1)
    found = only(reader.got(), Publish).properties.subscription_ids
    assert sorted(found) == [1, 200, 0xFFFFFFF]
    publish(hub, "x")
    assert [each.properties for each in reader.published()] == [packets.NONE]


def test_what_is_retained_has_the_identifier_too() -> None:
    hub = Hub()
    publish(hub, retain=True)
    peer = connect(hub, MQTT_5)
    peer.send(Subscribe(1, (("#", 0),), Properties(subscription_ids=(7,))))
    assert [each.properties.subscription_ids for each in peer.published()] == [(7,)]


@shows(v5="3.8.3-3")
def test_no_local() -> None:
    hub = Hub()
    peer = subscriber(hub, MQTT_5, "a", 1 | NO_LOCAL)
    peer.send(Publish("a", b"mine"))
    publish(hub, payload=b"yours")
    assert peer.payloads() == [b"yours"]
    peer.send(Subscribe(2, (("#", 0),)), Publish("a", b"by the other one"))
    assert peer.payloads() == [b"by the other one"]


@shows(v5="3.8.3-3")
@pytest.mark.parametrize("delay", [0, 2])
def test_no_local_holds_for_the_own_will(delay: int) -> None:
    """The client publishes it, though the broker does the work."""
    hub = Hub()
    will = Will("a", b"gone", 1, retain=False, properties=Properties(will_delay=delay))
    peer = lasting(hub, MQTT_5, will=will)
    peer.send(Subscribe(1, (("a", 1 | NO_LOCAL),)))
    other = subscriber(hub, MQTT_5, "a", 1 | NO_LOCAL)
    peer.vanish()
    hub.pass_time(3)
    assert other.payloads() == [b"gone"]
    again = hub.peer()
    again.send(Connect("client", clean_session=False, version=MQTT_5))
    assert again.payloads() == []


# UNSUBSCRIBE


@shows(v3="3.10.4-1 3.10.4-2 3.10.4-5 3.10.4-6", v5="3.10.4-1 3.10.4-2 3.10.4-5 3.10.4-6")
def test_filters_end_when_they_are_the_same_character_by_character(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version, "a/+")
    reader.send(Subscribe(2, (("B", 0),)))
    reader.send(Unsubscribe(3, ("a/b", "a/#", "b")))
    reader.got()
    publish(hub, "a/b")
    publish(hub, "B")
    assert [each.topic for each in reader.published()] == ["a/b", "B"]
    reader.send(Unsubscribe(4, ("a/+", "B")))
    publish(hub, "a/b")
    publish(hub, "B")
    kinds = [type(each).__name__ for each in reader.got()]
    assert kinds == ["Unsuback" if version == MQTT_5 else "Acknowledge"]


@shows(v5="3.11.3-1 3.11.3-2")
def test_each_filter_of_an_unsubscribe_is_answered_in_order() -> None:
    reader = subscriber(Hub(settings(limits=Limits(topic_levels=2))), MQTT_5, "a")
    reader.send(Unsubscribe(5, ("b", "a", "a", "+/x/y")))
    answer = only(reader.got(), Unsuback)
    none = ReasonCode.NO_SUBSCRIPTION_EXISTED
    assert (answer.packet_id, answer.codes) == (
        5,
        (none, ReasonCode.SUCCESS, none, ReasonCode.TOPIC_FILTER_INVALID),
    )


@shows(v3="3.10.4-3", v5="3.10.4-3")
def test_what_is_under_way_is_completed_after_unsubscribe(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    publish(hub, qos=2)
    (message,) = reader.published()
    reader.send(Unsubscribe(2, ("#",)))
    reader.got()
    reader.send(Acknowledge(packets.PUBREC, message.packet_id))
    assert reader.got() == [Acknowledge(packets.PUBREL, message.packet_id)]
    reader.send(Acknowledge(packets.PUBCOMP, message.packet_id))
    publish(hub, qos=2)
    assert reader.got() == []


# Filters


@shows(v3="4.7.1-2 4.7.1-3 4.7.3-1", v5="4.7.1-1 4.7.1-2 4.7.3-1")
@pytest.mark.parametrize("text", ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+"])
def test_filters_that_are_none(version: int, text: str) -> None:
    for packet in (Subscribe(1, (("a", 0), (text, 0))), Unsubscribe(1, ("a", text))):
        hub = Hub()
        peer = connect(hub, version)
        peer.send(packet)
        assert was_closed(peer, version, ReasonCode.MALFORMED_PACKET)
        assert hub.router._routes.is_empty()


@shows(v3="4.7.3-1", v5="4.7.3-1")
def test_an_empty_topic_closes(version: int) -> None:
    peer = connect(Hub(), version)
    peer.send(raw_publish(version, b"\0\0"))
    assert was_closed(peer, version, ReasonCode.TOPIC_NAME_INVALID, ReasonCode.PROTOCOL_ERROR)


@shows(v3="4.7.2-1", v5="4.7.2-1")
def test_wildcards_do_not_match_a_dollar(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version, "#")
    reader.send(Subscribe(2, (("+/broker/x", 0),)))
    reader.got()
    hub.router.publish_own("$SYS/broker/x", b"1")
    assert reader.published() == []
    reader.send(Subscribe(3, (("$SYS/+/x", 0),)))
    assert reader.payloads() == [b"1"]


@shows(v3="4.7.3-3", v5="4.7.3-3")
def test_the_longest_topic(version: int) -> None:
    hub = Hub(settings(limits=Limits(topic_bytes=0xFFFF)))
    reader = subscriber(hub, version)
    topic = "x" * 0xFFFF
    publish(hub, topic)
    assert [each.topic for each in reader.published()] == [topic]
    with pytest.raises(OverflowError):
        write_text(topic + "x")


@shows(v3="4.7.3-4", v5="4.7.3-4")
def test_topics_are_not_normalized(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version, "\u00e9/A//b")
    for topic in ("e\u0301/A//b", "\u00e9/a//b", "\u00e9/A/b", "/\u00e9/A//b", "\u00e9/A//b/"):
        publish(hub, topic)
    assert reader.published() == []
    publish(hub, "\u00e9/A//b")
    assert len(reader.published()) == 1
