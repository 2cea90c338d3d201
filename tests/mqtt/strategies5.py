"""Random packets of MQTT 5, with all properties that they may have."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from broker.protocol import packets
from broker.protocol.codec5 import CODES
from broker.protocol.kinds import WILL
from broker.protocol.packets import (
    MQTT_5,
    Acknowledge,
    Auth,
    Connack,
    Connect,
    Farewell,
    Packet,
    Plain,
    Properties,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from tests.mqtt.strategies import connects as connects_311
from tests.mqtt.strategies import ids, names, payloads, publishes, quality, texts

_free_texts = texts | st.just("two\nlines")
_bytes, _words, _longs = st.integers(0, 1), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
_pairs = st.lists(st.tuples(_free_texts, _free_texts), max_size=3).map(tuple)
_some = st.integers(1, 0xFFFF)

# By packet: what it may have, beside user properties, which all may have.
_MESSAGE: dict[str, st.SearchStrategy[Any]] = {
    "payload_format": _bytes,
    "message_expiry": _longs,
    "content_type": _free_texts,
    "response_topic": names,
    "correlation_data": payloads,
}
_REASON: dict[str, st.SearchStrategy[Any]] = {"reason_string": _free_texts}
_FIELDS: dict[int, dict[str, st.SearchStrategy[Any]]] = {
    WILL: {**_MESSAGE, "will_delay": _longs},
    packets.PUBLISH: {**_MESSAGE, "topic_alias": _some},
    packets.CONNECT: {
        "session_expiry": _longs,
        "receive_maximum": _some,
        "maximum_packet_size": st.integers(1, 0xFFFFFFFF),
        "topic_alias_maximum": _words,
        "request_response_information": _bytes,
        "request_problem_information": _bytes,
        "authentication_method": texts,
    },
    packets.CONNACK: {
        **_REASON,
        "session_expiry": _longs,
        "receive_maximum": _some,
        "maximum_qos": _bytes,
        "retain_available": _bytes,
        "maximum_packet_size": st.integers(1, 0xFFFFFFFF),
        "assigned_client_id": texts,
        "topic_alias_maximum": _words,
        "wildcards_available": _bytes,
        "subscription_ids_available": _bytes,
        "shared_available": _bytes,
        "server_keep_alive": _words,
        "response_information": texts,
        "server_reference": texts,
    },
    packets.SUBSCRIBE: {"subscription_ids": st.tuples(st.integers(1, 0x0FFFFFFF))},
    packets.DISCONNECT: {**_REASON, "session_expiry": _longs, "server_reference": texts},
    packets.AUTH: {**_REASON, "authentication_method": texts},
}


def properties(kind: int) -> st.SearchStrategy[Properties]:
    fields = _FIELDS.get(kind, {} if kind == packets.UNSUBSCRIBE else _REASON)
    some = st.fixed_dictionaries({}, optional={**fields, "user_properties": _pairs})
    return st.just(packets.NONE) | some.map(lambda each: _normal(Properties(**each)))


def _normal(found: Properties) -> Properties:
    return packets.NONE if found == packets.NONE else found


@st.composite
def wills(draw: st.DrawFn) -> Will:
    return Will(
        draw(names), draw(payloads), draw(quality), draw(st.booleans()), draw(properties(WILL))
    )


@st.composite
def connects(draw: st.DrawFn) -> Connect:
    return replace(
        draw(connects_311()),
        will=draw(st.none() | wills()),
        version=MQTT_5,
        properties=draw(properties(packets.CONNECT)),
    )


@st.composite
def publishes_5(draw: st.DrawFn) -> Publish:
    return replace(draw(publishes()), properties=draw(properties(packets.PUBLISH)))


@st.composite
def acknowledgements(draw: st.DrawFn) -> Acknowledge:
    kinds = (packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP)
    kind = draw(st.sampled_from(kinds))
    code = draw(st.sampled_from(sorted(CODES[kind])))
    return Acknowledge(kind, draw(ids), code, draw(properties(kind)))


_options = st.builds(
    lambda qos, flags, handling: qos | flags << 2 | handling << 4,
    quality,
    st.integers(0, 3),
    st.integers(0, 2),
)
_filters = st.lists(texts, min_size=1, max_size=4).map(tuple)
_codes = st.lists(st.integers(0, 0xFF), max_size=4).map(tuple)

all_packets_5: st.SearchStrategy[Packet] = st.one_of(
    connects(),
    publishes_5(),
    acknowledgements(),
    st.builds(Connack, st.booleans(), st.integers(0, 0xFF), properties(packets.CONNACK)),
    st.builds(
        Subscribe,
        ids,
        st.lists(st.tuples(texts, _options), min_size=1, max_size=4).map(tuple),
        properties(packets.SUBSCRIBE),
    ),
    st.builds(Suback, ids, _codes, properties(packets.SUBACK)),
    st.builds(Unsubscribe, ids, _filters, properties(packets.UNSUBSCRIBE)),
    st.builds(Unsuback, ids, _codes, properties(packets.UNSUBACK)),
    st.builds(
        Farewell, st.sampled_from(sorted(CODES[packets.DISCONNECT])), properties(packets.DISCONNECT)
    ),
    st.builds(Auth, st.sampled_from(sorted(CODES[packets.AUTH])), properties(packets.AUTH)),
    st.builds(Plain, st.sampled_from((packets.PINGREQ, packets.PINGRESP))),
)
