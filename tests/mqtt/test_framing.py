"""A stream of packets, cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.protocol.codec import decode_body, encode
from broker.protocol.fields import MalformedPacketError
from broker.protocol.framing import Incoming
from broker.protocol.packets import Packet, Publish
from tests.mqtt.strategies import all_packets

LARGEST = 1 << 20


def drain(incoming: Incoming) -> list[Packet]:
    found = []
    while incoming.has_bytes() and (taken := incoming.take(LARGEST)):
        first, start, end = taken
        found.append(decode_body(first, incoming.data, start, end))
    return found


@given(st.lists(all_packets, max_size=6), st.data())
def test_where_the_stream_is_cut_does_not_matter(sent: list[Packet], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    incoming = Incoming()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        incoming.feed(stream[start:end])
        found += drain(incoming)
    assert found == sent


def test_byte_by_byte() -> None:
    packet = Publish("a/topic", bytes(70_000))
    incoming = Incoming()
    found = []
    for byte in encode(packet):
        incoming.feed(bytes((byte,)))
        found += drain(incoming)
    assert found == [packet]


def test_input_that_was_not_taken_stays() -> None:
    incoming = Incoming()
    first, second = Publish("a", b"1"), Publish("b", b"2")
    incoming.feed(encode(first))
    incoming.feed(encode(second))
    assert drain(incoming) == [first, second]


def test_a_length_beyond_the_limit_is_refused_before_the_body_comes() -> None:
    incoming = Incoming()
    incoming.feed(b"\x30\xff\xff\x7f")
    with pytest.raises(MalformedPacketError):
        incoming.take(1000)
