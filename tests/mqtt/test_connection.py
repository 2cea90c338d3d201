"""One client's protocol: the beginning, the end, time, and packets that may not come."""

import gc

import pytest

from broker.connections.connection import TURN, Connection
from broker.protocol import packets
from broker.protocol.codec import encode
from broker.protocol.packets import (
    Acknowledge,
    Connack,
    Connect,
    Plain,
    Publish,
    Suback,
    Subscribe,
    Unsubscribe,
    Will,
)
from broker.settings import Limits
from tests.mqtt.tools import Hub, Peer, settings

WILL = Will("will", b"gone", 0, retain=False)


@pytest.fixture
def hub() -> Hub:
    return Hub()


def watcher(hub: Hub, topic_filter: str = "#") -> Peer:
    peer = hub.connect("watcher")
    peer.send(Subscribe(1, ((topic_filter, 2),)))
    peer.got()
    return peer


# The beginning


def test_a_connect_is_answered(hub: Hub) -> None:
    peer = hub.peer()
    peer.send(Connect("a"))
    assert peer.got() == [Connack(session_present=False, code=0)]
    assert not peer.is_closed


def test_an_unknown_version_gets_its_connack(hub: Hub) -> None:
    peer = hub.peer()
    peer.send(bytes.fromhex("101000044d5154540602003c0003210014") + b"\0\0")
    assert peer.got() == [Connack(session_present=False, code=1)]
    assert peer.is_closed


@pytest.mark.parametrize("version", [packets.MQTT_3_1_1, packets.MQTT_5])
def test_a_will_with_too_many_levels_is_refused_while_somebody_is_there(version: int) -> None:
    hub = Hub(settings(limits=Limits(topic_levels=2)))
    deep = Will("a/b/c", b"", 0, retain=False)
    peer = hub.peer()
    peer.send(Connect("a", will=deep, version=version))
    codes = [each.code for each in peer.got() if isinstance(each, Connack)]
    assert codes == ([0x90] if version == packets.MQTT_5 else [])
    assert peer.is_closed
    hub.connect("b", will=Will("a/b", b"", 0, retain=False), version=version).vanish()


@pytest.mark.parametrize(
    "first", [Plain(packets.PINGREQ), Publish("a", b""), Subscribe(1, (("a", 0),))]
)
def test_the_first_packet_is_a_connect(hub: Hub, first: packets.Packet) -> None:
    peer = hub.peer()
    peer.send(first)
    assert peer.is_closed
    assert peer.got() == []


def test_a_second_connect_ends_the_connection_with_its_will(hub: Hub) -> None:
    seen = watcher(hub)
    peer = hub.connect("a", will=WILL)
    peer.send(Connect("a"))
    assert peer.is_closed
    assert seen.payloads() == [b"gone"]


@pytest.mark.parametrize("client_id", ["", "x" * 2000])
def test_client_ids_that_are_refused(hub: Hub, client_id: str) -> None:
    peer = hub.peer()
    peer.send(Connect(client_id, clean_session=False))
    assert peer.got() == [Connack(session_present=False, code=2)]
    assert peer.is_closed


def test_clients_without_an_id_do_not_meet(hub: Hub) -> None:
    first, second = hub.connect(""), hub.connect("")
    assert not first.is_closed
    assert not second.is_closed


def test_a_stranger_cannot_send_a_large_packet(hub: Hub) -> None:
    peer = hub.peer()
    peer.send(b"\x10\xff\xff\x3f")
    assert peer.is_closed


# The end


@pytest.mark.parametrize(
    "bad",
    [
        b"\x00\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x36\x05\x00\x01a\x00\x01",
        encode(Suback(1, (0,))),
        encode(Connack(session_present=False, code=0)),
        encode(Acknowledge(packets.UNSUBACK, 1)),
        b"\x30\xff\xff\xff\x7f",
        encode(Publish("/".join("a" * 65), b"")),
    ],
)
def test_what_is_malformed_ends_this_connection_only(hub: Hub, bad: bytes) -> None:
    seen = watcher(hub)
    peer = hub.connect("a", will=WILL)
    peer.send(bad + encode(Publish("after", b"must not be read")))
    assert peer.is_closed
    assert hub.router.counters.malformed == 1
    assert [each.topic for each in seen.published()] == ["will"]


def test_a_good_bye_discards_the_will_and_what_comes_after_it(hub: Hub) -> None:
    seen = watcher(hub)
    peer = hub.connect("a", will=WILL)
    peer.send(
        encode(Publish("before", b"1"))
        + encode(Plain(packets.DISCONNECT))
        + encode(Publish("b", b""))
    )
    assert peer.is_closed
    assert [each.topic for each in seen.published()] == ["before"]


def test_a_lost_connection_publishes_its_will_once(hub: Hub) -> None:
    seen = watcher(hub)
    peer = hub.connect("a", will=Will("will", b"gone", 1, retain=True))
    peer.vanish()
    peer.vanish()
    assert seen.published() == [Publish("will", b"gone", 1, packet_id=1)]
    late = watcher(hub)
    assert not late.published()
    late.send(Subscribe(2, (("will", 0),)))
    assert late.published() == [Publish("will", b"gone", retain=True)]


# Time


def test_keep_alive_is_one_and_a_half_times(hub: Hub) -> None:
    seen = watcher(hub)
    peer = hub.connect("a", will=WILL, keep_alive=2)
    hub.now += 2
    peer.send(Plain(packets.PINGREQ))
    assert peer.connection.deadline_at == hub.now + 3
    hub.now += 2.999
    peer.connection.expire(hub.now)
    assert seen.payloads() == []
    hub.now += 0.001
    peer.connection.expire(hub.now)
    assert peer.is_closed
    assert seen.payloads() == [b"gone"]
    assert hub.router.counters.timed_out == 1


def test_half_a_packet_is_no_sign_of_life(hub: Hub) -> None:
    peer = hub.connect("a", keep_alive=2)
    deadline_at = peer.connection.deadline_at
    hub.now += 1
    peer.send(encode(Publish("a", bytes(100)))[:50])
    assert peer.connection.deadline_at == deadline_at


def test_without_keep_alive_there_is_no_deadline(hub: Hub) -> None:
    assert hub.connect("a", keep_alive=0).connection.deadline_at == float("inf")


def test_a_connect_must_come_in_time_and_whole() -> None:
    hub = Hub(settings(limits=Limits(connect_timeout=5)))
    peer = hub.peer()
    hub.now += 4
    peer.send(encode(Connect("a"))[:5])
    hub.now += 1
    peer.connection.expire(hub.now)
    assert peer.is_closed


# Requests


def test_subscribe_and_unsubscribe_are_answered(hub: Hub) -> None:
    peer = hub.connect("a")
    peer.send(Subscribe(7, (("a", 0), ("b/#", 1), ("+", 2))))
    assert peer.got() == [Suback(7, (0, 1, 2))]
    peer.send(Unsubscribe(8, ("b/#", "unknown")))
    assert peer.got() == [Acknowledge(packets.UNSUBACK, 8)]
    peer.send(Publish("b/c", b""), Plain(packets.PINGREQ))
    assert peer.got() == [Plain(packets.PINGRESP)]


def test_a_session_has_a_bounded_number_of_subscriptions() -> None:
    hub = Hub(settings(limits=Limits(subscriptions=2)))
    peer = hub.connect("a")
    peer.send(Subscribe(1, (("a", 0), ("b", 0), ("c", 0), ("a", 1))))
    assert peer.got() == [Suback(1, (0, 0, 0x80, 1))]


def test_a_turn_is_bounded(hub: Hub) -> None:
    peer = hub.connect("a")
    peer.connection.receive(encode(Plain(packets.PINGREQ)) * 1000)
    turns = 1
    while peer.connection.process(hub.now):
        turns += 1
    assert turns == 1000 // TURN
    assert len(peer.got()) == 1000


def test_deliveries_count_as_work(hub: Hub) -> None:
    for number in range(30):
        watcher = hub.connect(f"watcher-{number}")
        watcher.send(Subscribe(1, (("a", 0),)))
    peer = hub.connect("a")
    peer.connection.receive(encode(Publish("a", b"")) * 100)
    turns = 1
    while peer.connection.process(hub.now):
        turns += 1
    assert turns >= 30 * 100 // TURN // 2


# Acknowledgements


@pytest.mark.parametrize("qos", [1, 2])
def test_a_publish_is_acknowledged(hub: Hub, qos: int) -> None:
    peer = hub.connect("a")
    peer.send(Publish("a", b"", qos, packet_id=5))
    kind = packets.PUBACK if qos == 1 else packets.PUBREC
    assert peer.got() == [Acknowledge(kind, 5)]


def test_qos_2_is_routed_once_until_it_is_released(hub: Hub) -> None:
    seen = watcher(hub)
    peer = hub.connect("a")
    for _ in range(3):
        peer.send(Publish("a", b"once", 2, dup=True, packet_id=5))
    assert seen.payloads() == [b"once"]
    peer.send(Acknowledge(packets.PUBREL, 5), Acknowledge(packets.PUBREL, 5))
    assert [each for each in peer.got() if each != Acknowledge(packets.PUBREC, 5)] == [
        Acknowledge(packets.PUBCOMP, 5),
        Acknowledge(packets.PUBCOMP, 5),
    ]
    peer.send(Publish("a", b"again", 2, packet_id=5))
    assert seen.payloads() == [b"again"]


def test_qos_2_is_routed_once_across_connections(hub: Hub) -> None:
    seen = watcher(hub)
    peer = hub.connect("a", clean_session=False)
    peer.send(Publish("a", b"once", 2, packet_id=5))
    peer.vanish()
    peer = hub.connect("a", clean_session=False)
    peer.send(Publish("a", b"once", 2, dup=True, packet_id=5))
    assert peer.got() == [Acknowledge(packets.PUBREC, 5)]
    assert seen.payloads() == [b"once"]


@pytest.mark.parametrize(("qos", "wrong"), [(1, packets.PUBREC), (2, packets.PUBACK)])
def test_the_wrong_acknowledgement_ends_the_connection(hub: Hub, qos: int, wrong: int) -> None:
    peer = hub.connect("a")
    peer.send(Subscribe(1, (("a", qos),)), Publish("a", b"", qos, packet_id=9))
    delivered = peer.published()[0]
    peer.send(Acknowledge(wrong, delivered.packet_id))
    assert peer.is_closed


def test_acknowledgements_of_nothing_are_borne(hub: Hub) -> None:
    peer = hub.connect("a")
    for kind in (packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP):
        peer.send(Acknowledge(kind, 77))
    assert peer.got() == [Acknowledge(packets.PUBREL, 77), Acknowledge(packets.PUBCOMP, 77)]


def test_a_connection_that_ended_is_freed_without_the_collector(hub: Hub) -> None:
    """A flood of connections would take memory faster than the collector gives it back."""
    gc.collect()
    gc.disable()
    try:
        before = _living()
        peers = [hub.peer(), hub.connect("a"), hub.connect("b", version=packets.MQTT_5)]
        assert _living() == before + len(peers)
        while peers:
            peers.pop().vanish()
        assert _living() == before
    finally:
        gc.enable()


def _living() -> int:
    return sum(isinstance(each, Connection) for each in gc.get_objects())
