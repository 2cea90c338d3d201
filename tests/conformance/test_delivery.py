"""Chapters 4.3 to 4.9: hand-over at QoS 1 and 2, redelivery, order, flow control."""

import pytest

from broker.protocol import packets
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Connect,
    Packet,
    Properties,
    Publish,
    Subscribe,
)
from broker.protocol.reasons import ReasonCode
from broker.settings import Limits
from tests.conformance.tools import (
    FOR_EVER,
    PING,
    PONG,
    connect,
    lasting,
    only,
    publish,
    shows,
    subscriber,
    was_closed,
)
from tests.mqtt.tools import Hub, Peer, settings


def come_back(hub: Hub, version: int, client_id: str = "reader") -> tuple[Peer, list[Packet]]:
    """The client on a new connection, and everything behind its CONNACK."""
    peer = hub.peer()
    properties = FOR_EVER if version == MQTT_5 else packets.NONE
    peer.send(Connect(client_id, clean_session=False, version=version, properties=properties))
    return peer, peer.got()[1:]


# The broker as a receiver


@shows(v3="3.3.4-1 4.3.2-2", v5="3.3.4-1 4.3.2-4 4.3.2-5")
def test_qos_1_is_acknowledged_and_its_packet_id_is_free(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    peer = connect(hub, version)
    for dup in (False, True):
        peer.send(Publish("a", b"x", 1, dup=dup, packet_id=7))
        assert peer.got() == [Acknowledge(packets.PUBACK, 7)]
    assert len(reader.published()) == 2


@shows(v3="3.3.4-1 4.3.3-2", v5="4.3.3-8 4.3.3-10 4.3.3-11 4.3.3-12")
def test_qos_2_is_delivered_once_until_its_release(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    peer = lasting(hub, version)
    for _ in range(3):
        peer.send(Publish("a", b"x", 2, dup=True, packet_id=7))
        assert peer.got() == [Acknowledge(packets.PUBREC, 7)]
    peer.vanish()
    peer, _ = come_back(hub, version, "client")
    peer.send(Publish("a", b"x", 2, dup=True, packet_id=7))
    assert peer.got() == [Acknowledge(packets.PUBREC, 7)]
    assert len(reader.published()) == 1
    peer.send(Acknowledge(packets.PUBREL, 7))
    assert peer.got() == [Acknowledge(packets.PUBCOMP, 7)]
    peer.send(Publish("a", b"x", 2, packet_id=7))
    assert len(reader.published()) == 1


@shows(v5="3.6.2-1 3.7.2-1")
def test_packet_ids_that_are_unknown_are_told_so() -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(Acknowledge(packets.PUBREC, 7), Acknowledge(packets.PUBREL, 8))
    found = [
        (each.kind, each.packet_id, each.code)
        for each in peer.got()
        if isinstance(each, Acknowledge)
    ]
    unknown = ReasonCode.PACKET_ID_NOT_FOUND
    assert found == [(packets.PUBREL, 7, unknown), (packets.PUBCOMP, 8, unknown)]
    peer.send(Acknowledge(packets.PUBACK, 7), Acknowledge(packets.PUBCOMP, 7))
    assert peer.got() == []
    assert not peer.is_closed


@shows(v5="4.3.3-13")
def test_the_handshake_goes_on_although_the_message_has_expired() -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    peer = connect(hub, MQTT_5)
    peer.send(Publish("a", b"x", 2, packet_id=7, properties=Properties(message_expiry=1)))
    (message,) = reader.published()
    peer.wait(10)
    peer.send(Acknowledge(packets.PUBREL, 7))
    assert peer.got() == [Acknowledge(packets.PUBREC, 7), Acknowledge(packets.PUBCOMP, 7)]
    reader.send(Acknowledge(packets.PUBREC, message.packet_id))
    assert reader.got() == [Acknowledge(packets.PUBREL, message.packet_id)]


# The broker as a sender


@shows(
    v3="2.3.1-3 3.3.1-1 4.3.2-1 4.4.0-1 4.6.0-1",
    v5="3.3.1-1 4.3.2-3 4.3.3-3 4.4.0-1",
)
@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_not_acknowledged_comes_again_with_dup(version: int, qos: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    for number in range(3):
        publish(hub, payload=b"%d" % number, qos=qos)
    sent = reader.published()
    reader.wait(1000)
    assert reader.published() == [], "and at no other time"
    reader.vanish()
    _, got = come_back(hub, version)
    assert got == [
        Publish("a", each.payload, qos, dup=True, packet_id=each.packet_id) for each in sent
    ]


@shows(v3="4.3.3-1", v5="4.3.3-4 4.3.3-5 4.3.3-6")
def test_after_a_pubrec_only_the_pubrel_comes_again(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    publish(hub, qos=2)
    (message,) = reader.published()
    reader.send(Acknowledge(packets.PUBREC, message.packet_id))
    assert reader.got() == [Acknowledge(packets.PUBREL, message.packet_id)]
    for _ in range(2):
        reader.vanish()
        reader, got = come_back(hub, version)
        assert got == [Acknowledge(packets.PUBREL, message.packet_id)]
    reader.send(Acknowledge(packets.PUBCOMP, message.packet_id))
    reader.vanish()
    assert come_back(hub, version)[1] == []


@shows(v5="4.3.3-7")
@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_sent_does_not_expire(qos: int) -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    publish(hub, qos=qos, properties=Properties(message_expiry=1))
    assert len(reader.published()) == 1
    hub.pass_time(10)
    reader.vanish()
    _, got = come_back(hub, MQTT_5)
    assert only(got, Publish).properties.message_expiry == 0


@shows(v5="4.4.0-2")
@pytest.mark.parametrize(("qos", "kind"), [(1, packets.PUBACK), (2, packets.PUBREC)])
def test_a_refusal_is_an_acknowledgement(qos: int, kind: int) -> None:
    hub = Hub(settings(limits=Limits(inflight=1)))
    reader = subscriber(hub, MQTT_5)
    publish(hub, payload=b"1", qos=qos)
    publish(hub, payload=b"2", qos=qos)
    (message,) = reader.published()
    reader.send(Acknowledge(kind, message.packet_id, ReasonCode.UNSPECIFIED_ERROR))
    assert reader.payloads() == [b"2"], "there is room again, and no PUBREL"
    reader.vanish()
    _, got = come_back(hub, MQTT_5)
    assert [each.payload for each in got if isinstance(each, Publish)] == [b"2"]


@pytest.mark.parametrize(("qos", "wrong"), [(1, packets.PUBREC), (2, packets.PUBACK)])
def test_the_wrong_acknowledgement_is_a_protocol_error(qos: int, wrong: int) -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    publish(hub, qos=qos)
    (message,) = reader.published()
    reader.send(Acknowledge(wrong, message.packet_id))
    assert was_closed(reader, MQTT_5, ReasonCode.PROTOCOL_ERROR)


# Order


@shows(v3="4.5.0-1 4.6.0-5 4.6.0-6", v5="4.5.0-1 4.6.0-5 4.6.0-6 4.2.0-1")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_keep_their_order_for_everybody(version: int, qos: int) -> None:
    hub = Hub()
    readers = [subscriber(hub, version, client_id=f"r{number}") for number in range(3)]
    readers[2].vanish()
    peer = connect(hub, version)
    expected = [b"%d" % number for number in range(15)]
    for payload in expected:
        peer.send(Publish("a", payload, qos, packet_id=1 if qos else 0))
        peer.send(*([Acknowledge(packets.PUBREL, 1)] if qos == 2 else []))
    assert readers[0].payloads() == readers[1].payloads() == expected
    _, got = come_back(hub, version, "r2")
    late = [each.payload for each in got if isinstance(each, Publish)]
    assert late == (expected if qos else [])


@shows(v3="4.6.0-2 4.6.0-3 4.6.0-4", v5="4.6.0-2 4.6.0-3 4.6.0-4")
def test_acknowledgements_keep_the_order_of_what_they_answer(version: int) -> None:
    hub = Hub()
    peer = subscriber(hub, version)
    peer.send(Subscribe(2, (("none", 0),)))
    for packet_id, qos in ((5, 1), (3, 2), (9, 2), (1, 1)):
        peer.send(Publish("b", b"", qos, packet_id=packet_id))
    got = peer.got()
    answers = [(each.kind, each.packet_id) for each in got if isinstance(each, Acknowledge)]
    assert answers == [
        (packets.PUBACK, 5),
        (packets.PUBREC, 3),
        (packets.PUBREC, 9),
        (packets.PUBACK, 1),
    ]
    second = [each.packet_id for each in got if isinstance(each, Publish) and each.qos == 2]
    for packet_id in reversed(second):
        peer.send(Acknowledge(packets.PUBREC, packet_id))
    assert peer.got() == [Acknowledge(packets.PUBREL, each) for each in reversed(second)]


# Flow control


@shows(v5="3.3.4-9 3.3.4-10 4.9.0-1 4.9.0-2 4.9.0-3")
@pytest.mark.parametrize("most", [1, 3])
def test_no_more_is_under_way_than_the_client_takes(most: int) -> None:
    hub = Hub(settings(urgent=("a",)))
    peer = lasting(hub, MQTT_5, properties=Properties(receive_maximum=most))
    peer.send(Subscribe(1, (("#", 2),)))
    peer.got()
    for number in range(10):
        publish(hub, "ab"[number % 2], b"%d" % number, qos=1 + number % 2)
    found: list[bytes] = []
    while got := peer.published():
        assert len(got) <= most
        peer.send(PING)
        assert PONG in peer.got()
        found += [each.payload for each in got]
        for each in got:
            kind = packets.PUBACK if each.qos == 1 else packets.PUBREC
            peer.send(Acknowledge(kind, each.packet_id))
            if each.qos == 2:
                assert most > 1 or peer.published() == [], "until the PUBCOMP it is under way"
                peer.send(Acknowledge(packets.PUBCOMP, each.packet_id))
    assert sorted(found) == [b"%d" % number for number in range(10)]


@shows(v5="3.3.4-9 4.4.0-1")
def test_what_comes_again_keeps_to_the_receive_maximum() -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    for number in range(5):
        publish(hub, payload=b"%d" % number, qos=1)
    assert len(reader.published()) == 5
    reader.vanish()
    publish(hub, payload=b"5", qos=1)
    peer = hub.peer()
    narrow = Properties(receive_maximum=2, session_expiry=100)
    peer.send(Connect("reader", clean_session=False, version=MQTT_5, properties=narrow))
    found: list[tuple[bytes, bool]] = []
    while got := peer.published():
        assert len(got) <= 2
        found += [(each.payload, each.dup) for each in got]
        peer.send(*(Acknowledge(packets.PUBACK, each.packet_id) for each in got))
    assert found == [(b"%d" % number, number < 5) for number in range(6)]


@shows(v5="3.3.4-7")
def test_more_under_way_than_the_broker_takes_closes() -> None:
    hub = Hub(settings(limits=Limits(receive_maximum=2)))
    peer = connect(hub, MQTT_5)
    for packet_id in (1, 2, 2):
        peer.send(Publish("a", b"", 2, packet_id=packet_id))
    peer.send(Publish("a", b"", 1, packet_id=9))
    assert not peer.is_closed
    peer.send(Acknowledge(packets.PUBREL, 1), Publish("a", b"", 2, packet_id=3))
    assert not peer.is_closed
    peer.send(Publish("a", b"", 2, packet_id=4))
    assert was_closed(peer, MQTT_5, ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)
    old = connect(hub, MQTT_3_1_1)
    for packet_id in range(1, 10):
        old.send(Publish("a", b"", 2, packet_id=packet_id))
    assert not old.is_closed


@shows(v3="4.8.0-1", v5="4.13.1-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_pubcomp_for_what_was_not_released_closes(version: int, qos: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    publish(hub, qos=qos)
    (message,) = reader.published()
    reader.send(Acknowledge(packets.PUBCOMP, 9))  # of nothing at all: ignored
    assert not reader.is_closed
    reader.send(Acknowledge(packets.PUBCOMP, message.packet_id))
    assert was_closed(reader, version, ReasonCode.PROTOCOL_ERROR)
