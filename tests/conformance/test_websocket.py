"""Chapter 6: MQTT over websocket. The frames themselves: tests/mqtt/test_websocket.py."""

from broker.protocol.codec import encode
from broker.protocol.packets import MQTT_5, Connack, Connect, Publish
from broker.server.websocket import BINARY, CONTINUATION, TEXT, Websocket
from tests.conformance.tools import only, shows
from tests.mqtt.test_websocket import closing, frame, opened, request, status
from tests.mqtt.tools import Hub, Peer


class WebsocketPeer(Peer):
    """A client whose bytes go through a websocket, each way."""

    def __init__(self, hub: Hub, version: int) -> None:
        super().__init__(hub)
        self.version = version
        self.websocket = opened()

    def send_frames(self, data: bytes) -> None:
        self.send(self.websocket.receive(data))


@shows(v3="6.0.0-1", v5="6.0.0-1")
def test_only_binary_frames(version: int) -> None:
    peer = WebsocketPeer(Hub(), version)
    connect = encode(Connect("a", version=version), version)
    peer.send_frames(frame(TEXT, connect))
    assert peer.got() == []
    assert peer.websocket.end
    assert closing(peer.websocket) == 1003


@shows(v3="6.0.0-2", v5="6.0.0-2")
def test_packets_and_frames_need_not_coincide(version: int) -> None:
    peer = WebsocketPeer(Hub(), version)
    packet = encode(Publish("a", b"1"), version)
    data = encode(Connect("a", version=version), version) + packet + packet
    cut = len(data) - len(packet) - 2
    peer.send_frames(frame(BINARY, data[:5], final=False) + frame(CONTINUATION, data[5:cut]))
    assert only(peer.got(), Connack).code == 0
    peer.send_frames(frame(BINARY, data[cut:]))
    assert peer.hub.router.counters.received == 2
    assert not peer.is_closed


@shows(v3="6.0.0-3 6.0.0-4", v5="6.0.0-3 6.0.0-4")
def test_the_subprotocol(version: int) -> None:
    """It is mqtt for every version; who does not offer it does not get in."""
    assert version <= MQTT_5
    without = Websocket()
    without.receive(request(Sec_WebSocket_Protocol="chat"))
    assert status(without) == 400
    offered = Websocket()
    offered.receive(request(Sec_WebSocket_Protocol="chat, mqtt"))
    assert b"\r\nSec-WebSocket-Protocol: mqtt\r\n" in offered.wrap(b"")
