"""Chapters 3.1, 3.14 and 4.1: sessions, wills, and how they end."""

import pytest

from broker.protocol import packets
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Connack,
    Connect,
    Farewell,
    Properties,
    Publish,
    Subscribe,
    Will,
)
from broker.protocol.reasons import ReasonCode
from tests.conformance.tools import (
    FOR_EVER,
    WILL,
    connect,
    lasting,
    only,
    publish,
    retained,
    shows,
    subscriber,
    was_closed,
)
from tests.mqtt.tools import Hub


@shows(v3="3.1.2-4 3.1.2-5 3.1.4-3 3.2.2-2 3.2.2-3", v5="3.1.2-5 3.1.2-6 3.1.4-4 3.2.2-3")
def test_a_session_goes_on_or_begins(version: int) -> None:
    hub = Hub()
    peer = lasting(hub, version)
    assert not peer.greeting.session_present
    peer.send(Subscribe(1, (("a", 2),)))
    peer.vanish()
    for qos in (0, 1, 2):
        publish(hub, payload=b"%d" % qos, qos=qos)
    peer = hub.peer()
    properties = FOR_EVER if version == MQTT_5 else packets.NONE
    peer.send(Connect("client", clean_session=False, version=version, properties=properties))
    answer, *rest = peer.got()
    assert isinstance(answer, Connack)
    assert answer.session_present
    assert [(each.payload, each.qos) for each in rest if isinstance(each, Publish)] == [
        (b"1", 1),
        (b"2", 2),
    ]


@shows(v3="3.1.2-6 3.2.2-1", v5="3.1.2-4 3.2.2-2")
def test_a_clean_start_discards(version: int) -> None:
    hub = Hub()
    subscriber(hub, version, client_id="client").vanish()
    peer = connect(hub, version)
    assert not peer.greeting.session_present
    publish(hub, qos=1)
    assert peer.published() == []
    peer.vanish()
    assert not lasting(hub, version).greeting.session_present


@shows(v3="3.1.2-7")
def test_retained_messages_outlive_sessions() -> None:
    hub = Hub()
    peer = connect(hub, MQTT_3_1_1)
    peer.send(Publish("a", b"stays", retain=True))
    peer.vanish()
    assert [each.payload for each in retained(hub, MQTT_3_1_1)] == [b"stays"]


# Wills


@shows(v3="3.1.2-8 3.1.2-9 3.1.2-10 3.1.2-16", v5="3.1.2-7 3.1.2-9 3.1.2-10 3.1.2-14")
def test_a_will_is_published_once(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    peer = connect(hub, version, will=Will("will", b"gone", 1, retain=False))
    assert reader.published() == []
    peer.vanish()
    peer.vanish()
    assert [(each.topic, each.payload, each.qos) for each in reader.published()] == [
        ("will", b"gone", 1)
    ]
    assert retained(hub, version) == []


@shows(v3="3.1.2-17", v5="3.1.2-15")
def test_a_retained_will_is_retained(version: int) -> None:
    hub = Hub()
    connect(hub, version, will=Will("will", b"gone", 0, retain=True)).vanish()
    assert [each.payload for each in retained(hub, version)] == [b"gone"]


@shows(v3="3.1.2-12")
def test_without_a_will_nothing_is_published() -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_3_1_1)
    connect(hub, MQTT_3_1_1).vanish()
    assert reader.published() == []


@shows(v5="3.1.2-8 3.1.3-9")
def test_a_will_waits_for_its_delay() -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    will = Will("will", b"gone", 0, retain=False, properties=Properties(will_delay=10))
    lasting(hub, MQTT_5, will=will).vanish()
    hub.pass_time(9.9)
    assert reader.published() == []
    hub.pass_time(0.1)
    assert reader.payloads() == [b"gone"]
    lasting(hub, MQTT_5, will=will).vanish()
    hub.pass_time(5)
    lasting(hub, MQTT_5)
    hub.pass_time(50)
    assert reader.published() == [], "the client was back in time"


@shows(v5="3.1.2-8")
@pytest.mark.parametrize(("expiry", "after"), [(0, 0.0), (3, 3.0)])
def test_a_will_comes_with_the_end_of_its_session(expiry: int, after: float) -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    will = Will("will", b"gone", 0, retain=False, properties=Properties(will_delay=10))
    connect(hub, MQTT_5, will=will, properties=Properties(session_expiry=expiry)).vanish()
    hub.pass_time(after)
    assert reader.payloads() == [b"gone"]
    hub.pass_time(50)
    assert reader.payloads() == []


@shows(v5="3.1.2-8 3.1.4-4")
def test_a_clean_start_ends_the_session_with_its_will() -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    will = Will("will", b"gone", 0, retain=False, properties=Properties(will_delay=10))
    lasting(hub, MQTT_5, will=will)
    connect(hub, MQTT_5)
    assert reader.payloads() == [b"gone"]


@shows(v5="3.1.3-10")
def test_a_will_has_its_properties() -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    properties = Properties(
        payload_format=1,
        content_type="text",
        response_topic="answers",
        correlation_data=b"1",
        user_properties=(("z", "1"), ("a", "2"), ("z", "3")),
        message_expiry=60,
    )
    connect(
        hub, MQTT_5, will=Will("will", b"gone", 0, retain=False, properties=properties)
    ).vanish()
    assert [each.properties for each in reader.published()] == [properties]


@shows(v3="3.1.3-2", v5="3.1.3-2")
def test_the_client_id_names_the_session(version: int) -> None:
    hub = Hub()
    subscriber(hub, version, client_id="one").vanish()
    assert not lasting(hub, version, "two").greeting.session_present
    assert lasting(hub, version, "one").greeting.session_present


@shows(v3="3.1.4-2", v5="3.1.4-3 3.14.4-1 3.14.4-2")
def test_the_older_connection_ends(version: int) -> None:
    hub = Hub()
    old = lasting(hub, version)
    old.send(Subscribe(1, (("#", 0),)))
    old.got()
    new = lasting(hub, version)
    assert was_closed(old, version, ReasonCode.SESSION_TAKEN_OVER)
    publish(hub)
    assert old.got() == []
    assert new.payloads() == [b"x"]


# Session expiry


@shows(v3="4.1.0-1 4.1.0-2", v5="3.1.2-23 4.1.0-1 4.1.0-2")
def test_a_session_is_kept_as_long_as_it_shall(version: int) -> None:
    hub = Hub()
    if version == MQTT_3_1_1:
        lasting(hub, version).vanish()
        hub.pass_time(10_000_000)
        assert lasting(hub, version).greeting.session_present
        return
    peer = lasting(hub, version, properties=Properties(session_expiry=10))
    peer.wait(1000)
    peer.vanish()
    hub.pass_time(9.9)
    peer = lasting(hub, version, properties=Properties(session_expiry=10))
    assert peer.greeting.session_present
    peer.vanish()
    hub.pass_time(10)
    assert not lasting(hub, version).greeting.session_present


@shows(v5="4.1.0-2 3.14.2-1")
def test_a_good_bye_changes_the_expiry() -> None:
    hub = Hub()
    peer = lasting(hub, MQTT_5)
    peer.send(Farewell(properties=Properties(session_expiry=0)))
    assert not lasting(
        hub, MQTT_5, properties=Properties(session_expiry=5)
    ).greeting.session_present
    peer = lasting(hub, MQTT_5, properties=Properties(session_expiry=5))
    peer.send(Farewell(properties=Properties(session_expiry=0xFFFFFFFF)))
    hub.pass_time(1000)
    assert lasting(hub, MQTT_5).greeting.session_present


def test_a_session_that_was_to_end_cannot_be_kept() -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(Farewell(properties=Properties(session_expiry=5)))
    assert was_closed(peer, MQTT_5, ReasonCode.PROTOCOL_ERROR)


@shows(v3="3.14.4-3 3.1.2-8 3.1.2-10", v5="3.14.4-3 3.1.2-10")
def test_a_good_bye_discards_the_will(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    peer = connect(hub, version, will=WILL)
    peer.send(Farewell() if version == MQTT_5 else packets.Plain(packets.DISCONNECT))
    assert peer.is_closed
    assert peer.got() == []
    hub.pass_time(100)
    assert reader.published() == []


def test_a_good_bye_may_leave_the_will() -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    peer = connect(hub, MQTT_5, will=WILL)
    peer.send(Farewell(ReasonCode.DISCONNECT_WITH_WILL))
    assert reader.payloads() == [b"gone"]


def test_live_messages_follow_a_change_of_version() -> None:
    """What is remembered of a topic's subscribers must not outlive the change."""
    hub = Hub()
    for version in (MQTT_3_1_1, MQTT_5, MQTT_3_1_1):
        peer = hub.peer()
        properties = FOR_EVER if version == MQTT_5 else packets.NONE
        peer.send(Connect("c", clean_session=False, version=version, properties=properties))
        if version == MQTT_3_1_1:
            peer.send(Subscribe(1, (("#", 0),)))
        peer.got()
        publish(hub, properties=Properties(content_type="text"))
        (message,) = peer.published()
        assert message.properties.content_type == ("text" if version == MQTT_5 else None)


def test_a_version_may_change_between_connections() -> None:
    """What was under way goes on in the new one's words."""
    hub = Hub()
    subscriber(hub, MQTT_3_1_1, client_id="client").vanish()
    publish(hub, qos=2, properties=Properties(content_type="text"))
    peer = hub.peer()
    peer.send(Connect("client", clean_session=False, version=MQTT_5, properties=FOR_EVER))
    message = only(peer.got(), Publish)
    assert message.properties.content_type == "text"
    peer.vanish()
    peer = hub.peer()
    peer.send(Connect("client", clean_session=False))
    assert only(peer.got(), Publish).dup
    peer.send(Acknowledge(packets.PUBREC, message.packet_id))
    assert peer.got() == [Acknowledge(packets.PUBREL, message.packet_id)]
