"""MQTT 5's bytes to packets and back: round trips in both directions, and a message's packets."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.protocol.codec import decode, encode, frame, read_publish
from broker.protocol.fields import PacketError, Reader, write_text
from broker.protocol.packets import (
    MQTT_5,
    Acknowledge,
    Connack,
    Connect,
    Farewell,
    Packet,
    Properties,
    Publish,
    Subscribe,
    Will,
)
from broker.protocol.properties import (
    read_publish_extras,
    write_forwarded,
    write_properties,
    write_subscription_ids,
)
from broker.routing.messages import Message
from tests.mqtt.strategies import ids, names, payloads
from tests.mqtt.strategies5 import all_packets_5, properties, publishes_5


@given(all_packets_5)
def test_a_packet_survives_encoding(packet: Packet) -> None:
    assert decode(encode(packet, MQTT_5), MQTT_5) == packet


@given(st.binary(max_size=80) | all_packets_5.map(lambda each: encode(each, MQTT_5)), st.data())
def test_a_damaged_packet_is_refused_or_another_packet(raw: bytes, data: st.DataObject) -> None:
    damaged = bytearray(raw)
    if damaged:
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] ^= data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(damaged), MQTT_5)
    except PacketError:
        return
    version = found.version if isinstance(found, Connect) else MQTT_5
    assert decode(encode(found, version), version) == found


@given(publishes_5())
def test_the_fast_path_reads_what_decode_reads(packet: Publish) -> None:
    data = encode(packet, MQTT_5)
    bounds = frame(data, 0)
    assert bounds
    topic, packet_id, rest = read_publish(data[0], data, *bounds)
    reader = Reader(rest, 0, len(rest))
    forwarded, expiry, alias = read_publish_extras(reader)
    assert (topic.decode(), packet_id) == (packet.topic, packet.packet_id)
    assert rest[reader.position :] == packet.payload
    assert (expiry, alias) == (packet.properties.message_expiry, packet.properties.topic_alias)
    assert forwarded == write_forwarded(packet.properties)


@given(
    names,
    payloads,
    properties(3),
    st.integers(0, 2),
    ids,
    st.lists(st.integers(1, 0x0FFFFFFF), max_size=3),
)
def test_a_message_encodes_as_encode_does(
    topic: str,
    payload: bytes,
    wanted: Properties,
    qos: int,
    packet_id: int,
    identifiers: list[int],
) -> None:
    message = Message(topic, write_text(topic), payload, qos, is_urgent=False)
    message.forwarded = write_forwarded(wanted)
    if wanted.message_expiry is not None:
        message.expires_at = 1000.0 + wanted.message_expiry
    packet_id = packet_id if qos else 0
    extra = write_subscription_ids(tuple(identifiers))
    for _ in range(2):  # the second time from what was kept
        data = message.packet_5(packet_id, qos << 1 | 1, extra, 1000.0)
        found = decode(data, MQTT_5)
        assert isinstance(found, Publish)
        assert (found.topic, found.payload, found.packet_id) == (topic, payload, packet_id)
        assert found.properties.subscription_ids == tuple(identifiers)
        assert found.properties.message_expiry == wanted.message_expiry
        assert write_forwarded(found.properties) == write_forwarded(wanted)
    assert math.isinf(message.expires_at) == (wanted.message_expiry is None)


@pytest.mark.parametrize(
    ("first", "body", "packet"),
    [
        (0x40, "0001", Acknowledge(4, 1)),
        (0x40, "000110", Acknowledge(4, 1, 0x10)),
        (0x62, "00019200", Acknowledge(6, 1, 0x92)),
        (0xE0, "", Farewell()),
        (0xE0, "81", Farewell(0x81)),
        (0xE0, "04051100000005", Farewell(4, Properties(session_expiry=5))),
        (0x20, "000000", Connack(session_present=False, code=0)),
        (0x30, "0001610078", Publish("a", b"x")),
        (
            0x82,
            "0001020b0500016109",
            Subscribe(1, (("a", 9),), Properties(subscription_ids=(5,))),
        ),
        (0x10, "00044d5154540502003c00000163", Connect("c", keep_alive=60, version=MQTT_5)),
        (
            0x10,
            "00044d5154540546000000000163051800000005000177000178000170",
            Connect(
                "c",
                will=Will("w", b"x", 0, retain=False, properties=Properties(will_delay=5)),
                password=b"p",
                version=MQTT_5,
            ),
        ),
    ],
)
def test_known_bytes(first: int, body: str, packet: Packet) -> None:
    raw = bytes.fromhex(body)
    assert decode(bytes((first, len(raw))) + raw, MQTT_5) == packet


def test_all_properties_have_their_numbers() -> None:
    """Each one alone, as the specification numbers them."""
    one_each = {
        0x01: Properties(payload_format=1),
        0x02: Properties(message_expiry=1),
        0x03: Properties(content_type="x"),
        0x08: Properties(response_topic="x"),
        0x09: Properties(correlation_data=b"x"),
        0x0B: Properties(subscription_ids=(1,)),
        0x11: Properties(session_expiry=1),
        0x12: Properties(assigned_client_id="x"),
        0x13: Properties(server_keep_alive=1),
        0x15: Properties(authentication_method="x"),
        0x16: Properties(authentication_data=b"x"),
        0x17: Properties(request_problem_information=1),
        0x18: Properties(will_delay=1),
        0x19: Properties(request_response_information=1),
        0x1A: Properties(response_information="x"),
        0x1C: Properties(server_reference="x"),
        0x1F: Properties(reason_string="x"),
        0x21: Properties(receive_maximum=1),
        0x22: Properties(topic_alias_maximum=1),
        0x23: Properties(topic_alias=1),
        0x24: Properties(maximum_qos=1),
        0x25: Properties(retain_available=1),
        0x26: Properties(user_properties=(("x", "x"),)),
        0x27: Properties(maximum_packet_size=1),
        0x28: Properties(wildcards_available=1),
        0x29: Properties(subscription_ids_available=1),
        0x2A: Properties(shared_available=1),
    }
    for number, found in one_each.items():
        encoded = write_properties(found)
        assert encoded[1] == number
        assert encoded[0] == len(encoded) - 1
