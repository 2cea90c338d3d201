"""Users, roles and rules; refused connections leave nothing behind."""

import hashlib

import pytest

from broker.admission.access import (
    Access,
    Challenge,
    Identity,
    Refusal,
    hash_password,
    hash_password_for_mosquitto,
    verify_password,
)
from broker.protocol.codec import encode
from broker.protocol.packets import Acknowledge, Connack, Connect, Publish, Suback, Subscribe, Will
from broker.settings import User
from tests.mqtt.tools import Hub, Peer, role, settings

TOKEN = "a-token-with-enough-randomness"
MACHINE = User("machine", "token:" + hashlib.sha256(TOKEN.encode()).hexdigest(), "everything")
ARGON2 = User("person", hash_password("secret"), "everything")
PBKDF2 = User("other", hash_password_for_mosquitto("secret", 100), "everything")
LIMITED = role(
    "limited",
    "+publish own/#",
    "-subscribe open/secret/#",
    "+subscribe open/#",
    "+subscribe any/+/x",
)
WIDE = role("wide", "-subscribe secret/#", "+subscribe #", "+publish #")


def limited_hub() -> Hub:
    return Hub(settings(LIMITED, WIDE, users=(MACHINE,), anonymous="limited"))


def machine(hub: Hub, client_id: str = "machine", **options: object) -> Peer:
    return hub.connect(client_id, username="machine", password=TOKEN.encode(), **options)


# Who


@pytest.mark.parametrize("user", [ARGON2, PBKDF2])
def test_passwords(user: User) -> None:
    assert verify_password(user.verifier, b"secret")
    assert not verify_password(user.verifier, b"Secret")


def test_a_hash_of_mosquitto_passwd() -> None:
    """Made by mosquitto_passwd 2.0.11 for the password `secret`."""
    made = (
        "$7$101$Q4KQTtz9/Q1fZVkB$O0sePLV5V7EGX9lFcfjubCP7GZ"
        "EGdcVNO4k4SFFd9wYAbNLzXQvNpdMCd9JsTMxU4gXTLVoD/49UHtyT0kUTcA=="
    )
    assert verify_password(made, b"secret")
    assert not verify_password(made, b"secret ")


@pytest.mark.parametrize(
    "verifier", ["", "secret", "$7$", "$7$x$AA==$AA==", "$6$1$AA==$AA==", "$7$0$AA==$AA==",
                 "$7$1$!$!", "$argon2id$v=19$broken"],
)  # fmt: skip
def test_a_broken_verifier_lets_nobody_in(verifier: str) -> None:
    assert not verify_password(verifier, b"secret")


def test_a_success_is_remembered_and_a_failure_is_not() -> None:
    access = Access(settings(users=(ARGON2,)))
    wrong = access.identify("person", b"wrong")
    assert isinstance(wrong, Challenge)
    assert not access.verify(wrong)
    right = access.identify("person", b"secret")
    assert isinstance(right, Challenge)
    assert access.verify(right)
    assert access.identify("person", b"secret") == right.identity
    assert isinstance(access.identify("person", b"wrong"), Challenge)


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        ("machine", b"wrong", 4),
        ("machine", None, 4),
        ("nobody", b"secret", 4),
        ("", b"", 4),
        (None, None, 5),
        ("lost", TOKEN.encode(), 5),
    ],
)
def test_refusals(username: str | None, password: bytes | None, code: int) -> None:
    lost = User("lost", MACHINE.verifier, "a role that does not exist")
    access = Access(settings(users=(MACHINE, lost), anonymous=None))
    answer = access.identify(username, password)
    assert isinstance(answer, Refusal)
    assert answer.code == code


def test_a_token_is_checked_at_once() -> None:
    answer = Access(settings(users=(MACHINE,))).identify("machine", TOKEN.encode())
    assert isinstance(answer, Identity)
    assert answer.user == "machine"


def test_a_refused_connection_touches_nothing() -> None:
    hub = Hub(settings(users=(MACHINE,)))
    owner = machine(hub, "id", will=Will("w", b"", 0, retain=False), clean_session=False)
    owner.send(Subscribe(1, (("a", 0),)))
    owner.got()
    before = set(hub.router._sessions)
    thief = hub.peer()
    thief.send(Connect("id", username="machine", password=b"wrong", will=Will("a", b"", 0, False)))
    assert thief.got() == [Connack(session_present=False, code=4)]
    assert not owner.is_closed
    assert set(hub.router._sessions) == before
    owner.send(Publish("a", b"still here"))
    assert owner.payloads() == [b"still here"]


def test_another_user_cannot_take_over_a_client_id_in_use() -> None:
    hub = Hub(settings(users=(MACHINE,)))
    owner = machine(hub, "id")
    thief = hub.peer()
    thief.send(Connect("id"))
    assert thief.got() == [Connack(session_present=False, code=2)]
    assert not owner.is_closed


def test_another_user_does_not_inherit_a_session() -> None:
    hub = Hub(settings(users=(MACHINE,)))
    owner = machine(hub, "id", clean_session=False)
    owner.send(Subscribe(1, (("a", 1),)))
    owner.vanish()
    machine(hub, "writer").send(Publish("a", b"private", 1, packet_id=1))
    other = hub.peer()
    other.send(Connect("id", clean_session=False))
    assert other.got() == [Connack(session_present=False, code=0)]


def test_packets_wait_while_the_password_is_checked() -> None:
    hub = Hub(settings(users=(PBKDF2,)))
    peer = hub.peer()
    peer.send(Connect("id", username="other", password=b"secret"))
    peer.send(Subscribe(1, (("a", 0),)))
    assert peer.got() == []
    assert peer.connection.deadline_at == float("inf")
    challenge = peer.connection.challenge
    assert challenge
    assert not hub.router._sessions
    peer.connection.verified(hub.now, is_right=hub.access.verify(challenge))
    peer.connection.process(hub.now)
    assert peer.got() == [Connack(session_present=False, code=0), Suback(1, (0,))]


def test_a_wrong_password_is_refused_after_the_check() -> None:
    hub = Hub(settings(users=(PBKDF2,)))
    peer = hub.peer()
    peer.send(Connect("id", username="other", password=b"wrong"))
    challenge = peer.connection.challenge
    assert challenge
    peer.connection.verified(hub.now, is_right=hub.access.verify(challenge))
    assert peer.got() == [Connack(session_present=False, code=4)]
    assert not hub.router._sessions


def test_a_connection_lost_during_the_check_is_not_attached() -> None:
    hub = Hub(settings(users=(PBKDF2,)))
    peer = hub.peer()
    peer.send(Connect("id", username="other", password=b"secret"))
    peer.vanish()
    peer.connection.verified(hub.now, is_right=True)
    assert not hub.router._sessions


# What


def test_a_publish_that_is_not_allowed_is_acknowledged_dropped_and_logged_once() -> None:
    hub = limited_hub()
    seen = machine(hub)
    seen.send(Subscribe(1, (("#", 0),)))
    seen.got()
    peer = hub.connect("a")
    for _ in range(3):
        peer.send(Publish("other", b"x", 1, retain=True, packet_id=7))
    peer.send(Publish("own/a", b"mine"))
    assert peer.got() == [Acknowledge(4, 7)] * 3
    assert seen.payloads() == [b"mine"]
    assert hub.router.counters.denied == 3
    assert len([line for line in hub.log if "may not publish" in line]) == 1


def test_what_is_not_allowed_counts_as_work() -> None:
    hub = limited_hub()
    peer = hub.connect("a")
    peer.connection.receive(encode(Publish("other", b"x")) * 1000)
    assert peer.connection.process(hub.now)


@pytest.mark.parametrize(
    ("topic_filter", "code"),
    [
        ("open/a", 0),
        ("open/#", 0),
        ("open/+/b", 0),
        ("open/secret", 0x80),
        ("open/secret/#", 0x80),
        ("any/a/x", 0),
        ("any/+/x", 0),
        ("any/#", 0x80),
        ("#", 0x80),
        ("+/a", 0x80),
        ("$SYS/#", 0x80),
    ],
)
def test_a_subscription_must_be_covered_wholly(topic_filter: str, code: int) -> None:
    peer = limited_hub().connect("a")
    peer.send(Subscribe(1, ((topic_filter, 0),)))
    assert peer.got() == [Suback(1, (code,))]


def test_what_a_wide_filter_hides_is_not_delivered_neither_live_nor_retained() -> None:
    hub = Hub(settings(WIDE, users=(MACHINE,), anonymous="wide"))
    writer = machine(hub)
    writer.send(Publish("secret/a", b"1", retain=True), Publish("plain", b"2", retain=True))
    peer = hub.connect("a")
    peer.send(Subscribe(1, (("#", 0),)))
    assert peer.payloads() == [b"2"]
    writer.send(Publish("secret/a", b"3"), Publish("plain", b"4"))
    assert peer.payloads() == [b"4"]


@pytest.mark.parametrize(("topic", "arrives"), [("own/will", True), ("other", False)])
def test_a_will_has_the_rights_of_its_connection(topic: str, arrives: bool) -> None:
    hub = limited_hub()
    seen = machine(hub)
    seen.send(Subscribe(1, (("#", 0),)))
    seen.got()
    hub.connect("a", will=Will(topic, b"gone", 1, retain=True)).vanish()
    assert bool(seen.payloads()) is arrives


def test_a_will_to_a_dollar_topic_is_not_published() -> None:
    hub = Hub()
    seen = hub.connect("seen")
    seen.send(Subscribe(1, (("$SYS/#", 0),)))
    seen.got()
    hub.connect("a", will=Will("$SYS/broker/version", b"mine", 0, retain=True)).vanish()
    assert not seen.published()
