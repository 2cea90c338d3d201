"""What stands on disk together, what waits for it, and what packet ids may mean afterwards."""

import pytest

from broker.protocol import packets
from broker.protocol.packets import (
    MQTT_5,
    Acknowledge,
    Connack,
    Connect,
    Properties,
    Publish,
    Subscribe,
    Will,
)
from broker.routing import changes
from broker.routing import kept as kept_sessions
from broker.settings import Limits, User
from tests.mqtt.disk import DiskHub, kept_settings
from tests.mqtt.test_persistence import TOKEN, kept, publish, subscribed, waiting_after
from tests.mqtt.tools import Peer, settings


def returning(hub: DiskHub, client_id: str = "reader", **more: object) -> Peer:
    """It asks for its session; whether it has an answer depends on the disk."""
    peer = Peer(hub)
    properties = Properties(session_expiry=0xFFFFFFFF, **more)  # type: ignore[arg-type]
    peer.send(Connect(client_id, clean_session=False, version=MQTT_5, properties=properties))
    return peer


def narrow() -> DiskHub:
    """One delivery is under way at a time."""
    return DiskHub(kept_settings(settings(limits=Limits(inflight=1))))


def transactions(hub: DiskHub) -> list[list[str]]:
    """Which changes are to be written together."""
    drained = hub.journal.drain()
    hub.disk.loose += drained
    return [[type(each).__name__ for each in changes.decode(data)] for data in drained]


def take_all(hub: DiskHub, peer: Peer) -> list[bytes]:
    """Read and acknowledge until nothing more comes."""
    found: list[bytes] = []
    while True:
        hub.sync()
        arrived = peer.published()
        if not arrived:
            return found
        for each in arrived:
            found.append(each.payload)
            peer.send(Acknowledge(packets.PUBACK, each.packet_id))


def on_disk(hub: DiskHub, client_id: bytes = b"reader") -> list[bytes]:
    """What is on its way to this client, as a restart would find it."""
    hub.sync()
    return [
        each[1].payload
        for session in hub.disk.memory().sessions.values()
        for each in session.deliveries.values()
        if each and session.began.client_id == client_id
    ]


# What waits


def test_who_comes_back_is_told_when_what_is_repeated_is_on_disk() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a", qos=2)
    publish(hub, "a", b"1", qos=2)
    assert not reader.published()
    reader.vanish()
    again = returning(hub)
    assert not again.got()
    hub.sync()
    connack, message = again.got()
    assert isinstance(connack, Connack)
    assert isinstance(message, Publish)
    assert (message.payload, message.packet_id) == (b"1", 1)
    assert not again.got()


def test_what_waited_for_the_disk_on_an_old_connection_comes_once() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a", qos=2)
    publish(hub, "a", b"1", qos=2)
    reader.vanish()
    hub.sync()
    again = returning(hub)
    hub.sync()
    assert [each.payload for each in again.published()] == [b"1"]


def test_what_is_not_on_disk_yet_wakes_its_clients_again() -> None:
    """The disk has followed a part of the way: whoever waits for more is told again later."""
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a", qos=2)
    writer = hub.connect("writer", version=MQTT_5)
    writer.send(Publish("b", b"0", 1, retain=True, packet_id=1))
    half_way = hub.journal.serial
    writer.send(Publish("a", b"1", 2, packet_id=2))
    assert not writer.got()
    assert not reader.got()
    hub.journal.reach(half_way, 0)
    assert [each.packet_id for each in writer.got() if isinstance(each, Acknowledge)] == [1]
    assert not reader.got()
    wakes = reader.wakes, writer.wakes
    hub.sync()
    assert reader.wakes > wakes[0]
    assert writer.wakes > wakes[1]
    assert reader.payloads() == [b"1"]
    assert [each.packet_id for each in writer.got() if isinstance(each, Acknowledge)] == [2]


def test_whoever_waits_is_woken_once() -> None:
    hub = DiskHub()
    writer, other = hub.connect("writer"), hub.connect("other")
    writer.send(Publish("b", b"0", 1, retain=True, packet_id=1))
    hub.sync()
    assert writer.got()
    wakes = writer.wakes
    other.send(Publish("c", b"0", 1, retain=True, packet_id=1))
    hub.sync()
    assert writer.wakes == wakes


@pytest.mark.parametrize("first", ["confirmed", "not confirmed"])
def test_a_subscriber_is_woken_for_what_waited(first: str) -> None:
    """A CONNACK, a SUBACK, retained messages behind it, messages of QoS 2: each in its time."""
    hub = DiskHub()
    publish(hub, "a", b"0", qos=2, retain=True)
    hub.sync()
    reader = kept(hub, "reader") if first == "confirmed" else returning(hub)
    reader.send(Subscribe(1, (("a", 2),)))
    seen: list[str] = []
    for _ in range(5):
        wakes = reader.wakes
        seen += [type(each).__name__ for each in reader.got()]
        hub.sync()
        if reader.wakes == wakes:
            break
    expected = ["Suback", "Publish"]
    assert seen == (expected if first == "confirmed" else ["Connack", *expected])


def test_what_waits_for_the_disk_stays_in_front() -> None:
    """At QoS 0 and 1, too: after what is under way to the disk nothing may go ahead of it."""
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "#", qos=2)
    publish(hub, "a", b"1", qos=2)
    publish(hub, "edge/a", b"2", qos=1)
    publish(hub, "a", b"3", qos=0)
    assert not reader.published()
    hub.sync()
    assert reader.payloads() == [b"1", b"2", b"3"]


def test_a_refusal_does_not_wait() -> None:
    """It says nothing about what is kept, and a disk that refuses must not make it mute."""
    users = (User("one", TOKEN, "everything"),)
    hub = DiskHub(kept_settings(settings(users=users)))
    publish(hub, "a", b"1", retain=True)
    stranger = Peer(hub)
    stranger.send(Connect("x", username="nobody", password=b"x"))
    assert [type(each) for each in stranger.got()] == [Connack]


def test_a_held_message_wakes_its_client_by_itself() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a", qos=2)
    wakes = reader.wakes
    publish(hub, "a", b"1", qos=2)
    assert reader.wakes == wakes
    hub.sync()
    assert reader.wakes > wakes
    assert reader.payloads() == [b"1"]


def test_an_answer_that_waits_wakes_its_client_by_itself() -> None:
    hub = DiskHub()
    writer = hub.connect("writer")
    wakes = writer.wakes
    writer.send(Publish("b", b"0", 1, retain=True, packet_id=1))
    assert writer.wakes == wakes
    hub.sync()
    assert writer.wakes > wakes


def test_who_waits_for_its_connack_is_woken_for_all_that_comes_later() -> None:
    hub = DiskHub()
    reader = returning(hub)
    assert not reader.got()
    hub.sync()
    assert [type(each) for each in reader.got()] == [Connack]
    subscribed(hub, reader, "a")
    again = returning(hub)
    publish(hub, "a", b"1")
    assert not again.got()
    wakes = again.wakes
    hub.sync()
    assert again.wakes > wakes
    assert again.payloads() == [b"1"]


def test_a_good_bye_does_not_wait() -> None:
    hub = DiskHub()
    writer = hub.connect("writer", version=MQTT_5)
    writer.send(Publish("b", b"0", 1, retain=True, packet_id=1))
    hub.connect("writer", version=MQTT_5)
    assert [type(each) for each in writer.got()] == [packets.Farewell]


def test_live_messages_stay_behind_what_was_held() -> None:
    """Also when the disk has followed and the client was not served yet."""
    hub = DiskHub()
    publish(hub, "a", b"1", qos=2, retain=True)
    hub.sync()
    reader = subscribed(hub, kept(hub, "reader"), "a", qos=2)
    assert not reader.got()
    hub.sync()
    publish(hub, "a", b"2", qos=0)
    assert reader.payloads() == [b"1", b"2"]


def test_what_waits_behind_the_disk_is_bounded() -> None:
    hub = DiskHub(kept_settings(settings(limits=Limits(queue_messages=2))))
    reader = subscribed(hub, kept(hub, "reader"), "a", qos=2)
    publish(hub, "a", b"1", qos=2)
    for _ in range(5):
        publish(hub, "a", b"x", qos=0)
    assert hub.router.counters.dropped == 3
    hub.sync()
    assert reader.payloads() == [b"1", b"x", b"x"]


def test_a_repeated_acknowledgement_costs_nothing() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a", qos=2)
    publish(hub, "a", b"1", qos=2)
    hub.sync()
    assert reader.payloads() == [b"1"]
    reader.send(Acknowledge(packets.PUBREC, 1))
    serial = hub.journal.serial
    reader.send(Acknowledge(packets.PUBREC, 1))
    assert hub.journal.serial == serial


# What stands together


def test_each_packet_is_one_transaction() -> None:
    hub = DiskHub()
    for name in ("one", "two"):
        subscribed(hub, kept(hub, name), "a").vanish()
    hub.sync()
    writer = hub.connect("writer")
    for number in (1, 2):
        writer.send(Publish("a", b"%d" % number, 1, retain=True, packet_id=number))
    assert transactions(hub) == [["Stored", "Queued", "Queued"]] * 2


def test_a_connect_is_one_transaction() -> None:
    hub = DiskHub()
    peer = returning(hub)
    peer.send(Subscribe(1, (("a", 1), ("b", 1))))
    assert transactions(hub) == [["Began"], ["Subscribed", "Subscribed"]]
    hub.sync()
    will = Will("will", b"gone", 1, retain=False, properties=Properties(will_delay=9))
    kept(hub, "mortal", will=will).vanish()
    hub.sync()
    kept_again = returning(hub, "mortal")
    kept_again.send(Subscribe(1, (("c", 1),)))
    assert transactions(hub) == [["WillGone", "Resumed"], ["Subscribed"]]


def test_a_session_is_written_again_as_one_transaction() -> None:
    hub = DiskHub()
    will = Will("will", b"gone", 1, retain=False, properties=Properties(will_delay=9))
    subscribed(hub, kept(hub, "reader", will=will), "a", "b").vanish()
    publish(hub, "a", b"1")
    publish(hub, "b", b"2", retain=True)
    hub.sync()
    publish(hub, "c", b"3", retain=True)
    kept(hub, "other")
    hub.restate(10_000)
    session = ["Began", "Subscribed", "Subscribed", "Left", "Stored", "Queued", "Queued"]
    session.append("WillWaits")  # or else it would be void until the next transaction
    assert transactions(hub) == [["Stored"], ["Stored"], session, ["Began"], ["Complete"]]


# Packet ids


def test_an_id_that_waits_on_disk_is_not_given_away() -> None:
    """After a restart the broker counts from 1 again, and the next ids are taken."""
    hub = narrow()
    subscribed(hub, kept(hub, "reader"), "a").vanish()
    for number in range(3):
        publish(hub, "a", b"%d" % number)
    hub.sync()
    again = hub.after_power_cut()
    publish(again, "a", b"3")
    again.sync()
    last = again.after_power_cut()
    reader = returning(last)
    assert take_all(last, reader) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("is_known", [True, False])
def test_an_id_is_that_of_its_last_message_also_where_its_end_is_lost(is_known: bool) -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a")
    for number in range(3):
        publish(hub, "a", b"%d" % number)
    reader.got()
    reader.send(Acknowledge(packets.PUBACK, 1))
    hub.sync()
    (session,) = hub.disk.memory().sessions
    log = hub.disk.files[-1]
    log.remove(changes.encode(changes.Done(session, 1)))  # damaged
    if is_known:
        message = changes.Stored(99, 1, False, changes.FOR_EVER, 0, b"a", b"3", b"")
        log.append(changes.encode(message))
    log.append(changes.encode(changes.Queued(session, 1, 99, 1, False, b"", b"")))
    assert waiting_after(hub) == [b"1", b"2", b"3"][: 2 + is_known]


def test_ids_do_not_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_sessions, "MOST_IDS", 3)
    hub = DiskHub()
    subscribed(hub, kept(hub, "reader"), "#").vanish()
    for number in range(5):
        publish(hub, "a", b"%d" % number)
    assert on_disk(hub) == [b"0", b"1", b"2"]
    assert hub.router.counters.dropped == 2
    publish(hub, "edge/not kept", b"x")
    reader = returning(hub)
    assert take_all(hub, reader) == [b"0", b"1", b"2", b"x"]
    publish(hub, "a", b"5")
    assert take_all(hub, reader) == [b"5"]


def test_an_id_of_an_expired_message_is_released_before_it_is_used_again() -> None:
    """At QoS 2 the client may hold it, and would take the next message for a repetition."""
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a", qos=2)
    publish(hub, "a", b"old", qos=2, properties=Properties(message_expiry=5))
    hub.sync()
    assert [each.packet_id for each in reader.published()] == [1]
    again = hub.after_power_cut(away=10.0)
    publish(again, "a", b"new", qos=2)
    reader = returning(again)
    again.sync()
    arrived = reader.got()[1:]
    again.sync()
    arrived += reader.got()
    release, message = arrived
    assert release == Acknowledge(packets.PUBREL, 1)
    assert isinstance(message, Publish)
    assert (message.payload, message.packet_id) == (b"new", 2)
    reader.send(Acknowledge(packets.PUBCOMP, 1))
    assert on_disk(again) == [b"new"]


def test_an_id_of_what_is_not_kept_is_released_before_it_is_used_again() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "#", qos=2)
    publish(hub, "edge/a", b"not kept", qos=2)
    hub.sync()
    assert [each.packet_id for each in reader.published()] == [1]
    again = hub.after_power_cut()
    publish(again, "a", b"kept", qos=2)
    reader = returning(again)
    again.sync()
    release, message = reader.got()[1:]
    assert release == Acknowledge(packets.PUBREL, 1)
    assert isinstance(message, Publish)
    assert (message.payload, message.packet_id) == (b"kept", 2)


def test_what_expired_while_the_broker_was_down_is_not_sent() -> None:
    hub = narrow()
    subscribed(hub, kept(hub, "reader"), "a").vanish()
    for payload, seconds in ((b"1", 5), (b"2", 50), (b"3", 5)):
        publish(hub, "a", payload, properties=Properties(message_expiry=seconds))
    hub.sync()
    again = hub.after_power_cut(away=10.0)
    assert take_all(again, returning(again)) == [b"2"]
    assert on_disk(again) == []


# What a client that comes back cannot take


def test_what_is_too_large_for_a_client_that_comes_back_is_gone_on_disk() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a")
    publish(hub, "a", bytes(100))
    publish(hub, "a", b"small")
    reader.vanish()
    publish(hub, "a", bytes(100))
    assert on_disk(hub) == [bytes(100), b"small", bytes(100)]
    small = returning(hub, maximum_packet_size=50)
    hub.sync()
    assert small.payloads() == [b"small"]
    assert on_disk(hub) == [b"small"]


def test_what_is_too_large_at_once_is_not_on_disk() -> None:
    hub = DiskHub()
    reader = returning(hub, maximum_packet_size=50)
    subscribed(hub, reader, "a")
    publish(hub, "a", bytes(100))
    publish(hub, "a", b"small")
    assert reader.payloads() == [b"small"]
    assert on_disk(hub) == [b"small"]
