"""Random packets of MQTT 3.1.1, topics and filters for the property tests."""

from hypothesis import strategies as st

from broker.protocol import packets
from broker.protocol.packets import (
    Acknowledge,
    Connack,
    Connect,
    Plain,
    Publish,
    Suback,
    Subscribe,
    Unsubscribe,
    Will,
)

_characters = st.characters(
    codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"
)
texts = st.text(_characters, max_size=20)
names = st.text(_characters.filter(lambda each: each not in "#+"), min_size=1, max_size=20)
ids = st.integers(1, 0xFFFF)
quality = st.integers(0, 2)
payloads = st.binary(max_size=200) | st.integers(0, 300).map(bytes)

wills = st.builds(Will, names, payloads, quality, st.booleans())


@st.composite
def connects(draw: st.DrawFn) -> Connect:
    username = draw(st.none() | texts)
    password = None if username is None else draw(st.none() | st.binary(max_size=40))
    return Connect(
        draw(texts),
        draw(st.booleans()),
        draw(st.integers(0, 0xFFFF)),
        draw(st.none() | wills),
        username,
        password,
    )


@st.composite
def publishes(draw: st.DrawFn) -> Publish:
    qos = draw(quality)
    return Publish(
        draw(names),
        draw(payloads),
        qos,
        draw(st.booleans()),
        bool(qos) and draw(st.booleans()),
        draw(ids) if qos else 0,
    )


acknowledgements = st.builds(
    Acknowledge,
    st.sampled_from(
        (packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP, packets.UNSUBACK)
    ),
    ids,
)
filter_lists = st.lists(st.tuples(texts, quality), min_size=1, max_size=5).map(tuple)

all_packets = st.one_of(
    connects(),
    publishes(),
    acknowledgements,
    st.builds(Connack, st.booleans(), st.integers(0, 5)),
    st.builds(Subscribe, ids, filter_lists),
    st.builds(Suback, ids, st.lists(st.sampled_from((0, 1, 2, 0x80)), max_size=5).map(tuple)),
    st.builds(Unsubscribe, ids, st.lists(texts, min_size=1, max_size=5).map(tuple)),
    st.builds(Plain, st.sampled_from((packets.PINGREQ, packets.PINGRESP, packets.DISCONNECT))),
)

# Few different levels, so that filters and topics meet.
_levels = st.sampled_from(("", "a", "b", "$x", "cc"))
topics = st.lists(_levels, min_size=1, max_size=4).map("/".join).filter(bool)
filters = st.builds(
    lambda levels, tail: "/".join((*levels, *tail)),
    st.lists(_levels | st.just("+"), max_size=4),
    st.sampled_from(((), ("#",), ("a",))),
).filter(bool)
