"""The topics under `$SYS`: what they count, who gets them, and when."""

import math

import pytest

from broker.protocol.packets import MQTT_5, Connect, Properties, Publish, Subscribe
from broker.routing.router import SESSIONS_AT_ONCE
from broker.routing.statistics import Load, Statistics
from broker.settings import Limits
from tests.mqtt.tools import Hub, Peer, settings

PREFIX = "$SYS/broker/"


def values(peer: Peer) -> dict[str, str]:
    return {each.topic.removeprefix(PREFIX): each.payload.decode() for each in peer.published()}


def publish(statistics: Statistics, now: float) -> None:
    assert list(statistics.steps(now)) == []


def watcher(hub: Hub) -> Peer:
    peer = hub.connect("watcher")
    peer.send(Subscribe(1, (("$SYS/#", 0),)))
    peer.got()
    return peer


def test_limits_for_clients_are_none_for_them() -> None:
    hub = Hub(settings(limits=Limits(topic_bytes=1, topic_levels=1)))
    publish(Statistics(hub.router, "edge 1", 0.0), 0.0)
    assert hub.router.retained.store.get(PREFIX + "version")


def test_they_come_when_they_changed_and_not_for_everybody() -> None:
    hub = Hub()
    statistics = Statistics(hub.router, "edge 1", 0.0)
    publish(statistics, 0.0)
    peer = hub.connect("reader")
    peer.send(Subscribe(1, (("#", 0),)))
    assert not peer.published()
    peer.send(Subscribe(2, (("$SYS/#", 0),)))
    found = values(peer)
    assert found["version"] == "edge 1"
    assert found["clients/connected"] == "0"
    publish(statistics, 10.0)
    changed = values(peer)
    assert changed["uptime"] == "10 seconds"
    assert changed["clients/connected"] == changed["clients/maximum"] == "1"
    assert changed["subscriptions/count"] == "2"
    assert "version" not in changed
    assert "clients/refused" not in changed


def test_clients_and_what_they_leave_are_counted() -> None:
    hub = Hub(settings(limits=Limits(subscriptions=3)))
    statistics = Statistics(hub.router, "edge 1", hub.now)
    peer = watcher(hub)
    lasting = Properties(session_expiry=5)
    away = [hub.connect(f"a{n}", version=MQTT_5, properties=lasting) for n in range(3)]
    away[0].send(Subscribe(1, (("a", 1), ("$share/s/a", 0), ("b", 1), ("c", 1))))
    for each in away:
        each.vanish()
    sender = hub.connect("sender")
    for number in range(1, 5):
        sender.send(Publish("a", b"x" * 10, 1, retain=number == 1, packet_id=number))
    sender.send(Connect("sender"))
    publish(statistics, hub.now + 10)
    found = values(peer)
    expected = {
        "clients/connected": "1",
        "clients/disconnected": "3",
        "clients/total": "4",
        "clients/maximum": "4",
        "clients/expired": "0",
        "clients/refused": "1",
        "publish/messages/received": "4",
        "publish/messages/sent": "0",
        "subscriptions/count": "3",
        "shared_subscriptions/count": "1",
        "limits/subscriptions": "1",
    }
    assert {name: found[name] for name in expected} == expected
    assert int(found["messages/received"]) == 6 + 2 + 4
    assert int(found["bytes/received"]) > 4 * 10
    stored = int(found["store/messages/count"])
    assert stored - int(found["retained messages/count"]) == 4
    hub.pass_time(5.0)
    publish(statistics, hub.now + 20)
    found = values(peer)
    assert found["clients/expired"] == "3"
    assert found["clients/disconnected"] == "0"
    assert found["shared_subscriptions/count"] == "0"


def test_memory_is_what_the_process_takes() -> None:
    hub = Hub()
    peer = watcher(hub)
    publish(Statistics(hub.router, "edge 1", hub.now), hub.now)
    found = values(peer)
    assert 1_000_000 < int(found["heap/current"]) <= int(found["heap/maximum"])


def test_a_steady_load_is_its_own_average() -> None:
    load = Load(0.0)
    for tick in range(1, 2000):
        load.update({"x": 50 * tick}, 10.0 * tick)
    for span in ("1min", "5min", "15min"):
        assert load.averages[f"load/x/{span}"] == pytest.approx(300.0, rel=1e-3)


def test_a_load_that_ends_fades_with_the_span_of_its_average() -> None:
    load = Load(0.0)
    load.update({"x": 100}, 10.0)
    first = dict(load.averages)
    assert first["load/x/1min"] == pytest.approx(600 * (1 - math.exp(-1 / 6)))
    load.update({"x": 100}, 70.0)
    assert load.averages["load/x/1min"] == pytest.approx(first["load/x/1min"] / math.e)
    assert load.averages["load/x/5min"] == pytest.approx(first["load/x/5min"] * math.exp(-0.2))


def test_many_sessions_are_counted_a_few_at_a_time() -> None:
    hub = Hub(settings(limits=Limits(connections=2 * SESSIONS_AT_ONCE + 1)))
    peer = watcher(hub)
    for number in range(2 * SESSIONS_AT_ONCE):
        hub.connect(f"c{number}").send(Subscribe(1, (("a", 0),)))
    steps = Statistics(hub.router, "edge 1", hub.now).steps(hub.now)
    next(steps)
    next(steps)
    assert not peer.published()
    hub.connect("c0").vanish()  # after it was counted: the numbers are of a span, not an instant
    assert next(steps, "end") == "end"
    assert int(values(peer)["subscriptions/count"]) == 2 * SESSIONS_AT_ONCE + 1
