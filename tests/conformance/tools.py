"""What the tests of the statements share: who shows what, and short words for raw packets."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import pytest

from broker.protocol import packets
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Connack,
    Farewell,
    Packet,
    Plain,
    Properties,
    Publish,
    Subscribe,
    Will,
)
from broker.protocol.reasons import ReasonCode
from tests.mqtt.tools import Hub, Peer

Test = TypeVar("Test", bound=Callable[..., Any])
Kind = TypeVar("Kind")
# Names of the statements, by version, that a test shows.
ATTRIBUTE: Final = "shown_statements"
WILL: Final = Will("will", b"gone", 0, retain=False)
FOR_EVER: Final = Properties(session_expiry=0xFFFFFFFF)


def shows(v3: str = "", v5: str = "") -> Callable[[Test], Test]:
    """Which statements a test shows. One about both versions runs for each, as `version`."""

    def mark(test: Test) -> Test:
        setattr(test, ATTRIBUTE, {"3.1.1": v3.split(), "5": v5.split()})
        if v3 and v5:
            both = pytest.mark.parametrize("version", [MQTT_3_1_1, MQTT_5], ids=["3.1.1", "5"])
            return cast("Test", both(test))
        return test

    return mark


def connect(hub: Hub, version: int, client_id: str = "client", **more: Any) -> Peer:
    """A client that was let in."""
    return hub.connect(client_id, version=version, **more)


def lasting(hub: Hub, version: int, client_id: str = "client", **more: Any) -> Peer:
    """A client whose session outlives its connection."""
    properties = more.pop("properties", FOR_EVER if version == MQTT_5 else packets.NONE)
    return connect(hub, version, client_id, clean_session=False, properties=properties, **more)


def subscriber(
    hub: Hub, version: int, topic_filter: str = "#", options: int = 2, client_id: str = "reader"
) -> Peer:
    """A client that has subscribed and whose session outlives its connection."""
    peer = lasting(hub, version, client_id)
    peer.send(Subscribe(1, ((topic_filter, options),)))
    peer.got()
    return peer


def publish(hub: Hub, topic: str = "a", payload: bytes = b"x", qos: int = 0, **more: Any) -> None:
    """By a client that comes and goes."""
    peer = hub.connect("writer", version=MQTT_5)
    peer.send(Publish(topic, payload, qos, packet_id=1 if qos else 0, **more))
    if qos == 2:
        peer.send(Acknowledge(packets.PUBREL, 1))
    peer.send(Farewell())


def was_closed(peer: Peer, version: int, *codes: ReasonCode) -> bool:
    """Closed by the broker, and told why with one of these codes where the version can say it."""
    got = peer.got()
    if not peer.is_closed:
        return False
    if version != MQTT_5 or not codes:
        return True
    last = got[-1] if got else None
    return isinstance(last, Farewell | Connack) and last.code in codes


def retained(hub: Hub, version: int, topic_filter: str = "#") -> list[Publish]:
    """What a new subscription gets from the store."""
    peer = connect(hub, version, "looker")
    peer.send(Subscribe(1, ((topic_filter, 2),)))
    found = peer.published()
    peer.vanish()
    return found


def raw(first: int, body: bytes) -> bytes:
    """A packet of less than 128 bytes."""
    assert len(body) < 0x80
    return bytes((first, len(body))) + body


def raw_connect(
    version: int, flags: int = 2, rest: bytes = b"\0\1c", name: bytes = b"\0\4MQTT"
) -> bytes:
    """A CONNECT whose parts may be wrong; `rest` begins with the client id."""
    properties = b"\0" if version == MQTT_5 else b""
    return raw(0x10, name + bytes((version, flags)) + b"\0\0" + properties + rest)


def raw_subscribe(version: int, topic_filter: bytes, options: int = 0, first: int = 0x82) -> bytes:
    properties = b"\0" if version == MQTT_5 else b""
    return raw(first, b"\0\1" + properties + topic_filter + bytes((options,)))


def raw_unsubscribe(version: int, topic_filter: bytes, first: int = 0xA2) -> bytes:
    return raw(first, b"\0\1" + (b"\0" if version == MQTT_5 else b"") + topic_filter)


def raw_publish(version: int, topic: bytes, first: int = 0x30, packet_id: bytes = b"") -> bytes:
    return raw(first, topic + packet_id + (b"\0" if version == MQTT_5 else b"") + b"payload")


def refused_connect(hub: Hub, data: bytes, version: int) -> tuple[Peer, list[Packet]]:
    """A client whose first bytes these are, and what it was told."""
    peer = hub.peer()
    peer.version = version
    peer.send(data)
    return peer, peer.got()


def only(got: list[Packet], kind: type[Kind]) -> Kind:
    """The one packet of this kind."""
    found = [each for each in got if isinstance(each, kind)]
    assert len(found) == 1, got
    return found[0]


NOT_UTF8: Final = b"\0\2\xc3\x28"
SURROGATE: Final = b"\0\3\xed\xa0\x80"
WITH_NULL: Final = b"\0\3a\0b"
PING: Final = Plain(packets.PINGREQ)
PONG: Final = Plain(packets.PINGRESP)
