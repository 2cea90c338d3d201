"""Any bytes at all: the core never raises, and no other client notices."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.protocol.codec import encode
from broker.protocol.packets import (
    MQTT_5,
    Connect,
    Farewell,
    Packet,
    Plain,
    Properties,
    Publish,
    Subscribe,
)
from tests.mqtt.strategies import all_packets
from tests.mqtt.strategies5 import all_packets_5
from tests.mqtt.tools import Hub

pieces = st.lists(st.binary(max_size=40) | all_packets.map(encode), max_size=8).map(b"".join)


pieces_5 = st.lists(
    st.binary(max_size=40) | all_packets_5.map(lambda each: encode(each, MQTT_5)), max_size=8
).map(b"".join)
BRIEF = Properties(session_expiry=3)


def other_clients_are_served(hub: Hub) -> bool:
    peer = hub.connect("somebody else")
    peer.send(Subscribe(1, (("$fine", 0), ("fine", 0))), Publish("fine", b"yes"))
    return b"yes" in peer.payloads()


@given(pieces)
@settings(max_examples=300)
def test_bytes_of_a_stranger(data: bytes) -> None:
    hub = Hub()
    hub.peer().send(data)
    assert other_clients_are_served(hub)


@given(pieces)
@settings(max_examples=300)
def test_bytes_of_a_client(data: bytes) -> None:
    hub = Hub()
    peer = hub.connect("fuzz")
    peer.send(Subscribe(1, (("#", 2),)))
    peer.send(data)
    if not peer.is_closed:
        peer.got()
        peer.vanish()
    assert other_clients_are_served(hub)


@given(st.lists(st.tuples(st.integers(0, 2), all_packets), max_size=30))
@settings(max_examples=300)
def test_packets_in_any_order_from_several_clients(script: list[tuple[int, Packet]]) -> None:
    """Whatever they do, what the broker writes is well-formed, and it forgets clean clients."""
    hub = Hub()
    peers = [hub.connect(f"p{number}") for number in range(3)]
    for number, packet in script:
        if peers[number].is_closed:
            peers[number] = hub.peer()
            peers[number].send(Connect(f"p{number}"))
        peers[number].send(packet)
        for peer in peers:
            peer.got()
    for peer in peers:
        peer.send(Plain(14))
        peer.vanish()
    assert hub.router.counters.connected == 0
    assert all(not session.is_clean for session in hub.router._sessions.values())
    assert other_clients_are_served(hub)


@given(pieces_5)
@settings(max_examples=300)
def test_bytes_of_an_mqtt_5_client(data: bytes) -> None:
    """It is told why it was closed, or everything that it did is answered as it should be."""
    hub = Hub()
    wanted = Properties(session_expiry=60, topic_alias_maximum=2, receive_maximum=3)
    peer = hub.connect("fuzz", version=MQTT_5, properties=wanted)
    peer.send(Subscribe(1, (("#", 2), ("$share/g/+", 1))))
    peer.send(data)
    got = peer.got()
    assert not [each for each in got[:-1] if isinstance(each, Farewell)]
    peer.vanish()
    hub.pass_time(10)
    hub.connect("fuzz", clean_session=False, version=MQTT_5).got()
    hub.pass_time(1e10)
    assert other_clients_are_served(hub)


@given(pieces_5)
@settings(max_examples=300)
def test_bytes_of_a_stranger_that_may_speak_mqtt_5(data: bytes) -> None:
    hub = Hub()
    peer = hub.peer()
    peer.send(encode(Connect("x", version=MQTT_5))[:-3] + data)
    peer.connection.take_output()
    assert other_clients_are_served(hub)


@given(st.lists(st.tuples(st.integers(0, 2), all_packets_5, st.integers(0, 5)), max_size=30))
@settings(max_examples=300)
def test_mqtt_5_packets_in_any_order(script: list[tuple[int, Packet, int]]) -> None:
    """Whatever clients do and however time passes: in the end the broker has forgotten them."""
    hub = Hub()
    peers = [hub.connect(f"p{number}", version=4 + number % 2) for number in range(3)]
    for number, packet, seconds in script:
        if peers[number].is_closed:
            peers[number] = hub.peer()
            peers[number].send(Connect(f"p{number}", version=MQTT_5, properties=BRIEF))
        peers[number].send(packet if peers[number].version == MQTT_5 else Publish("a", b"", 0))
        hub.pass_time(seconds)
        for peer in peers:
            peer.got()
    for peer in peers:
        peer.vanish()
    hub.pass_time(1e10)
    kept = [each for each in hub.router._sessions.values() if each.expiry < math.inf]
    assert not kept
    assert not hub.router._wills
    assert other_clients_are_served(hub)
