"""Chapters 1 and 2: the format of packets and fields, and packets that have no format at all."""

import pytest

from broker.protocol import packets
from broker.protocol.codec import encode
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Auth,
    Connack,
    Connect,
    Farewell,
    Properties,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from broker.protocol.reasons import ReasonCode
from tests.conformance.tools import (
    NOT_UTF8,
    PING,
    PONG,
    SURROGATE,
    WITH_NULL,
    connect,
    publish,
    raw,
    raw_connect,
    raw_publish,
    raw_subscribe,
    raw_unsubscribe,
    refused_connect,
    shows,
    subscriber,
    was_closed,
)
from tests.mqtt.tools import Hub

MALFORMED = ReasonCode.MALFORMED_PACKET
PROTOCOL = ReasonCode.PROTOCOL_ERROR


@shows(
    v3="1.5.3-1 3.3.2-1 3.8.3-1 3.10.3-1 4.8.0-1",
    v5="1.5.4-1 3.3.2-1 3.8.3-1 3.10.3-1 4.13.1-1 4.13.2-1",
)
@pytest.mark.parametrize("text", [NOT_UTF8, SURROGATE])
def test_text_that_is_no_utf8_closes(version: int, text: bytes) -> None:
    for data in (
        raw_publish(version, text),
        raw_subscribe(version, text),
        raw_unsubscribe(version, text),
    ):
        peer = connect(Hub(), version)
        peer.send(data)
        assert was_closed(peer, version, MALFORMED)


@shows(
    v3="1.5.3-2 3.1.3-4 3.1.3-10 3.1.3-11 4.7.3-2",
    v5="1.5.4-2 3.1.3-4 3.1.3-11 3.1.3-12 4.7.3-2",
)
@pytest.mark.parametrize("text", [NOT_UTF8, SURROGATE, WITH_NULL])
def test_bad_text_anywhere_closes(version: int, text: bytes) -> None:
    will_properties = b"\0" if version == MQTT_5 else b""
    for data in (
        raw_connect(version, 0x02, text),
        raw_connect(version, 0x06, b"\0\1c" + will_properties + text + b"\0\1m"),
        raw_connect(version, 0x82, b"\0\1c" + text),
    ):
        peer, _ = refused_connect(Hub(), data, version)
        assert peer.is_closed
    peer = connect(Hub(), version)
    peer.send(raw_publish(version, WITH_NULL))
    assert was_closed(peer, version, MALFORMED)
    peer = connect(Hub(), version)
    peer.send(raw_subscribe(version, WITH_NULL))
    assert was_closed(peer, version, MALFORMED)


@shows(v3="1.5.3-3", v5="1.5.4-3")
def test_a_byte_order_mark_is_kept(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version, "\ufeffa")
    publish(hub, "a", b"without")
    publish(hub, "\ufeffa", b"with")
    assert [(each.topic, each.payload) for each in reader.published()] == [("\ufeffa", b"with")]


@shows(v5="1.5.5-1")
@pytest.mark.parametrize("length", [b"\x80\0", b"\x80\x80\0", b"\x80\x80\x80\x80\1"])
def test_numbers_are_as_short_as_can_be(length: bytes) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(raw(0x30, b"\0\1a" + length + b"x"))
    assert was_closed(peer, MQTT_5, MALFORMED)


@shows(v5="1.5.5-1")
@pytest.mark.parametrize("ping", [b"\xc0\x80\0", b"\xc0\x80\x80\x80\0"])
def test_a_remaining_length_is_as_short_as_can_be(ping: bytes) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(ping)
    assert was_closed(peer, MQTT_5, MALFORMED)


@shows(v5="1.5.5-1")
def test_so_is_that_of_the_connect() -> None:
    whole = encode(Connect("c", version=MQTT_5), MQTT_5)
    padded = whole[:1] + bytes((whole[1] | 0x80,)) + b"\0" + whole[2:]
    peer, _ = refused_connect(Hub(), padded, MQTT_5)
    assert peer.is_closed


def test_before_mqtt_5_a_length_may_be_padded() -> None:
    """Nothing forbids it there, and mosquitto takes it."""
    peer = connect(Hub(), packets.MQTT_3_1_1)
    peer.send(b"\xc0\x80\0", b"\xc0\x80\x80\x80\0")
    assert peer.got() == [PONG, PONG]


@shows(v5="1.5.7-1")
@pytest.mark.parametrize("pair", [NOT_UTF8 + b"\0\1v", b"\0\1k" + NOT_UTF8, WITH_NULL + b"\0\1v"])
def test_both_halves_of_a_user_property_are_utf8(pair: bytes) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(raw(0x30, b"\0\1a" + bytes((1 + len(pair),)) + b"\x26" + pair))
    assert was_closed(peer, MQTT_5, MALFORMED)


@shows(
    v3="2.2.2-1 2.2.2-2 3.6.1-1 3.8.1-1 3.10.1-1 3.14.1-1",
    v5="2.1.3-1 3.6.1-1 3.8.1-1 3.10.1-1 3.14.1-1",
)
@pytest.mark.parametrize("kind", [*range(4, 8), 8, 10, 12, 14])
@pytest.mark.parametrize("flags", range(16))
def test_wrong_flags_close(version: int, kind: int, flags: int) -> None:
    if flags == (2 if kind in {6, 8, 10} else 0):
        return
    bodies = {8: raw_subscribe(version, b"\0\1a")[2:], 10: raw_unsubscribe(version, b"\0\1a")[2:]}
    body = bodies.get(kind, b"\0\1" if kind < 8 else b"")
    peer = connect(Hub(), version)
    peer.send(raw(kind << 4 | flags, body))
    assert was_closed(peer, version, MALFORMED)


@shows(v5="3.15.1-1")
@pytest.mark.parametrize("flags", range(1, 16))
def test_wrong_flags_on_auth_close(flags: int) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(raw(0xF0 | flags, b""))
    assert was_closed(peer, MQTT_5, MALFORMED)


@shows(v3="2.3.1-1", v5="2.2.1-3")
def test_packet_id_0_closes(version: int) -> None:
    tail = b"\0" if version == MQTT_5 else b""
    for data in (
        raw(0x32, b"\0\1a\0\0" + tail),
        raw(0x82, b"\0\0" + tail + b"\0\1a\0"),
        raw(0xA2, b"\0\0" + tail + b"\0\1a"),
        raw(0x40, b"\0\0"),
        raw(0x62, b"\0\0"),
    ):
        peer = connect(Hub(), version)
        peer.send(data)
        assert was_closed(peer, version, PROTOCOL)


@shows(v3="2.3.1-5", v5="2.2.1-2")
def test_qos_0_has_no_packet_id(version: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    sender = connect(hub, version, "sender")
    sender.send(raw(0x30, b"\0\1a" + (b"\0" if version == MQTT_5 else b"") + b"\0\1"))
    assert reader.published() == [Publish("a", b"\0\1")]
    assert encode(Publish("a", b""), MQTT_3_1_1) == b"\x30\3\0\1a"


@shows(v3="2.3.1-4 4.3.2-1", v5="2.2.1-4 4.3.2-1 4.3.3-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_packet_ids_of_the_broker_are_unused_ones(version: int, qos: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    for _ in range(15):
        publish(hub, qos=qos)
    ids = [each.packet_id for each in reader.published()]
    assert len(set(ids)) == 15
    assert all(ids)


@shows(
    v3="2.3.1-6 2.3.1-7 3.8.4-2 3.10.4-4 3.12.4-1",
    v5="2.2.1-5 2.2.1-6 3.8.4-2 3.10.4-4 3.10.4-5 3.12.4-1",
)
def test_answers_have_the_packet_id_of_what_they_answer(version: int) -> None:
    peer = connect(Hub(), version)
    peer.send(Publish("a", b"", 1, packet_id=11), Publish("a", b"", 2, packet_id=12))
    peer.send(Acknowledge(packets.PUBREL, 12))
    got = peer.got()
    assert [(each.kind, each.packet_id) for each in got if isinstance(each, Acknowledge)] == [
        (packets.PUBACK, 11),
        (packets.PUBREC, 12),
        (packets.PUBCOMP, 12),
    ]
    peer.send(Subscribe(13, (("a", 1),)), Unsubscribe(14, ("a",)), PING)
    unsuback = Unsuback(14, (0,)) if version == MQTT_5 else Acknowledge(packets.UNSUBACK, 14)
    assert peer.got() == [Suback(13, (1,)), unsuback, PONG]


@shows(v5="2.2.2-1")
def test_no_properties_are_a_length_of_0() -> None:
    assert encode(Publish("a", b"x"), MQTT_5) == b"\x30\5\0\1a\0x"
    assert encode(Connack(session_present=False, code=0), MQTT_5) == b"\x20\3\0\0\0"
    peer = connect(Hub(), MQTT_5)
    peer.send(raw(0x30, b"\0\1a"))
    assert was_closed(peer, MQTT_5, MALFORMED)


PROPERTIES_THAT_MAY_NOT_BE = [
    ("none of this number", b"\x7f\0", MALFORMED),
    ("one in two bytes", b"\x81\0\0", MALFORMED),
    ("a CONNECT's", b"\x11\0\0\0\1", MALFORMED),
    ("a will's", b"\x18\0\0\0\1", MALFORMED),
    ("one that is cut", b"\x02\0\0", MALFORMED),
    ("payload format 2", b"\x01\x02", PROTOCOL),
    ("payload format twice", b"\x01\x01\x01\x01", PROTOCOL),
    ("expiry twice", b"\x02\0\0\0\1" * 2, PROTOCOL),
    ("content type twice", b"\x03\0\1a" * 2, PROTOCOL),
    ("correlation data twice", b"\x09\0\1a" * 2, PROTOCOL),
    ("response topic twice", b"\x08\0\1a" * 2, PROTOCOL),
    ("alias twice", b"\x23\0\1" * 2, PROTOCOL),
]


@shows(v5="4.13.1-1")
@pytest.mark.parametrize(("what", "properties", "code"), PROPERTIES_THAT_MAY_NOT_BE)
def test_properties_that_may_not_be(what: str, properties: bytes, code: ReasonCode) -> None:
    hub = Hub()
    reader = subscriber(hub, MQTT_5)
    peer = connect(hub, MQTT_5)
    peer.send(raw(0x30, b"\0\1a" + bytes((len(properties),)) + properties + b"x"))
    assert was_closed(peer, MQTT_5, code), what
    publish(hub, payload=b"others are served")
    assert reader.payloads() == [b"others are served"]


@shows(v5="3.4.2-1 3.5.2-1 3.6.2-1 3.7.2-1 3.14.2-1 3.15.2-1")
@pytest.mark.parametrize(
    ("packet", "allowed"),
    [
        (Acknowledge(packets.PUBACK, 9, ReasonCode.QUOTA_EXCEEDED), True),
        (Acknowledge(packets.PUBACK, 9, ReasonCode.PACKET_ID_NOT_FOUND), False),
        (Acknowledge(packets.PUBREC, 9, ReasonCode.QUOTA_EXCEEDED), True),
        (Acknowledge(packets.PUBREC, 9, ReasonCode.GRANTED_QOS_1), False),
        (Acknowledge(packets.PUBREL, 9, ReasonCode.PACKET_ID_NOT_FOUND), True),
        (Acknowledge(packets.PUBREL, 9, ReasonCode.UNSPECIFIED_ERROR), False),
        (Acknowledge(packets.PUBCOMP, 9, ReasonCode.PACKET_ID_NOT_FOUND), True),
        (Acknowledge(packets.PUBCOMP, 9, ReasonCode.UNSPECIFIED_ERROR), False),
        (Farewell(ReasonCode.BANNED), False),
        (Auth(ReasonCode.UNSPECIFIED_ERROR), False),
    ],
)
def test_reason_codes_stand_where_they_may(packet: packets.Packet, *, allowed: bool) -> None:
    peer = connect(Hub(), MQTT_5)
    peer.send(packet)
    assert was_closed(peer, MQTT_5, PROTOCOL) is not allowed


def test_every_reason_code_of_a_good_bye_is_taken() -> None:
    for code in (0x00, 0x04, *range(0x80, 0x84), 0x93, 0x95, 0x96, 0x97, 0x98, 0x99):
        peer = connect(Hub(), MQTT_5)
        peer.send(Farewell(code, Properties(reason_string="because\nof this")))
        assert peer.is_closed
        assert peer.got() == []


@shows(v3="3.2.2-6", v5="3.2.2-8")
def test_what_fits_no_return_code_is_closed_without(version: int) -> None:
    peer, got = refused_connect(Hub(), raw_connect(version, 0x03), version)
    assert peer.is_closed
    assert got == [] if version == MQTT_3_1_1 else isinstance(got[0], Connack)


def test_flags_that_mqtt_3_1_does_not_use_do_not_matter_there() -> None:
    peer, got = refused_connect(Hub(), raw_connect(3, 0x03, name=b"\0\6MQIsdp"), packets.MQTT_3_1)
    assert (peer.is_closed, got) == (False, [Connack(session_present=False, code=0)])
    marked = b"\x14" + raw_connect(3, 0x02, name=b"\0\6MQIsdp")[1:]
    peer, got = refused_connect(Hub(), marked, packets.MQTT_3_1)
    assert (peer.is_closed, got) == (False, [Connack(session_present=False, code=0)])


def test_a_connect_of_mqtt_3_1_is_taken() -> None:
    hub = Hub()
    peer = hub.peer()
    peer.send(Connect("old", version=packets.MQTT_3_1, clean_session=False))
    assert peer.got() == [Connack(session_present=False, code=0)]
    peer.send(raw_subscribe(3, b"\0\1a", 1, first=0x8A), Subscribe(2, (("a/" * 64, 2),)))
    assert [each.codes for each in peer.got() if isinstance(each, Suback)] == [(1,), (2,)]
    publish(hub, qos=1)
    assert peer.payloads() == [b"x"]
    peer.send(Publish("b", b"", 2, packet_id=7), raw(0x6A, b"\0\7"), raw(0x62, b"\0\7"))
    assert [each.kind for each in peer.got() if isinstance(each, Acknowledge)] == [
        packets.PUBREC,
        packets.PUBCOMP,
        packets.PUBCOMP,
    ]
    peer.vanish()
    again = hub.peer()
    again.send(Connect("old", version=packets.MQTT_3_1, clean_session=False))
    assert again.got()[0] == Connack(session_present=False, code=0), "it has no such flag"
    empty = hub.peer()
    empty.send(Connect("", version=packets.MQTT_3_1))
    assert empty.got() == [Connack(session_present=False, code=2)]


@shows(v3="4.8.0-1", v5="4.13.1-1 1.5.5-1")
@pytest.mark.parametrize("first", [0x10, 0x30, 0x82, 0xC0])
def test_a_remaining_length_of_five_bytes_closes(version: int, first: int) -> None:
    hub = Hub()
    reader = subscriber(hub, version)
    peer = connect(hub, version)
    peer.send(bytes((first,)) + b"\xff\xff\xff\xff\x01" + bytes(100))
    assert was_closed(peer, version, MALFORMED)
    publish(hub, payload=b"others are served")
    assert reader.payloads() == [b"others are served"]
