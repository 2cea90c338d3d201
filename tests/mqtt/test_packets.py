"""Bytes to packets and back: round trips in both directions, examples from the specification."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.protocol import codec, packets
from broker.protocol.codec import UnsupportedProtocolError, decode, encode
from broker.protocol.fields import MalformedPacketError, write_text, write_variable
from broker.protocol.packets import Acknowledge, Connect, Packet, Plain, Publish, Subscribe, Will
from broker.routing.messages import Message
from tests.mqtt.strategies import all_packets, ids, names, payloads, publishes


@given(all_packets)
def test_a_packet_survives_encoding(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


@given(st.binary(max_size=60) | all_packets.map(encode))
def test_bytes_are_refused_or_survive_decoding(data: bytes) -> None:
    try:
        packet = decode(data)
    except MalformedPacketError:
        return
    again = encode(packet)
    # Only the remaining length may be written longer than needed.
    assert decode(again) == packet
    assert len(again) <= len(data)


@given(all_packets, st.data())
def test_a_damaged_packet_is_refused_or_another_packet(packet: Packet, data: st.DataObject) -> None:
    damaged = bytearray(encode(packet))
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(bytes(damaged))
    except MalformedPacketError:
        return
    assert decode(encode(found)) == found


@given(publishes())
def test_the_fast_path_reads_what_decode_reads(packet: Publish) -> None:
    data = encode(packet)
    bounds = codec.frame(data, 0)
    assert bounds
    topic, packet_id, payload = codec.read_publish(data[0], data, *bounds)
    assert (topic.decode(), packet_id, payload) == (packet.topic, packet.packet_id, packet.payload)


@given(names, payloads, st.integers(0, 2), ids, st.booleans())
def test_a_message_encodes_as_encode_does(
    topic: str, payload: bytes, qos: int, packet_id: int, retain: bool
) -> None:
    message = Message(topic, write_text(topic), payload, qos, is_urgent=False)
    expected = Publish(topic, payload, qos, retain, qos > 0, packet_id if qos else 0)
    assert decode(message.packet(packet_id, qos, retain=retain, dup=qos > 0)) == expected
    plain = message.numbered(packet_id, qos) if qos else message.plain()
    assert decode(plain) == Publish(topic, payload, qos, packet_id=expected.packet_id)


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        ("c000", Plain(packets.PINGREQ)),
        ("40020102", Acknowledge(packets.PUBACK, 0x102)),
        ("62020001", Acknowledge(packets.PUBREL, 1)),
        ("3003000161", Publish("a", b"")),
        ("3d06000161ffff21", Publish("a", b"!", 2, retain=True, dup=True, packet_id=0xFFFF)),
        ("82060001000161 02".replace(" ", ""), Subscribe(1, (("a", 2),))),
        ("100d00044d5154540402003c000163", Connect("c", keep_alive=60)),
        (
            "101900044d51545404ee0000000163000177000178000175000170",
            Connect("c", will=Will("w", b"x", 1, retain=True), username="u", password=b"p"),
        ),
    ],
)
def test_known_bytes(data: str, packet: Packet) -> None:
    assert decode(bytes.fromhex(data)) == packet
    assert encode(packet) == bytes.fromhex(data)


@pytest.mark.parametrize(
    ("size", "length"),
    [
        (0, 1), (127, 1), (128, 2), (16383, 2),
        (16384, 3), (2097151, 3), (2097152, 4), (268435455, 4),
    ],
)  # fmt: skip
def test_remaining_lengths_at_their_borders(size: int, length: int) -> None:
    encoded = write_variable(size)
    assert len(encoded) == length
    assert codec.frame(b"\x30" + encoded, 0) == (1 + length, 1 + length + size)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("0000", "type 0"),
        ("f000", "type 15"),
        ("30ffffffff01", "a length of five bytes"),
        ("3600", "QoS 3"),
        ("3803000161", "dup at QoS 0"),
        ("3000", "no topic"),
        ("3002ffff", "a topic beyond the packet"),
        ("30020000", "an empty topic"),
        ("3003000123", "a wildcard in a topic"),
        ("3003000100", "a null character"),
        ("3004000261ff", "not UTF-8"),
        ("3005 0003eda080".replace(" ", ""), "a surrogate"),
        ("32050001610000", "packet id 0"),
        ("4003000100", "an acknowledgement with a tail"),
        ("41020001", "flags on PUBACK"),
        ("60020001", "no flags on PUBREL"),
        ("80060001000161 00".replace(" ", ""), "no flags on SUBSCRIBE"),
        ("82020001", "SUBSCRIBE without a filter"),
        ("8206000100016103", "QoS 3 in SUBSCRIBE"),
        ("a2020001", "UNSUBSCRIBE without a filter"),
        ("c00100", "PINGREQ with a body"),
        ("100d00044d5154540403003c000163", "the reserved CONNECT flag"),
        ("100d00044d515454040a003c000163", "will QoS without a will"),
        ("100f00044d5154540442003c0001630000", "a password without a user"),
        ("100d00044d5155540402003c000163", "another protocol"),
        ("100e00044d5154540402003c00016300", "bytes behind CONNECT"),
        ("20020200", "CONNACK flags"),
    ],
)
def test_malformed(data: str, what: str) -> None:
    with pytest.raises(MalformedPacketError):
        assert decode(bytes.fromhex(data)) is None, what


@pytest.mark.parametrize("head", ["00044d51545406", "00044d51545484", "00064d514973647004"])
def test_another_version_is_told_apart_from_garbage(head: str) -> None:
    body = bytes.fromhex(head) + b"whatever that version puts here"
    with pytest.raises(UnsupportedProtocolError):
        decode(bytes((0x10, len(body))) + body)
