"""Chapter 4.8: shared subscriptions, for clients of every version."""

import itertools

import pytest

from broker.protocol import packets
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Properties,
    Publish,
    Subscribe,
    Unsubscribe,
)
from broker.protocol.reasons import ReasonCode
from broker.settings import Limits
from tests.conformance.tools import (
    connect,
    lasting,
    only,
    publish,
    shows,
    subscriber,
    was_closed,
)
from tests.mqtt.tools import Hub, settings

NO_LOCAL, RETAIN_AS_PUBLISHED = 0x04, 0x08


@shows(v5="4.8.2-1 4.8.2-2")
@pytest.mark.parametrize(
    "text", ["$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a"]
)
def test_shared_subscriptions_that_are_none(text: str) -> None:
    for version in (MQTT_3_1_1, MQTT_5):
        peer = connect(Hub(), version)
        peer.send(Subscribe(1, ((text, 0),)))
        assert was_closed(peer, version, ReasonCode.MALFORMED_PACKET)


@shows(v5="3.8.3-4")
def test_no_local_on_a_shared_subscription_is_a_protocol_error() -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(Subscribe(1, (("$share/g/a", NO_LOCAL),)))
    assert was_closed(peer, MQTT_5, ReasonCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("versions", [(4, 4, 4), (5, 5, 5), (3, 4, 5)])
def test_one_member_gets_each_message_in_turns(versions: tuple[int, ...]) -> None:
    hub = Hub()
    members = [subscriber(hub, each, "$share/g/a/#", 1, f"m{i}") for i, each in enumerate(versions)]
    alone = subscriber(hub, 4, "$share/other/a/#", 1, "alone")
    everybody = subscriber(hub, 4, "a/#", 0, "everybody")
    for number in range(9):
        publish(hub, "a/b", b"%d" % number, 1)
    found = [each.payloads() for each in members]
    assert [len(each) for each in found] == [3, 3, 3]
    expected = [b"%d" % number for number in range(9)]
    assert sorted(itertools.chain(*found)) == alone.payloads() == everybody.payloads() == expected


def test_nothing_that_is_retained_comes_through_a_shared_subscription() -> None:
    hub = Hub()
    publish(hub, "a", retain=True)
    peer = connect(hub, MQTT_5)
    peer.send(Subscribe(1, (("$share/g/a", 1),)))
    assert peer.published() == []


@shows(v5="4.8.2-3")
def test_the_qos_of_the_member_counts() -> None:
    hub = Hub()
    members = [subscriber(hub, 5, "$share/g/a", qos, f"m{qos}") for qos in (0, 1, 2)]
    for _ in range(3):
        publish(hub, qos=2)
    assert [[each.qos for each in member.published()] for member in members] == [[0], [1], [2]]


def test_a_member_that_is_there_goes_before_one_that_is_away() -> None:
    hub = Hub(settings(limits=Limits(inflight=2)))
    away = subscriber(hub, 5, "$share/g/a", 1, "away")
    away.vanish()
    here = subscriber(hub, 5, "$share/g/a", 1, "here")
    for _ in range(2):
        publish(hub, qos=1)
    assert len(here.published()) == 2
    here.vanish()
    publish(hub, payload=b"later", qos=1)
    back = [hub.peer(), hub.peer()]
    for peer, name in zip(back, ("away", "here"), strict=True):
        peer.send(packets.Connect(name, clean_session=False, version=5))
    found = [each.payload for peer in back for each in peer.published() if not each.dup]
    assert found == [b"later"]


@shows(v5="4.8.2-4 4.8.2-5")
@pytest.mark.parametrize(("qos", "others"), [(1, [b"x"]), (2, [])])
def test_what_a_member_left_unfinished(qos: int, others: list[bytes]) -> None:
    """QoS 2 is finished with the same member or not at all; QoS 1 may go to another one."""
    hub = Hub()
    first = subscriber(hub, 5, "$share/g/a", 2, "first")
    publish(hub, qos=qos)
    (message,) = first.published()
    second = subscriber(hub, 5, "$share/g/a", 2, "second")
    first.vanish()
    assert second.published() == []
    again = hub.peer()
    again.send(packets.Connect("first", clean_session=False, version=5))
    assert only(again.got(), Publish) == packets.Publish(
        "a", b"x", qos, dup=True, packet_id=message.packet_id
    )
    again.vanish()  # this time its session ends with it
    assert second.payloads() == others


def test_what_waits_for_a_member_goes_to_another_when_its_session_ends() -> None:
    hub = Hub(settings(limits=Limits(inflight=1)))
    first = connect(hub, 5, "first")
    first.send(Subscribe(1, (("$share/g/a", 2),)))
    for number in range(3):
        publish(hub, payload=b"%d" % number, qos=2)
    assert [each.payload for each in first.published()] == [b"0"]
    second = connect(hub, 4, "second")
    second.send(Subscribe(1, (("$share/g/a", 1),)))
    first.vanish()
    found = []
    while got := second.published():
        found += [each.payload for each in got]
        second.send(*(Acknowledge(packets.PUBACK, each.packet_id) for each in got))
    assert found == [b"1", b"2"]


@shows(v5="4.8.2-6")
@pytest.mark.parametrize(("qos", "kind"), [(1, packets.PUBACK), (2, packets.PUBREC)])
def test_what_a_member_refuses_goes_to_nobody_else(qos: int, kind: int) -> None:
    hub = Hub()
    first = subscriber(hub, 5, "$share/g/a", 2, "first")
    publish(hub, qos=qos)
    (message,) = first.published()
    second = subscriber(hub, 5, "$share/g/a", 2, "second")
    first.send(Acknowledge(kind, message.packet_id, ReasonCode.QUOTA_EXCEEDED))
    connect(hub, 5, "first").vanish()
    assert second.published() == []


def test_members_leave_nothing_behind() -> None:
    hub = Hub()
    for number in range(10):
        peer = connect(hub, 4 + number % 2, f"m{number}")
        peer.send(Subscribe(1, (("$share/g/a", 1), ("$share/h/a", 1), ("a", 1))))
        if number % 3:
            peer.send(Unsubscribe(2, ("$share/g/a",)))
        peer.vanish()
    assert hub.router._routes.is_empty()
    assert not hub.router._routes._groups


def test_what_has_expired_does_not_go_to_another_member() -> None:
    hub = Hub()
    away = lasting(hub, MQTT_5, "away", properties=Properties(session_expiry=10))
    away.send(Subscribe(1, (("$share/g/a", 1),)))
    away.vanish()
    publish(hub, payload=b"short", qos=1, properties=Properties(message_expiry=5))
    publish(hub, payload=b"long", qos=1, properties=Properties(message_expiry=50))
    hub.pass_time(7)
    here = subscriber(hub, MQTT_5, "$share/g/a", 1, "here")
    hub.pass_time(4)
    assert here.payloads() == [b"long"]


def test_a_member_that_speaks_3_1_1_now_gets_no_retain_flag() -> None:
    """Its subscription was made in MQTT 5, which has an option for that."""
    hub = Hub()
    subscriber(hub, MQTT_5, "$share/g/a", RETAIN_AS_PUBLISHED, "member").vanish()
    member = lasting(hub, MQTT_3_1_1, "member")
    publish(hub, retain=True)
    assert [each.retain for each in member.published()] == [False]
