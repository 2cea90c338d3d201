"""Chapters 3.1 and 3.2: CONNECT and CONNACK."""

import hashlib
from dataclasses import replace

import pytest

from broker.protocol import packets
from broker.protocol.codec import encode
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Connack,
    Connect,
    Farewell,
    Properties,
    Publish,
)
from broker.protocol.reasons import ReasonCode
from broker.settings import Limits, User
from tests.conformance.tools import (
    PING,
    PONG,
    WILL,
    connect,
    lasting,
    only,
    raw,
    raw_connect,
    refused_connect,
    shows,
    subscriber,
    was_closed,
)
from tests.mqtt.tools import Hub, settings

TOKEN = User("u", "token:" + "0" * 64, "everything")


@shows(v3="3.1.0-1 3.2.0-1", v5="3.1.0-1 3.2.0-1 3.14.0-1")
def test_the_first_packet_is_a_connect(version: int) -> None:
    peer, got = refused_connect(Hub(), encode(Publish("a", b""), version), version)
    assert peer.is_closed
    assert got == []


@shows(v3="3.1.0-2", v5="3.1.0-2 3.2.0-2")
def test_a_second_connect_closes(version: int) -> None:
    peer = connect(Hub(), version)
    peer.send(Connect("client", version=version))
    got = peer.got()
    assert peer.is_closed
    assert not [each for each in got if isinstance(each, Connack)]
    assert version != MQTT_5 or only(got, Farewell).code == ReasonCode.PROTOCOL_ERROR


@shows(v3="3.1.2-1", v5="3.1.2-1")
def test_a_wrong_protocol_name_closes(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    data = raw_connect(version, name=b"\0\4MQTX") + encode(Publish("a", b""), version)
    peer, got = refused_connect(hub, data, version)
    assert peer.is_closed
    assert got == []
    assert reader.published() == []


@shows(v3="3.1.2-2", v5="3.1.2-2")
@pytest.mark.parametrize("level", [0, 2, 3, 6, 0x84])
def test_an_unknown_version_is_told_so(version: int, level: int) -> None:
    peer, got = refused_connect(Hub(), raw_connect(level), MQTT_3_1_1)
    assert peer.is_closed
    assert got == [Connack(session_present=False, code=1)], version


@shows(
    v3="3.1.2-3 3.1.2-11 3.1.2-13 3.1.2-14 3.1.2-15 3.1.4-1",
    v5="3.1.2-3 3.1.2-11 3.1.2-12 3.1.2-13 3.1.4-1",
)
@pytest.mark.parametrize(
    ("flags", "rest"),
    [
        (0x03, b"\0\1c"),  # reserved
        (0x0A, b"\0\1c"),  # will QoS without a will
        (0x22, b"\0\1c"),  # will retain without a will
        (0x1E, b"\0\1c\0\0\1t\0\1m"),  # will QoS 3
        (0x02, b"\0\1c\0\1t"),  # fields that no flag announces
    ],
)
def test_flags_that_contradict_close(version: int, flags: int, rest: bytes) -> None:
    peer, got = refused_connect(Hub(), raw_connect(version, flags, rest), version)
    assert peer.is_closed
    assert all(isinstance(each, Connack) and each.code >= 0x80 for each in got)
    assert bool(got) == (version == MQTT_5)


# Users


@shows(
    v3="3.1.2-18 3.1.2-19 3.1.2-20 3.1.2-21 3.1.3-1",
    v5="3.1.2-16 3.1.2-17 3.1.2-18 3.1.2-19 3.1.3-1",
)
def test_user_and_password_stand_where_their_flags_say(version: int) -> None:
    token = "token:" + hashlib.sha256(b"John").hexdigest()
    of = settings(users=(User("John", token, "everything"),), anonymous=None)
    properties = b"\0" if version == MQTT_5 else b""
    fields = b"\0\1c" + properties + b"\0\1t\0\1m" + b"\0\4John" + b"\0\3Doe"
    token_is_right = [(0xC6, fields, False), (0xC2, b"\0\1c\0\4John\0\4John", True)]
    for flags, rest, is_right in token_is_right:
        peer, got = refused_connect(Hub(of), raw_connect(version, flags, rest), version)
        assert peer.is_closed is not is_right, got
    for flags, rest in ((0x82, b"\0\1c"), (0xC2, b"\0\1c\0\1u")):
        peer, _ = refused_connect(Hub(of), raw_connect(version, flags, rest), version)
        assert peer.is_closed


@shows(v3="3.1.2-22")
def test_no_password_without_a_user_name() -> None:
    peer, _ = refused_connect(Hub(), raw_connect(4, 0x42, b"\0\1c\0\1p"), 4)
    assert peer.is_closed


def test_mqtt_5_allows_a_password_alone() -> None:
    peer, got = refused_connect(Hub(), raw_connect(5, 0x42, b"\0\1c\0\1p"), 5)
    assert only(got, Connack).code == 0
    assert not peer.is_closed


@shows(v3="3.1.4-5 3.2.2-4 3.2.2-5", v5="3.1.4-2 3.1.4-6 3.2.2-6 3.2.2-7 4.13.2-1")
def test_who_is_refused_is_not_heard(version: int) -> None:
    hub = Hub(settings(users=(TOKEN,)))
    reader = subscriber(hub, version)
    lasting(hub, version).vanish()
    peer = hub.peer()
    refused = Connect("client", clean_session=False, username="u", password=b"x", version=version)
    peer.version = version
    peer.send(encode(refused) + encode(Publish("a", b""), version))
    code = ReasonCode.BAD_USER_NAME_OR_PASSWORD if version == MQTT_5 else packets.BAD_PASSWORD
    answer = only(peer.got(), Connack)
    assert (answer.session_present, answer.code) == (False, code)
    assert peer.is_closed
    assert reader.published() == []


@shows(v5="3.2.2-8")
def test_who_may_not_connect_is_told_why() -> None:
    hub = Hub(settings(anonymous=None))
    peer = hub.peer()
    peer.send(Connect("a", version=MQTT_5))
    answer = only(peer.got(), Connack)
    assert answer.code == ReasonCode.NOT_AUTHORIZED
    assert answer.properties.reason_string


# Client ids


@shows(v3="3.1.3-3", v5="3.1.3-3")
def test_the_client_id_is_present(version: int) -> None:
    peer, _ = refused_connect(Hub(), raw_connect(version, 2, b""), version)
    assert peer.is_closed


@shows(v3="3.1.3-5 3.1.4-4", v5="3.1.3-5 3.1.4-5")
@pytest.mark.parametrize(
    "client_id", ["0", "A", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ"]
)
def test_usual_client_ids_are_taken(version: int, client_id: str) -> None:
    assert connect(Hub(), version, client_id).greeting.code == 0


@shows(v3="3.1.3-6", v5="3.1.3-6 3.1.3-7 3.2.2-16")
def test_an_empty_client_id_gets_one_of_its_own(version: int) -> None:
    hub = Hub()
    first, second = connect(hub, version, ""), connect(hub, version, "")
    assert not first.is_closed
    if version == MQTT_5:
        names = {each.greeting.properties.assigned_client_id for each in (first, second)}
        assert len(names) == 2
        assert None not in names
        lasting(hub, version, "").vanish()


@shows(v3="3.1.3-7 3.1.3-8 3.1.3-9", v5="3.1.3-8")
def test_client_ids_that_are_refused(version: int) -> None:
    client_id = "" if version == MQTT_3_1_1 else "x" * 2000
    peer = Hub().peer()
    peer.send(Connect(client_id, clean_session=False, version=version))
    code = 2 if version == MQTT_3_1_1 else ReasonCode.CLIENT_ID_NOT_VALID
    assert only(peer.got(), Connack).code == code
    assert peer.is_closed


# Keep-alive, sizes, and what the broker says of itself


@shows(v3="3.1.2-24", v5="3.1.2-22 3.2.2-22")
def test_silence_closes_after_one_and_a_half_times(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    peer = connect(hub, version, keep_alive=10, will=WILL)
    assert peer.greeting.properties.server_keep_alive is None
    peer.wait(14.5)
    peer.send(PING)
    assert peer.got() == [PONG]
    peer.wait(14.5)
    assert not peer.is_closed
    peer.wait(0.5)
    assert was_closed(peer, version, ReasonCode.KEEP_ALIVE_TIMEOUT)
    assert reader.payloads() == [b"gone"]


@pytest.mark.parametrize(("asked", "told"), [(0, 60), (61, 60), (60, None), (30, None)])
def test_the_broker_may_shorten_the_keep_alive(asked: int, told: int | None) -> None:
    hub = Hub(settings(limits=Limits(keep_alive=60)))
    peer = connect(hub, MQTT_5, keep_alive=asked)
    assert peer.greeting.properties.server_keep_alive == told
    assert peer.connection.deadline_at == hub.now + 1.5 * (told or asked)
    assert connect(hub, MQTT_3_1_1, "old", keep_alive=0).connection.deadline_at == float("inf")


@shows(v5="3.2.2-1 3.2.2-15 3.2.2-17")
def test_the_connack_says_what_the_broker_can_bear() -> None:
    limits = Limits(packet_size=5000, receive_maximum=7, topic_aliases=3)
    peer = connect(Hub(settings(limits=limits)), MQTT_5)
    assert peer.greeting == Connack(
        session_present=False,
        code=0,
        properties=Properties(maximum_packet_size=5000, receive_maximum=7, topic_alias_maximum=3),
    )
    peer.send(Publish("a", bytes(6000)))
    assert was_closed(peer, MQTT_5, ReasonCode.PACKET_TOO_LARGE)


@shows(v5="3.1.2-28")
@pytest.mark.parametrize(("asked", "told"), [(None, None), (0, None), (1, "answers/")])
def test_response_information_is_for_those_who_ask(asked: int | None, told: str | None) -> None:
    hub = Hub(replace(settings(), response_information="answers/"))
    peer = connect(hub, MQTT_5, properties=Properties(request_response_information=asked))
    assert peer.greeting.properties.response_information == told


@shows(v5="3.2.2-19 3.1.2-24")
@pytest.mark.parametrize("size", range(1, 40))
def test_a_connack_is_never_too_large(size: int) -> None:
    for of in (settings(), settings(anonymous=None)):
        peer = Hub(of).peer()
        peer.send(Connect("a", version=MQTT_5, properties=Properties(maximum_packet_size=size)))
        data = peer.connection.take_output()
        assert len(data) <= size
        assert peer.is_closed or data


@shows(v5="3.1.4-1")
@pytest.mark.parametrize(
    ("properties", "code"),
    [
        (b"\x21\0\0", ReasonCode.PROTOCOL_ERROR),  # receive maximum 0
        (b"\x27\0\0\0\0", ReasonCode.PROTOCOL_ERROR),  # maximum packet size 0
        (b"\x17\x02", ReasonCode.PROTOCOL_ERROR),
        (b"\x19\x02", ReasonCode.PROTOCOL_ERROR),
        (b"\x11\0\0\0\1" * 2, ReasonCode.PROTOCOL_ERROR),
        (b"\x16\0\1x", ReasonCode.PROTOCOL_ERROR),  # data without a method
        (b"\x24\1", ReasonCode.MALFORMED_PACKET),  # a CONNACK's
        (b"\x11\0", ReasonCode.MALFORMED_PACKET),
    ],
)
def test_properties_of_a_connect_that_may_not_be(properties: bytes, code: ReasonCode) -> None:
    length = bytes((len(properties),))
    data = raw(0x10, b"\0\4MQTT\5\2\0\0" + length + properties + b"\0\1c")
    peer, got = refused_connect(Hub(), data, MQTT_5)
    assert peer.is_closed
    assert only(got, Connack).code == code


# Enhanced authentication


@shows(v5="4.12.0-1 4.12.0-4")
def test_an_authentication_method_is_refused() -> None:
    hub = Hub()
    lasting(hub, MQTT_5).vanish()
    peer = hub.peer()
    properties = Properties(authentication_method="SCRAM-SHA-1", authentication_data=b"x")
    peer.send(Connect("client", version=MQTT_5, properties=properties))
    answer = only(peer.got(), Connack)
    assert answer.code == ReasonCode.BAD_AUTHENTICATION_METHOD
    assert peer.is_closed
    assert lasting(hub, MQTT_5).greeting.session_present, "nobody's session was touched"


@shows(v5="4.12.0-6 4.12.0-7")
def test_auth_without_a_method_is_a_protocol_error() -> None:
    peer = connect(Hub(), MQTT_5)
    assert peer.greeting.properties.authentication_method is None
    peer.send(packets.Auth(ReasonCode.RE_AUTHENTICATE))
    assert was_closed(peer, MQTT_5, ReasonCode.PROTOCOL_ERROR)
