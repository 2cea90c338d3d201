"""What the broker refuses or drops, and how it says so within the client's limits."""

import pytest

from broker.protocol import packets
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Farewell,
    Properties,
    Publish,
    Subscribe,
)
from broker.protocol.reasons import ReasonCode
from tests.conformance.tools import (
    connect,
    lasting,
    only,
    publish,
    shows,
    subscriber,
)
from tests.mqtt.tools import Hub, role, settings

# Access


@shows(v3="3.3.5-2")
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_forbidden_is_acknowledged_and_dropped(qos: int) -> None:
    hub = Hub(settings(role("some", "+publish mine/#"), anonymous="some"))
    peer = connect(hub, MQTT_3_1_1)
    peer.send(Publish("yours", b"", qos, packet_id=1))
    kind = packets.PUBACK if qos == 1 else packets.PUBREC
    assert peer.got() == [Acknowledge(kind, 1)]
    assert hub.router.counters.denied == 1


@shows(v5="3.3.4-1 4.3.3-9 4.4.0-2")
def test_what_is_forbidden_is_refused() -> None:
    hub = Hub(settings(role("some", "+publish mine/#"), anonymous="some"))
    peer = connect(hub, MQTT_5)
    for packet_id, qos in ((1, 1), (2, 2), (2, 2)):
        peer.send(Publish("yours", b"", qos, packet_id=packet_id))
        answer = only(peer.got(), Acknowledge)
        assert (answer.packet_id, answer.code) == (packet_id, ReasonCode.NOT_AUTHORIZED)
        assert answer.properties.reason_string
    assert hub.router.counters.denied == 3, "a packet id that was refused is free again"
    assert not peer.is_closed


@pytest.mark.parametrize("topic", ["$SYS/x", "$x"])
def test_dollar_topics_are_the_brokers(topic: str) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(Publish(topic, b"", 1, packet_id=1))
    assert peer.got() == [Acknowledge(packets.PUBACK, 1, ReasonCode.TOPIC_NAME_INVALID)]


@shows(v5="3.4.2-1 3.5.2-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_publisher_learns_that_nobody_listens(qos: int) -> None:
    hub = Hub()
    peer = connect(hub, MQTT_5)
    kind = packets.PUBACK if qos == 1 else packets.PUBREC
    peer.send(Publish("a", b"", qos, packet_id=1))
    assert peer.got() == [Acknowledge(kind, 1, ReasonCode.NO_MATCHING_SUBSCRIBERS)]
    subscriber(hub, MQTT_5)
    peer.send(Acknowledge(packets.PUBREL, 1), Publish("a", b"", qos, packet_id=1))
    assert peer.got()[-1] == Acknowledge(kind, 1)


# Sizes


@shows(v5="3.1.2-24 3.1.2-25")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_too_large_for_a_client_is_dropped(qos: int) -> None:
    hub = Hub()
    peer = lasting(hub, MQTT_5, properties=Properties(maximum_packet_size=50, receive_maximum=1))
    peer.send(Subscribe(1, (("#", 2),)))
    peer.got()
    for size in (100, 10, 60, 5):
        publish(hub, payload=bytes(size), qos=qos)
    sizes = []
    while found := peer.published():
        for each in found:
            sizes.append(len(each.payload))
            if qos:
                peer.send(
                    Acknowledge(packets.PUBACK if qos == 1 else packets.PUBREC, each.packet_id)
                )
                peer.send(Acknowledge(packets.PUBCOMP, each.packet_id))
    assert sizes == [10, 5]


def test_what_was_sent_to_a_larger_connection_is_dropped_for_a_smaller_one() -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    publish(hub, payload=bytes(100), qos=1)
    assert len(reader.published()) == 1
    reader.vanish()
    again = hub.peer()
    small = Properties(maximum_packet_size=50, session_expiry=100)
    again.send(packets.Connect("reader", clean_session=False, version=MQTT_5, properties=small))
    assert not again.published()
    publish(hub, payload=b"small", qos=1)
    assert again.payloads() == [b"small"]


REFUSALS = {
    "3.4.2-2": Publish("yours", b"", 1, packet_id=1),
    "3.5.2-2": Publish("yours", b"", 2, packet_id=1),
    "3.6.2-2": Acknowledge(packets.PUBREC, 9),
    "3.7.2-2": Acknowledge(packets.PUBREL, 9),
    "3.9.2-1": Subscribe(1, (("yours", 0),)),
    "3.11.2-1": packets.Unsubscribe(1, ("a/" * 64,)),
    "3.14.2-3": packets.Auth(),
}


@shows(v5="3.4.2-2 3.5.2-2 3.6.2-2 3.7.2-2 3.9.2-1 3.11.2-1 3.14.2-3 3.1.2-24")
@pytest.mark.parametrize("packet", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("size", [24, 1000])
def test_a_reason_string_never_makes_a_packet_too_large(packet: packets.Packet, size: int) -> None:
    hub = Hub(settings(role("some", "+publish mine/#"), anonymous="some"))
    peer = connect(hub, MQTT_5, properties=Properties(maximum_packet_size=size))
    peer.send(packet)
    (answer,) = peer.got()
    assert isinstance(answer, Acknowledge | packets.Suback | packets.Unsuback | Farewell)
    assert bool(answer.properties.reason_string) is (size == 1000)
    assert isinstance(answer, Farewell) is isinstance(packet, packets.Auth)


@shows(v5="3.1.2-29")
@pytest.mark.parametrize("packet", REFUSALS.values(), ids=REFUSALS)
def test_no_reason_string_for_who_wants_none(packet: packets.Packet) -> None:
    hub = Hub(settings(role("some", "+publish mine/#"), anonymous="some"))
    peer = connect(hub, MQTT_5, properties=Properties(request_problem_information=0))
    peer.send(packet)
    (answer,) = peer.got()
    assert isinstance(answer, Acknowledge | packets.Suback | packets.Unsuback | Farewell)
    assert not answer.properties.reason_string or isinstance(answer, Farewell)


@shows(v5="3.14.2-2")
def test_a_good_bye_of_the_broker_says_nothing_of_the_session() -> None:
    peer = lasting(Hub(), MQTT_5)
    peer.send(packets.Auth())
    assert only(peer.got(), Farewell).properties.session_expiry is None
