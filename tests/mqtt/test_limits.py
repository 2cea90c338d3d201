"""What one client may take: each limit, what a client is told beyond it, and what the log says."""

from dataclasses import replace
from hashlib import sha256

import pytest

from broker.admission.access import hash_password_for_mosquitto
from broker.admission.entrance import CHECKED, STRANGERS
from broker.admission.refusals import Limit
from broker.admission.throttle import Throttle
from broker.connections.connection import State
from broker.protocol import packets
from broker.protocol.codec import encode
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Connack,
    Connect,
    Farewell,
    Publish,
    Suback,
    Subscribe,
    Will,
)
from broker.protocol.reasons import ReasonCode
from broker.routing.session import MOST_PAUSES, PAUSE
from broker.settings import Limits, User
from tests.mqtt.tools import EVERYTHING, Hub, Peer, settings

MEMBER = replace(EVERYTHING, name="member", unlimited=True)
TOKEN = "token:" + sha256(b"token").hexdigest()
PERSON = User("person", hash_password_for_mosquitto("secret", iterations=1), "everything")


def limited(**limits: float) -> Hub:
    users = (User("member", TOKEN, "member"), PERSON)
    of = settings(MEMBER, users=users, limits=Limits(**limits))  # type: ignore[arg-type]
    return Hub(of)


def connect_member(hub: Hub, client_id: str) -> Peer:
    return hub.connect(client_id, username="member", password=b"token")


def counts(hub: Hub) -> dict[Limit, int]:
    return {limit: count for limit, count in hub.router.counters.refusals.counts.items() if count}


def lines(hub: Hub, limit: Limit) -> list[str]:
    return [each for each in hub.log if f"(limit {limit};" in each]


# Topics


@pytest.mark.parametrize("topic", ["a/" * 64 + "a", "a" * 1025])
def test_a_will_to_a_topic_beyond_the_limits_is_refused(topic: str) -> None:
    """Found out only when the connection ends, it would have ended the broker."""
    hub = Hub()
    will = Will(topic, b"gone", 0, retain=False)
    five, old = hub.peer(), hub.peer()
    five.send(Connect("a", will=will, version=MQTT_5))
    old.send(Connect("b", will=will, version=MQTT_3_1_1))
    (answer,) = five.got()
    assert isinstance(answer, Connack)
    assert answer.code == ReasonCode.TOPIC_NAME_INVALID
    assert old.got() == []
    assert five.is_closed
    assert old.is_closed


def test_a_topic_that_is_too_long_ends_the_connection() -> None:
    hub = limited(topic_bytes=10)
    peer = hub.connect("a", version=MQTT_5)
    peer.send(Subscribe(1, (("b" * 10, 0), ("c" * 11, 0))))
    (suback,) = peer.got()
    assert isinstance(suback, Suback)
    assert suback.codes == (0, ReasonCode.TOPIC_FILTER_INVALID)
    peer.send(Publish("b" * 10, b"1"))
    assert peer.payloads() == [b"1"]
    peer.send(Publish("c" * 11, b"2"))
    (farewell,) = peer.got()
    assert isinstance(farewell, Farewell)
    assert farewell.code == ReasonCode.TOPIC_NAME_INVALID


# Connections


def test_a_full_broker_says_so() -> None:
    hub = limited(connections=1)
    hub.connect("a")
    for number in range(3):
        five, old = hub.peer(), hub.peer()
        five.send(Connect(f"b{number}", version=MQTT_5))
        old.send(Connect(f"c{number}"))
        (answer,) = five.got()
        assert isinstance(answer, Connack)
        assert answer.code == ReasonCode.SERVER_BUSY
        assert old.got() == [Connack(session_present=False, code=packets.UNAVAILABLE)]
        assert five.is_closed
        assert old.is_closed
    assert counts(hub) == {Limit.CONNECTIONS: 6}
    assert len(lines(hub, Limit.CONNECTIONS)) == 1
    assert not [each for each in hub.log if "refused:" in each]


def test_a_place_is_free_again_when_its_client_has_left() -> None:
    hub = limited(connections=1)
    for _ in range(3):
        hub.connect("a").vanish()


def test_whoever_comes_back_takes_its_own_place() -> None:
    hub = limited(connections=1)
    first = hub.connect("a")
    second = hub.connect("a")
    assert first.is_closed
    assert not second.is_closed
    other = hub.peer()
    other.send(Connect("b"))
    assert other.is_closed


def test_the_client_id_of_somebody_here_is_no_way_in_without_a_password() -> None:
    hub = limited(connections=1)
    client = hub.connect("a")
    for is_right, code in ((False, packets.BAD_PASSWORD), (True, packets.BAD_CLIENT_ID)):
        peer = checked(hub, "a")
        peer.connection.verified(hub.now, is_right=is_right)
        assert peer.got() == [Connack(session_present=False, code=code)]
    assert not client.is_closed


def test_members_find_a_place_whoever_is_there() -> None:
    hub = limited(connections=1, connections_per_address=1)
    hub.connect("a")
    for number in range(3):
        connect_member(hub, f"member{number}")
    assert not counts(hub)


def test_one_address_has_its_own_bound() -> None:
    hub = limited(connections_per_address=2)
    first, _ = hub.connect("a"), hub.connect("b")
    third = hub.peer()
    third.send(Connect("c", version=MQTT_5))
    (answer,) = third.got()
    assert isinstance(answer, Connack)
    assert answer.code == ReasonCode.QUOTA_EXCEEDED
    assert not Peer(hub, "another:1").is_closed
    first.vanish()
    hub.connect("c")
    assert counts(hub) == {Limit.CONNECTIONS_PER_ADDRESS: 1}


def test_another_address_is_not_bound_by_it() -> None:
    hub = limited(connections_per_address=1)
    hub.connect("a")
    other = Peer(hub, "192.0.2.1:1")
    other.send(Connect("b"))
    assert not other.is_closed


def test_the_addresses_of_one_ipv6_network_are_one() -> None:
    """Whoever has one has 2^64 of them."""
    hub = limited(connections_per_address=2)
    addresses = ("fd00::1", "fd00::a:b:c:d", "fd00::2", "fd00:0:0:1::1", "fe80::1%eth0", "fe80::2")
    peers = [Peer(hub, f"{each}:1883") for each in addresses]
    for number, peer in enumerate(peers):
        peer.send(Connect(f"client {number}"))
    assert [each.is_closed for each in peers] == [False, False, True, False, False, False]
    (line,) = lines(hub, Limit.CONNECTIONS_PER_ADDRESS)
    assert line.startswith("fd00::/64: refused")
    peers[0].vanish()
    again = Peer(hub, "fd00::9:1883")
    again.send(Connect("again"))
    assert not again.is_closed


def test_those_that_say_nothing_make_room() -> None:
    """Whoever speaks is let in, however many are silent; and nobody who spoke has to go."""
    hub = limited(connections=2)
    client = hub.connect("client")
    silent = [hub.peer() for _ in range(1000)]
    late = hub.connect("late")
    assert not client.is_closed
    assert not late.is_closed
    still_there = [each for each in silent if not each.is_closed]
    assert still_there == silent[-len(still_there) :]
    assert len(still_there) == STRANGERS
    assert len(lines(hub, Limit.CONNECTIONS)) == 1


def checked(hub: Hub, client_id: str) -> Peer:
    peer = hub.peer()
    peer.send(Connect(client_id, username="person", password=b"secret"))
    return peer


def test_those_whose_password_is_checked_take_nobodys_place() -> None:
    """Whoever knows a name could shut out everybody: checks are slow, and cost him nothing."""
    hub = limited(connections=2)
    guesses = [checked(hub, f"guess{number}") for number in range(CHECKED)]
    assert all(each.connection.state is State.VERIFYING for each in guesses)
    assert checked(hub, "beyond").is_closed
    assert not hub.connect("client").is_closed
    silent = hub.peer()
    guesses[0].connection.verified(hub.now, is_right=False)
    assert checked(hub, "again").connection.state is State.VERIFYING
    guesses[1].vanish()
    assert checked(hub, "again").connection.state is State.VERIFYING
    assert not silent.is_closed
    assert len(lines(hub, Limit.CONNECTIONS)) == 1


def test_a_right_password_opens_no_full_broker() -> None:
    hub = limited(connections=1)
    late = checked(hub, "late")
    hub.connect("client")
    late.connection.verified(hub.now, is_right=True)
    assert late.got() == [Connack(session_present=False, code=packets.UNAVAILABLE)]


def test_but_it_opens_the_own_place() -> None:
    hub = limited(connections=1)
    for _ in range(2):
        peer = checked(hub, "own")
        peer.connection.verified(hub.now, is_right=True)
        assert peer.got() == [Connack(session_present=False, code=packets.ACCEPTED)]


# Rates


def test_the_throttle_lets_a_second_pass_at_once() -> None:
    throttle = Throttle(Limits(messages_per_second=10, bytes_per_second=1000))
    assert throttle.settle(10, 100.0) <= 100.0
    assert throttle.settle(1, 100.0) == pytest.approx(100.1)
    assert throttle.settle(0, 100.1) <= 100.1
    throttle.add_bytes(5000)
    assert throttle.settle(0, 200.0) == pytest.approx(204.0)


def acknowledged(peer: Peer) -> int:
    return sum(isinstance(each, Acknowledge) for each in peer.got())


def test_a_client_that_is_too_fast_is_held_back_and_loses_nothing() -> None:
    hub = limited(messages_per_second=10)
    reader = hub.connect("reader")
    reader.send(Subscribe(1, (("a", 0),)))
    reader.got()
    fast = hub.connect("fast")
    data = b"".join(encode(Publish("a", b"%d" % n, 1, packet_id=n)) for n in range(1, 101))
    fast.send(data)
    got = acknowledged(fast)
    assert 10 <= got < 100
    assert fast.connection.is_paused
    rounds = 0
    while got < 100:
        rounds += 1
        fast.wait(fast.connection.deadline_at - hub.now)
        fast.send(b"")
        got += acknowledged(fast)
    assert [int(each) for each in reader.payloads()] == list(range(1, 101))
    assert hub.now - 1000.0 >= (100 - 10 - 60) / 10
    assert len(lines(hub, Limit.RATE)) == 1
    assert counts(hub)[Limit.RATE] >= rounds


def test_a_client_that_is_not_read_is_not_taken_for_dead() -> None:
    hub = limited(bytes_per_second=100)
    peer = hub.connect("a", keep_alive=1)
    peer.send(encode(Publish("a", bytes(1000))))
    assert peer.connection.is_paused
    peer.wait(5.0)
    assert peer.connection.is_paused
    free_at = peer.connection.deadline_at
    peer.wait(5.0)
    assert hub.now >= free_at
    peer.wait(1.0)
    assert not peer.is_closed
    peer.wait(1.0)
    assert peer.is_closed


def test_a_large_packet_that_is_read_slowly_keeps_its_client_alive() -> None:
    hub = limited(bytes_per_second=1000)
    reader = hub.connect("reader")
    reader.send(Subscribe(1, (("a", 0),)))
    reader.got()
    peer = hub.connect("a", keep_alive=1)
    data = encode(Publish("a", bytes(10_000)))
    for start in range(0, len(data), 2000):
        peer.send(data[start : start + 2000])
        while peer.connection.is_paused:
            peer.wait(1.0)
    assert reader.payloads() == [bytes(10_000)]
    assert hub.now - 1000.0 >= 8


def test_members_send_as_fast_as_they_can() -> None:
    hub = limited(messages_per_second=1, bytes_per_second=1)
    member = connect_member(hub, "member")
    member.send(encode(Publish("a", bytes(100))) * 1000)
    assert not member.connection.is_paused
    assert hub.router.counters.received == 1000


def test_what_was_read_counts_when_the_client_comes_back() -> None:
    hub = limited(messages_per_second=1)
    peer = hub.connect("a")
    peer.send(encode(Publish("a", b"x")) * 200)
    assert hub.router.counters.received < 200
    hub.connect("a")
    assert hub.router.counters.received == 200


# The others


def test_a_retained_message_too_many_is_passed_on_and_said() -> None:
    hub = limited(retained_bytes=2000)
    reader = hub.connect("reader")
    reader.send(Subscribe(1, (("#", 0),)))
    reader.got()
    five, old = hub.connect("five", version=MQTT_5), hub.connect("old")
    for peer in (five, old):
        peer.send(Publish("large", bytes(2000), 1, retain=True, packet_id=1))
        peer.send(Publish("large", bytes(2000), 2, retain=True, packet_id=2))
        peer.send(Publish("small", b"1", 1, retain=True, packet_id=3))
    assert len(reader.payloads()) == 6
    assert [getattr(each, "code", None) for each in five.got()] == [
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.SUCCESS,
    ]
    assert [getattr(each, "code", None) for each in old.got()] == [0, 0, 0]
    assert counts(hub) == {Limit.RETAINED: 4}
    assert len(lines(hub, Limit.RETAINED)) == 2


def test_members_always_have_room_for_what_they_retain() -> None:
    hub = limited(retained_messages=1, retained_bytes=1000)
    hub.connect("a").send(Publish("a", bytes(100), retain=True))
    member = connect_member(hub, "member")
    member.send(Publish("lease", bytes(2000), retain=True))
    reader = hub.connect("reader")
    reader.send(Subscribe(1, (("lease", 0),)))
    assert reader.payloads() == [bytes(2000)]


def test_too_many_subscriptions_are_one_line() -> None:
    hub = limited(subscriptions=1)
    five, old = hub.connect("five", version=MQTT_5), hub.connect("old")
    for peer, code in ((five, ReasonCode.QUOTA_EXCEEDED), (old, packets.SUBSCRIPTION_REFUSED)):
        for number in range(1, 4):
            peer.send(Subscribe(number, (("a", 1), (f"b{number}", 1))))
        subacks = peer.got()
        assert [each.codes for each in subacks if isinstance(each, Suback)] == [(1, code)] * 3
    assert counts(hub) == {Limit.SUBSCRIPTIONS: 6}
    assert len(lines(hub, Limit.SUBSCRIPTIONS)) == 2


def test_a_full_queue_is_one_line() -> None:
    hub = limited(queue_messages=2, inflight=1)
    slow, sender = hub.connect("slow"), connect_member(hub, "sender")
    slow.send(Subscribe(1, (("a", 1),)))
    slow.got()
    for number in range(1, 11):
        sender.send(Publish("a", b"%d" % number, 1, packet_id=number))
    assert acknowledged(sender) == 10
    assert counts(hub) == {Limit.QUEUE: hub.router.counters.dropped}
    assert len(lines(hub, Limit.QUEUE)) == 1


def test_what_closes_a_connection_is_counted_once_more() -> None:
    hub = limited(packet_size=100, receive_maximum=1, topic_bytes=10)
    for number in range(3):
        large, eager, verbose = (hub.connect(f"c{each}", version=MQTT_5) for each in range(3))
        large.send(Publish("a", bytes(1000)))
        eager.send(Publish("a", b"", 2, packet_id=1), Publish("a", b"", 2, packet_id=2))
        verbose.send(Publish("a" * 11, b""))
        for peer, code in (
            (large, ReasonCode.PACKET_TOO_LARGE),
            (eager, ReasonCode.RECEIVE_MAXIMUM_EXCEEDED),
            (verbose, ReasonCode.TOPIC_NAME_INVALID),
        ):
            farewell = peer.got()[-1]
            assert isinstance(farewell, Farewell)
            assert farewell.code == code
        limits = (Limit.PACKET_SIZE, Limit.RECEIVE_MAXIMUM, Limit.TOPICS)
        assert counts(hub) == dict.fromkeys(limits, number + 1)
        assert all(len(lines(hub, each)) == 1 for each in limits)


# The log


@pytest.mark.parametrize("is_on", [True, False])
def test_clients_that_come_and_go_are_lines_if_wanted(is_on: bool) -> None:
    """What an operator has to act on is said in any case."""
    of = replace(settings(users=(PERSON,), limits=Limits(subscriptions=1)), log_clients=is_on)
    hub = Hub(of)
    hub.connect("a").vanish()
    greedy = hub.connect("b")
    greedy.send(Subscribe(1, (("a", 0), ("b", 0))))
    greedy.send(Connect("b"))
    assert greedy.is_closed
    hub.peer().send(Connect("c", username="nobody", password=b""))
    always = [
        "b: it has too many subscriptions (limit subscriptions; said once)",
        "peer:1 refused: unknown user or no password",
    ]
    assert [each for each in hub.log if each in always] == always
    assert len(hub.log) - len(always) == (4 if is_on else 0)


def burst(number: int, qos: int = 1) -> bytes:
    return b"".join(
        encode(Publish("a", b"%d" % n, qos, packet_id=n * (qos > 0))) for n in range(1, number + 1)
    )


def acknowledge(reader: Peer, most: int) -> list[int]:
    """The reader takes so many messages at a time; what came is returned."""
    came = [each for each in reader.got() if isinstance(each, Publish)]
    for each in came[:most]:
        reader.send(Acknowledge(packets.PUBACK, each.packet_id))
    return [int(each.payload) for each in came]


def take_turns(hub: Hub, sender: Peer, readers: list[Peer], most: int, until: int) -> list[int]:
    """Until the sender got so many acknowledgements; what the first reader got."""
    got: list[int] = []
    acknowledged_messages = 0
    while acknowledged_messages < until:
        hub.now += 0.001
        if sender.connection.deadline_at <= hub.now:
            sender.connection.expire(hub.now)
        sender.send(b"")
        acknowledged_messages += acknowledged(sender)
        got += [each for reader in readers for each in acknowledge(reader, most)]
    return got


def subscribed(hub: Hub, name: str, qos: int = 1) -> Peer:
    reader = hub.connect(name)
    reader.send(Subscribe(1, (("a", qos),)))
    reader.got()
    return reader


def test_who_sends_waits_for_a_reader_that_keeps_reading() -> None:
    """It reads 10,000 messages a second, is sent as many as there are, and loses none."""
    hub = limited()
    reader = subscribed(hub, "reader")
    sender = hub.connect("sender")
    sender.send(burst(10_000))
    got = take_turns(hub, sender, [reader], most=10, until=10_000)
    while came := acknowledge(reader, 20):
        got += came
    assert got == list(range(1, 10_001))
    assert hub.router.counters.dropped == 0
    assert len(lines(hub, Limit.PACE)) == 1
    assert counts(hub)[Limit.PACE] > 0


def test_who_sends_waits_a_second_for_a_reader_that_does_not_keep_up_and_no_longer() -> None:
    hub = limited()
    reader = subscribed(hub, "reader")
    sender = hub.connect("sender")
    sender.send(burst(10_000))
    began_at = hub.now
    take_turns(hub, sender, [], most=0, until=10_000)
    assert hub.now - began_at == pytest.approx(MOST_PAUSES * (PAUSE + 0.001), rel=0.2)
    assert hub.router.counters.dropped == 10_000 - 1000 - 20
    pauses = counts(hub)[Limit.PACE]
    sender.send(burst(2000))
    assert counts(hub)[Limit.PACE] == pauses, "it is waited for again only when it has caught up"
    while acknowledge(reader, 20):
        pass
    sender.send(burst(2000))
    assert counts(hub)[Limit.PACE] == pauses + 1


def test_nobody_waits_for_a_reader_at_qos_0() -> None:
    hub = limited()
    reader = subscribed(hub, "reader", qos=0)
    reader.connection.pause()
    sender = hub.connect("sender")
    sender.send(burst(3000))
    assert hub.router.counters.received == 3000
    assert Limit.PACE not in counts(hub)


def test_members_wait_for_nobody() -> None:
    hub = limited()
    subscribed(hub, "reader")
    member = connect_member(hub, "member")
    member.send(burst(3000))
    assert hub.router.counters.received == 3000
    assert Limit.PACE not in counts(hub)


def test_what_a_waiting_client_sent_counts_when_it_goes() -> None:
    hub = limited()
    subscribed(hub, "reader")
    sender = hub.connect("sender")
    sender.send(burst(3000))
    assert hub.router.counters.received < 3000
    hub.connect("sender")
    assert hub.router.counters.received == 3000
