"""Retained messages, snapshots, `$` topics: who gets what, and in which order."""

import pytest

from broker.admission.refusals import Limit
from broker.protocol import packets
from broker.protocol.packets import Acknowledge, Publish, Subscribe
from broker.routing.session import STEPS_AT_ONCE
from broker.settings import Limits
from tests.mqtt.tools import Hub, Peer, settings


def reader(hub: Hub, topic_filter: str, qos: int = 0) -> Peer:
    peer = hub.connect("reader", clean_session=False)
    peer.send(Subscribe(1, ((topic_filter, qos),)))
    return peer


def retain(hub: Hub, **messages: str) -> None:
    writer = hub.connect("writer")
    for topic, payload in messages.items():
        writer.send(Publish(topic, payload.encode(), 1, retain=True, packet_id=1))


def test_the_seed_is_there_from_the_beginning() -> None:
    hub = Hub(settings(seed=(("a/b", "1"), ("a/c", "2"))))
    assert [(each.topic, each.payload, each.retain) for each in reader(hub, "a/#").published()] == [
        ("a/b", b"1", True),
        ("a/c", b"2", True),
    ]


def test_retained_is_set_replaced_and_cleared() -> None:
    hub = Hub()
    retain(hub, a="1", b="2", c="3")
    retain(hub, a="4", b="")
    assert reader(hub, "#").payloads() == [b"4", b"3"]


def test_the_retain_flag_is_for_stored_messages_only() -> None:
    hub = Hub()
    peer = reader(hub, "#", 1)
    peer.got()
    retain(hub, a="1", b="")
    assert [(each.payload, each.retain) for each in peer.published()] == [
        (b"1", False),
        (b"", False),
    ]


def test_subscribing_again_hands_out_again_and_connecting_does_not() -> None:
    hub = Hub()
    retain(hub, a="1")
    peer = reader(hub, "a")
    assert peer.payloads() == [b"1"]
    peer.send(Subscribe(2, (("a", 1),)))
    assert [each.qos for each in peer.published()] == [1]
    peer.send(Acknowledge(packets.PUBACK, 1))
    peer.vanish()
    assert hub.connect("reader", clean_session=False).payloads() == []


def test_the_suback_comes_before_the_snapshot_and_that_before_live_messages() -> None:
    hub = Hub()
    retain(hub, a="1")
    peer = reader(hub, "#", 1)
    retain(hub, a="2", b="3")
    kinds = [type(each).__name__ for each in peer.got()]
    assert kinds == ["Suback", "Publish", "Publish", "Publish"]


def test_snapshot_and_live_stream_keep_one_order() -> None:
    """A message that came in the same turn as the subscription does not push the snapshot out."""
    hub = Hub()
    retain(hub, a="1")
    peer = reader(hub, "#", 1)
    retain(hub, a="2")
    hub.connect("writer").send(Publish("a", b"3"))
    assert [(each.payload, each.retain) for each in peer.published()] == [
        (b"1", True),
        (b"2", False),
        (b"3", False),
    ]


def test_a_large_snapshot_keeps_one_order_while_the_store_changes() -> None:
    hub = Hub()
    count = 3000
    retain(hub, **{f"t{number:04}": "old" for number in range(count)})
    peer = reader(hub, "#", 0)
    retain(hub, t0000="new", t2999="new")
    hub.connect("other").send(Publish("t2998", b"live"))
    seen: dict[str, list[tuple[bytes, bool]]] = {}
    for each in peer.published():
        seen.setdefault(each.topic, []).append((each.payload, each.retain))
    assert len(seen) == count
    assert seen["t0000"] == [(b"old", True), (b"new", False)]
    assert seen["t2999"] == [(b"new", False)]
    assert seen["t2998"] == [(b"old", True), (b"live", False)]
    assert seen["t1500"] == [(b"old", True)]


def test_a_large_snapshot_is_handed_out_in_turns() -> None:
    hub = Hub()
    retain(hub, **{f"t{number}": "x" for number in range(1000)})
    peer = reader(hub, "#", 0)
    first = peer._decode(peer.connection.take_output())
    assert len(first) < 300
    assert len(first) + len(peer.got()) == 1001


def test_asking_again_and_again_begins_again() -> None:
    """A client that does not read cannot pile up snapshots."""
    hub = Hub()
    retain(hub, **{f"t{number}": "x" for number in range(300)})
    peer = reader(hub, "#")
    for _ in range(50):
        peer.send(Subscribe(2, (("#", 0),)))
    assert 300 <= len(peer.published()) <= 300 + STEPS_AT_ONCE


def test_what_is_retained_follows_its_suback_before_the_next_one() -> None:
    """Whoever asks twice in a row knows with the second SUBACK that the first answer is whole."""
    hub = Hub()
    retain(hub, a="x")
    peer = hub.connect("reader")
    peer.send(Subscribe(1, (("a", 0),)), Subscribe(2, (("b", 0),)))
    assert [type(each).__name__ for each in peer.got()] == ["Suback", "Publish", "Suback"]


def test_a_full_store_refuses_new_topics_but_routes_them() -> None:
    hub = Hub(settings(limits=Limits(retained_messages=1)))
    peer = reader(hub, "#")
    peer.got()
    retain(hub, a="1", b="2")
    assert peer.payloads() == [b"1", b"2"]
    assert hub.router.counters.refusals.counts[Limit.RETAINED] == 1


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_clients_cannot_publish_to_dollar_topics(qos: int) -> None:
    hub = Hub()
    peer = hub.connect("a")
    peer.send(Subscribe(1, (("$SYS/#", 0), ("#", 0), ("$x", 0))))
    peer.got()
    for topic in ("$SYS/broker/version", "$x"):
        peer.send(Publish(topic, b"mine", qos, packet_id=3 if qos else 0))
    assert not peer.published()
    assert not peer.is_closed


def test_one_order_for_all_the_publisher_included() -> None:
    hub = Hub()
    peers = [hub.connect(f"p{number}") for number in range(4)]
    for peer in peers:
        peer.send(Subscribe(1, (("a", 0),)))
        peer.got()
    for number in range(40):
        peers[number % 4].send(Publish("a", b"%d" % number))
    orders = [peer.payloads() for peer in peers]
    assert orders == [[b"%d" % number for number in range(40)]] * 4


def test_more_topics_than_routes_are_remembered() -> None:
    hub = Hub()
    peer = reader(hub, "t/#")
    peer.got()
    writer = hub.connect("writer")
    for round_number in range(2):
        for number in range(5000):
            writer.send(Publish(f"t/{number}", b"%d" % round_number))
            assert peer.payloads() == [b"%d" % round_number]
