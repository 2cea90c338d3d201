"""What is kept, for whom and for how long; and what costs nothing because it is not kept."""

from dataclasses import replace

import pytest

from broker.connections.patient import MOST_BACKLOG
from broker.protocol import packets
from broker.protocol.packets import (
    MQTT_5,
    Acknowledge,
    Connack,
    Connect,
    Farewell,
    Plain,
    Properties,
    Publish,
    Subscribe,
    Will,
)
from broker.routing.statistics import Statistics
from broker.settings import Limits, Persistence, User
from tests.mqtt.disk import DiskHub, kept_settings
from tests.mqtt.tools import Peer, role, settings

TOKEN = "token:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc"


def connected(hub: DiskHub, client_id: str, **options: object) -> Peer:
    """A client whose CONNACK came, also if that waited for the disk."""
    peer = Peer(hub)
    peer.send(Connect(client_id, **options))  # type: ignore[arg-type]
    hub.sync()
    answer = peer.got()[0]
    assert isinstance(answer, Connack)
    peer.greeting = answer
    return peer


def kept(hub: DiskHub, client_id: str, seconds: int = 0xFFFFFFFF, **options: object) -> Peer:
    """A client of MQTT 5 with a session of so many seconds."""
    properties = Properties(session_expiry=seconds)
    options = {"clean_session": False, "version": MQTT_5, "properties": properties, **options}
    return connected(hub, client_id, **options)


def subscribed(hub: DiskHub, peer: Peer, *filters: str, qos: int = 1) -> Peer:
    peer.send(Subscribe(1, tuple((each, qos) for each in filters)))
    hub.sync()
    peer.got()
    return peer


def publish(hub: DiskHub, topic: str, payload: bytes, **more: object) -> Peer:
    writer = hub.connect("writer", version=MQTT_5)
    writer.send(Publish(topic, payload, packet_id=1, **{"qos": 1, **more}))  # type: ignore[arg-type]
    return writer


def retained_after(hub: DiskHub, **options: float) -> dict[str, bytes]:
    hub.sync()
    again = hub.after_power_cut(**options)  # type: ignore[arg-type]
    reader = again.connect("looks", version=MQTT_5)
    reader.send(Subscribe(1, (("#", 0), ("$SYS/#", 0))))
    return {each.topic: each.payload for each in reader.published()}


def waiting_after(hub: DiskHub, client_id: str = "reader", **options: float) -> list[bytes]:
    hub.sync()
    again = hub.after_power_cut(**options)  # type: ignore[arg-type]
    peer = Peer(again)
    properties = Properties(session_expiry=0xFFFFFFFF)
    peer.send(Connect(client_id, clean_session=False, version=MQTT_5, properties=properties))
    again.sync()
    return peer.payloads()


# What waits for the disk


def test_a_retained_message_is_acknowledged_when_it_is_on_disk() -> None:
    hub = DiskHub()
    writer = publish(hub, "a", b"1", retain=True)
    assert not writer.got()
    hub.sync()
    assert [type(each) for each in writer.got()] == [Acknowledge]
    assert retained_after(hub) == {"a": b"1"}


def test_the_subscriber_gets_it_before() -> None:
    hub = DiskHub()
    reader = hub.connect("reader")
    reader.send(Subscribe(1, (("a", 1),)))
    reader.got()
    publish(hub, "a", b"1", retain=True)
    assert reader.payloads() == [b"1"]


def test_answers_keep_their_order_and_pings_pass() -> None:
    hub = DiskHub()
    writer = hub.connect("writer")
    writer.send(
        Publish("a", b"1", 1, retain=True, packet_id=1),
        Publish("b", b"2", 1, packet_id=2),
        Plain(packets.PINGREQ),
    )
    assert writer.got() == [Plain(packets.PINGRESP)]
    hub.sync()
    answers = [each for each in writer.got() if isinstance(each, Acknowledge)]
    assert [each.packet_id for each in answers] == [1, 2]


def test_a_session_is_confirmed_when_it_is_on_disk() -> None:
    hub = DiskHub()
    peer = Peer(hub)
    peer.send(Connect("reader", clean_session=False), Subscribe(1, (("a", 1),)))
    assert not peer.got()
    hub.sync()
    assert [type(each).__name__ for each in peer.got()] == ["Connack", "Suback"]
    assert connected(hub.after_power_cut(), "reader", clean_session=False).greeting.session_present


def test_a_message_for_an_absent_session_is_acknowledged_when_it_is_on_disk() -> None:
    hub = DiskHub()
    subscribed(hub, kept(hub, "reader"), "a").vanish()
    writer = publish(hub, "a", b"1")
    assert not writer.got()
    hub.sync()
    assert writer.got()
    assert waiting_after(hub) == [b"1"]


def test_at_qos_2_the_delivery_waits_and_what_is_behind_it_too() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a", qos=2)
    publish(hub, "a", b"1", qos=2)
    publish(hub, "a", b"2", qos=0)
    assert not reader.published()
    hub.sync()
    assert reader.payloads() == [b"1", b"2"]


def test_a_retained_message_at_qos_2_waits_before_later_ones() -> None:
    hub = DiskHub()
    publish(hub, "a", b"1", qos=2, retain=True)
    hub.sync()
    reader = kept(hub, "reader")
    reader.send(Subscribe(1, (("a", 2),)))
    publish(hub, "a", b"2", qos=0)
    assert not reader.got()
    hub.sync()
    assert [type(each).__name__ for each in reader.got()] == ["Suback"]
    hub.sync()
    assert reader.payloads() == [b"1", b"2"]


# What costs nothing


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_nobody_keeps_does_not_wait(qos: int) -> None:
    hub = DiskHub()
    reader = hub.connect("reader")
    reader.send(Subscribe(1, (("a", qos),)))
    reader.got()
    serial = hub.journal.serial
    writer = publish(hub, "a", b"1", qos=qos)
    assert len(writer.got()) == bool(qos)
    assert reader.payloads() == [b"1"]
    assert hub.journal.serial == serial


def test_qos_0_for_a_kept_session_costs_nothing() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a")
    serial = hub.journal.serial
    publish(hub, "a", b"1", qos=0)
    assert reader.payloads() == [b"1"]
    assert hub.journal.serial == serial


def test_topics_that_are_not_kept_cost_nothing() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "edge/#")
    serial = hub.journal.serial
    assert publish(hub, "edge/group/lease", b"1", retain=True).got()
    assert reader.payloads() == [b"1"]
    reader.send(Acknowledge(packets.PUBACK, 1))
    assert hub.journal.serial == serial
    assert not retained_after(hub)


def test_statistics_and_seeds_are_not_kept() -> None:
    hub = DiskHub(kept_settings(settings(seed=(("seed", "1"),))))
    for _ in Statistics(hub.router, "edge 1", 0.0).steps(0.0):
        pass
    assert hub.journal.serial == 0
    assert not retained_after(hub, of=kept_settings())  # type: ignore[arg-type]


def test_only_retained_messages_where_that_is_wanted() -> None:
    hub = DiskHub(replace(kept_settings(), persistence=Persistence.RETAINED))
    reader = hub.connect("reader", clean_session=False)
    reader.send(Subscribe(1, (("a", 1),)))
    reader.vanish()
    serial = hub.journal.serial
    assert publish(hub, "a", b"1").got()
    assert hub.journal.serial == serial
    publish(hub, "a", b"2", retain=True)
    assert retained_after(hub) == {"a": b"2"}
    hub = hub.after_power_cut()
    assert not hub.connect("reader", clean_session=False).greeting.session_present


# What comes back


def test_what_had_no_room_leaves_nothing_older_on_disk() -> None:
    """An outdated value is worse than none, also after a restart."""
    hub = DiskHub(replace(kept_settings(), limits=Limits(retained_bytes=10_000)))
    publish(hub, "a", b"old", retain=True)
    hub.sync()
    publish(hub, "a", bytes(20_000), retain=True)
    assert retained_after(hub) == {}


def test_retained_messages_come_back_replaced_and_cleared() -> None:
    hub = DiskHub()
    for topic, payload in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("b", b""), ("c", b"4")):
        publish(hub, topic, payload, retain=True)
    assert retained_after(hub) == {"a": b"3", "c": b"4"}


def test_a_seed_is_newer_than_what_was_kept() -> None:
    hub = DiskHub()
    publish(hub, "a", b"old", retain=True)
    of = kept_settings(settings(seed=(("a", "seed"),)))
    assert retained_after(hub, of=of) == {"a": b"seed"}  # type: ignore[arg-type]


def test_properties_options_and_identifiers_come_back() -> None:
    hub = DiskHub()
    reader = kept(hub, "reader")
    identifier = Properties(subscription_ids=(7,))
    reader.send(Subscribe(1, (("a", 0x08 | 1),), properties=identifier))
    reader.vanish()
    words = Properties(content_type="text", user_properties=(("k", "v"),), message_expiry=100)
    publish(hub, "a", b"1", retain=True, properties=words)
    hub.sync()
    again = hub.after_power_cut(away=30.0)
    (message,) = kept_publications(again)
    assert message.retain
    assert message.properties == replace(words, subscription_ids=(7,), message_expiry=70)


def kept_publications(hub: DiskHub) -> list[Publish]:
    peer = Peer(hub)
    properties = Properties(session_expiry=0xFFFFFFFF)
    peer.send(Connect("reader", clean_session=False, version=MQTT_5, properties=properties))
    hub.sync()
    return peer.published()


def test_a_long_queue_comes_back_in_its_order() -> None:
    hub = DiskHub()
    subscribed(hub, kept(hub, "reader"), "#").vanish()
    expected = [b"%d" % number for number in range(300)]
    for payload in expected:
        publish(hub, "a", payload)
    hub.sync()
    again = hub.after_power_cut()
    reader = kept_reader = Peer(again)
    properties = Properties(session_expiry=0xFFFFFFFF)
    reader.send(Connect("reader", clean_session=False, version=MQTT_5, properties=properties))
    found: list[bytes] = []
    while True:
        again.sync()
        arrived = reader.published()
        if not arrived:
            break
        found += [each.payload for each in arrived]
        for each in arrived:
            kept_reader.send(Acknowledge(packets.PUBACK, each.packet_id))
    assert found == expected
    again.sync()
    assert not any(each.deliveries for each in again.disk.memory().sessions.values())


def test_what_waits_for_a_shared_subscription_still_finds_another_member() -> None:
    hub = DiskHub()
    subscribed(hub, kept(hub, "first", 60), "$share/s/a").vanish()
    publish(hub, "a", b"1")
    hub.sync()
    again = hub.after_power_cut()
    second = subscribed(again, kept(again, "second"), "$share/s/a")
    again.pass_time(61.0)
    assert second.payloads() == [b"1"]


def test_a_full_queue_drops_what_is_not_kept_then() -> None:
    hub = DiskHub(kept_settings(settings(limits=Limits(queue_messages=2, inflight=1))))
    subscribed(hub, kept(hub, "reader"), "#").vanish()
    for number in range(4):
        assert not publish(hub, "a", b"%d" % number).is_closed
    hub.sync()
    (session,) = hub.disk.memory().sessions.values()
    assert [each[1].payload for each in session.deliveries.values() if each] == [b"0", b"1"]


def test_what_expires_in_a_queue_is_gone_on_disk() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "#")
    reader.vanish()
    publish(hub, "a", b"1", properties=Properties(message_expiry=5))
    publish(hub, "a", b"2")
    hub.pass_time(6.0)
    hub.sync()
    assert [each.payload for each in kept_publications(hub)] == [b"2"]
    hub.sync()
    (session,) = hub.disk.memory().sessions.values()
    assert [each[1].payload for each in session.deliveries.values() if each] == [b"2"]


# Whose it is


def test_another_user_does_not_resume_a_session() -> None:
    users = (User("one", TOKEN, "everything"), User("two", TOKEN, "everything"))
    hub = DiskHub(kept_settings(settings(users=users)))
    mine = subscribed(hub, kept(hub, "reader", username="one", password=b"abc"), "#")
    mine.vanish()
    publish(hub, "a", b"secret")
    hub.sync()
    again = hub.after_power_cut()
    other = kept(again, "reader", username="two", password=b"abc")
    assert not other.greeting.session_present
    assert not other.published()
    last = again.after_power_cut()
    assert not kept(last, "reader").greeting.session_present


def test_a_user_who_is_gone_has_no_session() -> None:
    users = (User("one", TOKEN, "everything"),)
    hub = DiskHub(kept_settings(settings(users=users)))
    subscribed(hub, kept(hub, "reader", username="one", password=b"abc"), "#")
    again = hub.after_power_cut(of=kept_settings())
    assert again.router.sessions == ()
    assert again.log == ["reader: dropped, one may not connect any more"]


def test_the_rights_are_those_of_today() -> None:
    less = role("less", "+subscribe open/#", "+publish #")
    hub = DiskHub()
    subscribed(hub, kept(hub, "reader"), "open/a", "closed/a").vanish()
    publish(hub, "closed/a", b"1")
    hub.sync()
    again = hub.after_power_cut(of=kept_settings(settings(less, anonymous="less")))
    for topic in ("closed/a", "open/a"):
        publish(again, topic, b"2")
    (session,) = again.router.sessions[:1]
    assert list(session.subscriptions) == ["open/a"]


# Time


@pytest.mark.parametrize(("away", "is_there"), [(50.0, True), (70.0, False)])
def test_sessions_end_while_the_broker_is_down(away: float, is_there: bool) -> None:
    hub = DiskHub()
    kept(hub, "reader", 60).vanish()
    hub.sync()
    again = hub.after_power_cut(away=away)
    again.pass_time(0.0)
    assert kept(again, "reader", 60).greeting.session_present is is_there


def test_who_was_connected_has_his_whole_time() -> None:
    hub = DiskHub()
    kept(hub, "reader", 60)
    again = hub.after_power_cut(away=1000.0)
    again.pass_time(59.0)
    assert kept(again, "reader", 60).greeting.session_present
    last = again.after_power_cut(away=1000.0)
    last.pass_time(61.0)
    assert not kept(last, "reader", 60).greeting.session_present


def test_a_disconnect_changes_how_long_a_session_stays() -> None:
    hub = DiskHub()
    for seconds in (5, 500):
        peer = kept(hub, f"reader{seconds}", 60)
        peer.send(Farewell(0, Properties(session_expiry=seconds)))
    hub.sync()
    again = hub.after_power_cut(away=100.0)
    again.pass_time(0.0)
    assert [each.client_id for each in again.router.sessions] == ["reader500"]


@pytest.mark.parametrize("away", [61.0, -1e6])
def test_messages_expire_while_the_broker_is_down(away: float) -> None:
    """A clock that was set back gives them their whole time again, and never more."""
    hub = DiskHub()
    publish(hub, "a", b"1", retain=True, properties=Properties(message_expiry=60))
    hub.sync()
    again = hub.after_power_cut(away=away)
    reader = again.connect("reader", version=MQTT_5)
    again.pass_time(0.0 if away > 0 else 61.0)
    reader.send(Subscribe(1, (("#", 0),)))
    assert not reader.published()


@pytest.mark.parametrize("away", [5.0, 20.0])
def test_a_will_that_waits_is_published_after_its_delay(away: float) -> None:
    hub = DiskHub()
    subscribed(hub, kept(hub, "reader"), "#").vanish()
    will = Will("will", b"gone", 1, retain=True, properties=Properties(will_delay=10))
    kept(hub, "mortal", 100, will=will).vanish()
    hub.sync()
    again = hub.after_power_cut(away=away)
    again.pass_time(0.0 if away > 10 else 5.0)
    assert retained_after(again) == {"will": b"gone"}
    assert waiting_after(again) == [b"gone"]


def test_a_will_that_is_called_back_stays_so() -> None:
    hub = DiskHub()
    will = Will("will", b"gone", 1, retain=True, properties=Properties(will_delay=10))
    kept(hub, "mortal", 100, will=will).vanish()
    kept(hub, "mortal", 100).send(Farewell(0))
    again = hub.after_power_cut(away=50.0)
    again.pass_time(0.0)
    assert not retained_after(again)


def test_a_session_that_becomes_clean_is_not_kept_any_more() -> None:
    hub = DiskHub()
    subscribed(hub, kept(hub, "reader"), "#").vanish()
    peer = kept(hub, "reader", 0)
    assert peer.greeting.session_present
    assert not hub.disk.memory().sessions
    serial = hub.journal.serial
    publish(hub, "a", b"1")
    assert peer.payloads() == [b"1"]
    peer.send(Acknowledge(packets.PUBACK, 1))
    assert hub.journal.serial == serial


# Bounds


def test_whoever_is_quicker_than_the_disk_is_not_read() -> None:
    hub = DiskHub()
    quick, other = hub.connect("quick"), hub.connect("other")
    other.send(Publish("b", b"x"))
    payload = bytes(MOST_BACKLOG // 8)
    for number in range(8):
        assert not quick.connection.outruns_disk
        quick.send(Publish(f"a/{number}", payload, retain=True))
    assert quick.connection.outruns_disk
    assert not other.connection.outruns_disk
    wakes = quick.wakes
    hub.sync()
    assert quick.wakes > wakes
    assert not quick.connection.outruns_disk
