"""What the broker keeps for a client: windows, queues, order, redelivery, take-over."""

import pytest

from broker.protocol import codec, packets
from broker.protocol.packets import Acknowledge, Connack, Connect, Publish, Subscribe, Will
from broker.settings import Limits
from tests.mqtt.tools import Hub, Peer, settings


def subscriber(hub: Hub, qos: int = 1, client_id: str = "reader", name: str = "#") -> Peer:
    peer = hub.connect(client_id, clean_session=False)
    peer.send(Subscribe(1, ((name, qos),)))
    peer.got()
    return peer


def publish(writer: Peer, *payloads: bytes, topic: str = "a", qos: int = 1) -> None:
    """It takes the time that the broker wants, where a reader has fallen behind."""
    for payload in payloads:
        writer.send(Publish(topic, payload, qos, packet_id=1 if qos else 0))
        if qos == 2:
            writer.send(Acknowledge(packets.PUBREL, 1))
        while writer.connection.is_paused:
            writer.wait(writer.connection.deadline_at - writer.hub.now)
            writer.send(b"")


def numbers(*some: int) -> list[bytes]:
    return [b"%d" % each for each in some]


def acknowledge_all(peer: Peer) -> list[Publish]:
    """Read and acknowledge until nothing more comes, as a client does."""
    found: list[Publish] = []
    while got := peer.got():
        for each in got:
            _answer(peer, each)
        found += [each for each in got if isinstance(each, Publish)]
    return found


def _answer(peer: Peer, packet: packets.Packet) -> None:
    match packet:
        case Publish(qos=1 | 2 as qos, packet_id=packet_id):
            peer.send(Acknowledge(packets.PUBACK if qos == 1 else packets.PUBREC, packet_id))
        case Acknowledge(packets.PUBREL, packet_id):
            peer.send(Acknowledge(packets.PUBCOMP, packet_id))


@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_the_lower_qos_counts(published: int, granted: int) -> None:
    hub = Hub()
    reader = subscriber(hub, granted)
    publish(hub.connect("writer"), b"x", qos=published)
    assert [each.qos for each in reader.published()] == [min(published, granted)]


def test_overlapping_subscriptions_give_one_copy_with_the_highest_qos() -> None:
    hub = Hub()
    reader = hub.connect("reader")
    reader.send(Subscribe(1, (("a/#", 0), ("a/b", 2), ("+/b", 1))))
    publish(hub.connect("writer"), b"x", topic="a/b", qos=2)
    assert [each.qos for each in reader.published()] == [2]


def test_the_window_bounds_what_is_under_way() -> None:
    hub = Hub(settings(limits=Limits(inflight=3)))
    reader = subscriber(hub)
    publish(hub.connect("writer"), *numbers(*range(6)))
    first = reader.published()
    assert [each.payload for each in first] == numbers(0, 1, 2)
    reader.send(Acknowledge(packets.PUBACK, first[0].packet_id))
    assert reader.payloads() == numbers(3)


@pytest.mark.parametrize("qos", [1, 2])
def test_a_long_queue_arrives_whole_and_in_order(qos: int) -> None:
    hub = Hub()
    reader = subscriber(hub, qos)
    publish(hub.connect("writer"), *numbers(*range(500)), qos=qos)
    assert [each.payload for each in acknowledge_all(reader)] == numbers(*range(500))


def test_order_holds_when_qualities_mix() -> None:
    hub = Hub(settings(limits=Limits(inflight=2)))
    reader, writer = subscriber(hub, 2), hub.connect("writer")
    for number in range(30):
        publish(writer, b"%d" % number, qos=number % 3)
    assert [each.payload for each in acknowledge_all(reader)] == numbers(*range(30))


def test_offline_messages_wait_but_for_qos_0() -> None:
    hub = Hub()
    subscriber(hub).vanish()
    writer = hub.connect("writer")
    publish(writer, b"1", b"2")
    publish(writer, b"lost", qos=0)
    reader = hub.peer()
    reader.send(Connect("reader", clean_session=False))
    answer, *rest = reader.got()
    assert answer == Connack(session_present=True, code=0)
    assert [each.payload for each in rest if isinstance(each, Publish)] == [b"1", b"2"]


def test_what_was_not_acknowledged_comes_again_in_order_with_dup() -> None:
    hub = Hub()
    reader, writer = subscriber(hub, 2), hub.connect("writer")
    publish(writer, b"1", b"2", qos=2)
    publish(writer, b"3", qos=1)
    first, second, third = reader.published()
    reader.send(Acknowledge(packets.PUBREC, first.packet_id))
    reader.vanish()
    publish(writer, b"4", qos=1)
    reader = hub.peer()
    reader.send(Connect("reader", clean_session=False))
    assert reader.got() == [
        Connack(session_present=True, code=0),
        Acknowledge(packets.PUBREL, first.packet_id),
        Publish("a", b"2", 2, dup=True, packet_id=second.packet_id),
        Publish("a", b"3", 1, dup=True, packet_id=third.packet_id),
        Publish("a", b"4", 1, packet_id=4),
    ]


def test_a_clean_session_forgets() -> None:
    hub = Hub()
    subscriber(hub).vanish()
    hub.connect("reader", clean_session=True).vanish()
    reader = hub.peer()
    reader.send(Connect("reader", clean_session=False))
    assert reader.got() == [Connack(session_present=False, code=0)]
    publish(hub.connect("writer"), b"1")
    assert reader.got() == []


def test_a_resumed_session_becomes_clean_if_the_new_connect_says_so() -> None:
    hub = Hub()
    hub.connect("reader", clean_session=True)
    subscriber(hub)
    hub.connect("reader", clean_session=True).vanish()
    peer = hub.peer()
    peer.send(Connect("reader", clean_session=False))
    assert peer.got() == [Connack(session_present=False, code=0)]


def test_packet_ids_wrap_and_skip_those_in_use() -> None:
    hub = Hub(settings(limits=Limits(inflight=2)))
    reader, writer = subscriber(hub), hub.connect("writer")
    publish(writer, b"stays")
    held = reader.published()[0].packet_id
    seen = set()
    for _ in range(0xFFFF):
        publish(writer, b"")
        packet_id = reader.published()[0].packet_id
        seen.add(packet_id)
        reader.send(Acknowledge(packets.PUBACK, packet_id))
    assert held not in seen
    assert seen == set(range(1, 0x10000)) - {held}


# Full queues


def test_a_full_queue_keeps_the_oldest() -> None:
    hub = Hub(settings(limits=Limits(queue_messages=3)))
    subscriber(hub).vanish()
    publish(hub.connect("writer"), *numbers(*range(5)))
    reader = hub.connect("reader", clean_session=False)
    assert reader.payloads() == []
    assert hub.router.counters.dropped == 2


def test_a_full_queue_drops_qos_0_first() -> None:
    hub = Hub(settings(limits=Limits(queue_messages=3)))
    reader, writer = subscriber(hub), hub.connect("writer")
    reader.connection.pause()
    publish(writer, b"q0", b"q0", qos=0)
    publish(writer, *numbers(1, 2, 3, 4))
    publish(writer, b"q0", qos=0)
    reader.connection.resume()
    assert reader.payloads() == numbers(1, 2, 3)
    assert hub.router.counters.dropped == 4


def test_a_queue_is_bounded_in_bytes() -> None:
    hub = Hub(settings(limits=Limits(queue_bytes=10_000)))
    reader, writer = subscriber(hub), hub.connect("writer")
    reader.connection.pause()
    publish(writer, *[bytes(1000)] * 50)
    reader.connection.resume()
    assert len(acknowledge_all(reader)) == 9
    assert reader.connection.missed_bytes == 0


def test_what_a_paused_client_misses_is_counted() -> None:
    hub = Hub()
    reader = subscriber(hub)
    reader.connection.pause()
    publish(hub.connect("writer"), *[bytes(1000)] * 50)
    assert reader.payloads() == []
    assert reader.connection.missed_bytes > 50_000


def test_the_oldest_absent_session_goes_first() -> None:
    hub = Hub(settings(limits=Limits(sessions=2)))
    for name in ("a", "b", "c"):
        hub.connect(name, clean_session=False).vanish()
    peers = {name: hub.peer() for name in ("c", "b", "a")}
    for name, peer in peers.items():
        peer.send(Connect(name, clean_session=False))
    present = {name: peer.got()[0] for name, peer in peers.items()}
    assert present["a"] == Connack(session_present=False, code=0)
    assert present["b"] == present["c"] == Connack(session_present=True, code=0)


def test_a_reader_that_does_not_read_stops_nobody() -> None:
    hub = Hub(settings(limits=Limits(queue_messages=40)))
    subscriber(hub).connection.pause()
    writer = hub.connect("writer")
    publish(writer, *numbers(*range(1000)))
    assert len(writer.got()) == 1000
    assert hub.router.counters.dropped == 960


# Urgent messages


def test_urgent_messages_pass_others_but_not_each_other() -> None:
    hub = Hub(settings(urgent=("lease/#",)))
    reader, writer = subscriber(hub), hub.connect("writer")
    reader.connection.pause()
    for number in range(5):
        publish(writer, b"%d" % number)
        publish(writer, b"%d" % number, topic="lease/x")
    reader.connection.resume()
    assert [(each.topic, each.payload) for each in reader.published()] == [
        *(("lease/x", each) for each in numbers(*range(5))),
        *(("a", each) for each in numbers(*range(5))),
    ]


def test_urgent_messages_do_not_wait_for_acknowledgements_of_others() -> None:
    hub = Hub(settings(urgent=("lease",), limits=Limits(inflight=3)))
    reader, writer = subscriber(hub), hub.connect("writer")
    publish(writer, *numbers(*range(10)))
    assert reader.payloads() == numbers(0, 1, 2)
    publish(writer, b"now", topic="lease")
    assert reader.payloads() == [b"now"]


# Take-over


def test_the_old_connection_ends_with_its_will_before_the_new_one_is_attached() -> None:
    hub = Hub()
    seen = subscriber(hub, client_id="watcher", name="will")
    old = hub.connect("a", clean_session=False, will=Will("will", b"old", 0, retain=False))
    old.send(Subscribe(1, (("will", 1),)))
    old.got()
    new = hub.peer()
    new.send(Connect("a", clean_session=False))
    assert old.is_closed
    assert new.got() == [Connack(session_present=True, code=0)]
    assert seen.payloads() == [b"old"]
    publish(hub.connect("writer"), b"live", topic="will")
    assert new.payloads() == [b"live"]
    assert old.got() == []


def test_what_the_old_connection_sent_still_counts() -> None:
    hub = Hub()
    seen = subscriber(hub, client_id="watcher")
    old = hub.connect("a")
    old.connection.receive(codec.encode(Publish("x", b"1")) * 500)
    assert old.connection.process(hub.now)
    hub.connect("a")
    assert old.is_closed
    assert len(acknowledge_all(seen)) == 500


def test_the_late_end_of_the_old_connection_does_not_touch_the_new_one() -> None:
    hub = Hub()
    old = hub.connect("a")
    new = hub.connect("a")
    new.send(Subscribe(1, (("x", 0),)))
    new.got()
    old.vanish()
    publish(hub.connect("writer"), b"1", topic="x")
    assert new.payloads() == [b"1"]


def test_nothing_stays_of_clean_clients_that_were() -> None:
    hub = Hub()
    for number in range(100):
        peer = hub.connect(f"c{number}")
        peer.send(Subscribe(1, ((f"a/{number}/#", 0),)))
        peer.vanish()
    assert not hub.router._sessions
    assert not hub.router._away
    assert hub.router._routes.is_empty()
