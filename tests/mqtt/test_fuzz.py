"""Any bytes at all: the core never raises, and no other client notices."""

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.codec import encode
from broker.packets import Connect, Packet, Plain, Publish, Subscribe
from tests.mqtt.strategies import all_packets
from tests.mqtt.tools import Hub

pieces = st.lists(st.binary(max_size=40) | all_packets.map(encode), max_size=8).map(b"".join)


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
