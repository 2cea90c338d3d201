"""What a restart makes of what it finds, and all of it written again."""

from dataclasses import replace

import pytest

from broker.protocol import packets
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Properties,
    Subscribe,
    Will,
)
from broker.routing import changes
from broker.routing.changes import FOR_EVER, Began, Left, Queued, Resumed, Stored, Unsubscribed
from broker.settings import Limits, Persistence, User
from broker.store.memory import OVERHEAD, Memory
from tests.mqtt.disk import DiskHub, kept_settings
from tests.mqtt.test_persistence import TOKEN, connected, kept, publish, subscribed
from tests.mqtt.test_persistence_order import on_disk, returning, take_all, transactions
from tests.mqtt.tools import settings


def rewritten(hub: DiskHub) -> DiskHub:
    """The same broker after everything alive was written into a new file."""
    hub.restate(10_000)
    hub.sync()
    assert len(hub.disk.files) == 1
    return hub


# Sessions


def test_what_was_unsubscribed_stays_so() -> None:
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a", "b")
    reader.send(packets.Unsubscribe(2, ("a",)))
    hub.sync()
    again = hub.after_power_cut()
    publish(again, "a", b"1")
    publish(again, "b", b"2")
    assert on_disk(again) == [b"2"]


@pytest.mark.parametrize("first", [MQTT_3_1_1, MQTT_5])
def test_wishes_count_while_their_client_is_away(first: int) -> None:
    """With the version of the last connection, which decides in which way it gets messages."""
    hub = DiskHub()
    connected(hub, "reader", clean_session=False, version=first)
    reader = returning(hub)
    hub.sync()
    reader.send(Subscribe(1, (("a", 1),), properties=Properties(subscription_ids=(7,))))
    hub.sync()
    again = hub.after_power_cut()
    publish(again, "a", b"1")
    reader = returning(again)
    again.sync()
    assert [each.properties.subscription_ids for each in reader.published()] == [(7,)]


def test_the_last_terms_count() -> None:
    hub = DiskHub()
    kept(hub, "reader", 60).vanish()
    kept(hub, "reader", 500)
    again = hub.after_power_cut(away=1000.0)
    again.pass_time(499.0)
    assert [each.client_id for each in again.router.sessions] == ["reader"]
    again.pass_time(2.0)
    assert again.router.sessions == ()


@pytest.mark.parametrize("is_rewritten", [False, True])
def test_who_was_connected_is_away_from_the_first_restart_on(is_rewritten: bool) -> None:
    hub = DiskHub()
    kept(hub, "reader", 60)
    if is_rewritten:
        rewritten(hub)
    again = hub.after_power_cut(away=1000.0)
    again.sync()
    last = again.after_power_cut(away=61.0)
    last.pass_time(0.0)
    assert last.router.sessions == ()


def test_who_is_away_stays_so_when_all_is_written_again() -> None:
    hub = DiskHub()
    kept(hub, "reader", 60).vanish()
    hub.pass_time(20.0)
    again = rewritten(hub).after_power_cut(away=41.0)
    again.pass_time(0.0)
    assert again.router.sessions == ()


def test_those_that_are_away_for_longest_go_first() -> None:
    hub = DiskHub()
    for name in ("newest", "oldest", "middle", "connected"):
        kept(hub, name)
    for name in ("oldest", "middle", "newest"):
        hub.pass_time(10.0)
        kept(hub, name).vanish()
    hub.sync()
    limits = Limits(sessions=4)
    again = hub.after_power_cut(of=kept_settings(settings(limits=limits)))
    left = []
    for number in range(3):
        kept(again, f"new {number}").vanish()
        left.append({each.client_id for each in again.router.sessions})
    assert [names & {"oldest", "middle", "newest"} for names in left] == [
        {"middle", "newest"},
        {"newest"},
        set(),
    ]
    assert all("connected" in names for names in left)


def test_the_last_session_of_a_client_is_its_session() -> None:
    """Where the end of an earlier one was damaged."""
    hub = DiskHub()
    subscribed(hub, kept(hub, "reader"), "old").vanish()
    kept(hub, "reader", clean_session=True).vanish()
    hub.sync()
    log = hub.disk.files[-1]
    log[:] = [each.replace(changes.encode(changes.Ended(1)), b"") for each in log]
    assert len(hub.disk.memory().sessions) == 2
    again = hub.after_power_cut()
    (session,) = again.router.sessions
    assert not session.subscriptions
    again.sync()
    assert list(again.disk.memory().sessions) == [2]


@pytest.mark.parametrize("reason", ["user", "persistence"])
def test_a_session_that_was_not_taken_up_does_not_come_back_later(reason: str) -> None:
    """Its client was told meanwhile that there is none, and has begun anew."""
    hub = DiskHub(kept_settings(settings(users=(User("one", TOKEN, "everything"),))))
    subscribed(hub, kept(hub, "reader", username="one", password=b"abc"), "a").vanish()
    publish(hub, "a", b"1")
    hub.sync()
    less = replace(hub.settings, persistence=Persistence.RETAINED)
    between = hub.after_power_cut(of=kept_settings() if reason == "user" else less)
    assert between.router.sessions == ()
    between.sync()
    assert not between.disk.memory().sessions
    assert between.after_power_cut(of=hub.settings).router.sessions == ()


def test_a_user_without_a_name_is_not_anonymous() -> None:
    hub = DiskHub(kept_settings(settings(users=(User("", TOKEN, "everything"),))))
    kept(hub, "reader", username="", password=b"abc").vanish()
    hub.sync()
    assert hub.after_power_cut(of=kept_settings()).router.sessions == ()


def test_a_session_that_became_clean_is_not_written_again() -> None:
    hub = DiskHub()
    kept(hub, "reader").vanish()
    kept(hub, "reader", 0)
    assert not rewritten(hub).disk.memory().sessions


def test_a_will_has_what_was_left_of_its_delay() -> None:
    hub = DiskHub()
    will = Will("will", b"gone", 1, retain=True, properties=Properties(will_delay=10))
    kept(hub, "mortal", 100, will=will).vanish()
    hub.pass_time(4.0)
    again = rewritten(hub).after_power_cut()
    again.pass_time(5.0)
    assert not again.disk.memory().retained
    again.pass_time(1.0)
    again.sync()
    assert list(again.disk.memory().retained) == [b"will"]


def test_an_outdated_will_is_not_published_twice() -> None:
    hub = DiskHub()
    will = Will("will", b"gone", 1, retain=True, properties=Properties(will_delay=10))
    kept(hub, "mortal", 100, will=will).vanish()
    hub.pass_time(10.0)
    publish(hub, "will", b"", retain=True)
    hub.sync()
    again = hub.after_power_cut(away=5.0)
    again.pass_time(0.0)
    again.sync()
    assert not again.disk.memory().retained


# Deliveries


def test_what_may_have_been_sent_is_repeated_and_the_rest_waits() -> None:
    limits = Limits(inflight=2)
    hub = DiskHub(kept_settings(settings(limits=limits, urgent=("urgent",))))
    reader = subscribed(hub, kept(hub, "reader"), "#", qos=2)
    for number in range(3):
        publish(hub, "a", b"%d" % number, qos=2)
    for number in range(6):
        publish(hub, "urgent", b"u%d" % number, qos=2)
    hub.sync()
    sent = {each.packet_id: each.payload for each in reader.published()}
    assert len(sent) == 2 + 5
    again = hub.after_power_cut()
    reader = returning(again)
    again.sync()
    arrived = reader.published()
    assert {each.packet_id: each.payload for each in arrived if each.dup}.items() >= sent.items()
    assert b"2" not in {each.payload for each in arrived}
    assert len(on_disk(again)) == 9


@pytest.mark.parametrize("is_rewritten", [False, True])
def test_what_came_while_its_client_was_away_was_not_sent(is_rewritten: bool) -> None:
    """So it is not repeated, and not sent at all when it expires after the restart."""
    hub = DiskHub()
    reader = subscribed(hub, kept(hub, "reader"), "a")
    publish(hub, "a", b"sent")
    assert reader.payloads() == [b"sent"]
    reader.vanish()
    publish(hub, "a", b"short", properties=Properties(message_expiry=5))
    publish(hub, "a", b"new")
    hub.sync()
    again = (rewritten(hub) if is_rewritten else hub).after_power_cut()
    again.pass_time(6.0)
    reader = returning(again)
    again.sync()
    assert [(each.payload, each.dup) for each in reader.published()] == [
        (b"sent", True),
        (b"new", False),
    ]
    again.sync()
    last = again.after_power_cut()  # from now on it may have been sent
    reader = returning(last)
    last.sync()
    assert [each.dup for each in reader.published()] == [True, True]


def test_one_at_a_time_stays_one_at_a_time() -> None:
    hub = DiskHub(kept_settings(settings(limits=Limits(inflight=1))))
    subscribed(hub, kept(hub, "reader"), "a").vanish()
    for number in range(3):
        publish(hub, "a", b"%d" % number)
    hub.sync()
    again = hub.after_power_cut()
    reader = returning(again)
    again.sync()
    (first,) = reader.published()
    reader.send(Acknowledge(packets.PUBACK, first.packet_id))
    assert [first.payload, *take_all(again, reader)] == [b"0", b"1", b"2"]


def test_what_a_smaller_queue_does_not_take_is_gone_on_disk() -> None:
    hub = DiskHub()
    subscribed(hub, kept(hub, "reader"), "a").vanish()
    for number in range(6):
        publish(hub, "a", b"%d" % number)
    hub.sync()
    limits = Limits(inflight=1, queue_messages=2)
    again = hub.after_power_cut(of=kept_settings(settings(limits=limits)))
    assert on_disk(again) == [b"0", b"1"]


def test_what_expired_in_a_full_queue_is_gone_on_disk() -> None:
    hub = DiskHub(kept_settings(settings(limits=Limits(queue_messages=2))))
    subscribed(hub, kept(hub, "reader"), "a").vanish()
    for payload in (b"1", b"2"):
        publish(hub, "a", payload, properties=Properties(message_expiry=5))
    hub.pass_time(6.0)
    publish(hub, "a", b"3")
    assert on_disk(hub) == [b"3"]


def test_all_that_is_alive_is_written_again() -> None:
    """Under way, waiting, urgent or not; and nothing that is not kept."""
    limits = Limits(inflight=1)
    hub = DiskHub(kept_settings(settings(limits=limits, urgent=("urgent/#",))))
    reader = subscribed(hub, kept(hub, "reader"), "#")
    publish(hub, "edge/a", b"not kept, under way")
    for topic in ("a", "urgent/a", "edge/b"):
        for number in range(7):
            publish(hub, topic, b"%d" % number)
    before = sorted(on_disk(hub))
    assert len(before) == 14
    reader.got()
    again = rewritten(hub)
    assert sorted(on_disk(again)) == before
    (session,) = again.disk.memory().sessions.values()
    assert None not in session.deliveries.values()


def test_a_message_for_many_stands_on_disk_once() -> None:
    hub = DiskHub()
    for name in ("one", "two"):
        subscribed(hub, kept(hub, name), "a").vanish()
    publish(hub, "a", b"1", retain=True)
    hub.sync()
    again = hub.after_power_cut()
    again.restate(10_000)
    names = [name for each in transactions(again) for name in each]
    assert names.count("Stored") == 1
    assert names.count("Queued") == 2
    again.sync()
    last = again.after_power_cut()
    subscribed(last, kept(last, "three"))
    late = returning(last, "three")
    late.send(Subscribe(1, (("a", 1),)))
    last.sync()
    late.got()
    assert ["Queued"] in transactions(last)


# Numbers and sizes


def test_a_number_that_was_seen_is_never_given_again() -> None:
    """A session is written again with its own number behind those of later ones."""
    memory = Memory()
    for number in (1, 2, 1):
        memory.apply(Began(number, False, False, FOR_EVER, b"client", b""))
    assert memory.last_session == 2


def test_what_waits_counts_when_the_size_of_a_file_is_judged() -> None:
    memory = Memory()
    memory.apply(Began(1, False, False, FOR_EVER, b"client", b""))
    assert memory.size() == OVERHEAD
    memory.apply(Stored(1, 1, False, FOR_EVER, 0, b"topic", bytes(100), b""))
    memory.apply(Queued(1, 1, 1, 1, False, b"", b""))
    memory.apply(Stored(2, 1, True, FOR_EVER, 0, b"topic", bytes(100), b""))
    assert memory.size() == 3 * OVERHEAD + 2 * len(b"topic") + 200


@pytest.mark.parametrize(
    "change",
    [
        Resumed(7, False, 1),
        Left(7, 1, 1),
        Unsubscribed(7, b"a"),
        Queued(7, 1, 1, 1, False, b"", b""),
    ],
)
def test_what_belongs_to_nothing_changes_nothing(change: changes.Change) -> None:
    memory = Memory()
    memory.apply(change)
    assert memory == Memory()


def test_nothing_waits_for_the_disk_when_all_is_written() -> None:
    hub = DiskHub()
    for number in range(3):
        publish(hub, "a", b"%d" % number, retain=True)
        assert hub.journal.backlog > 0
        hub.sync()
        assert hub.journal.backlog == 0


@pytest.mark.parametrize("moment", ["before the end", "after it"])
def test_the_end_of_a_new_file_is_found_whatever_happens_beside_it(moment: str) -> None:
    hub = DiskHub()
    publish(hub, "a", b"1", retain=True)
    reader = kept(hub, "reader")
    if moment == "before the end":
        reader.vanish()
        hub.journal.begin_again()
        hub.disk.files.append([])
        publish(hub, "b", b"2", retain=True)
        hub.journal.leave(hub.router.sessions[0])
        hub.journal.complete()
    else:
        hub.restate(10_000)
        reader.vanish()
    hub.sync()
    assert len(hub.disk.files) == 1
