"""What one client may take: each limit, what a client is told beyond it, and what the log says."""

import pytest

from broker.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Connack,
    Connect,
    Farewell,
    Publish,
    Suback,
    Subscribe,
    Will,
)
from broker.reasons import ReasonCode
from broker.settings import Limits
from tests.mqtt.tools import Hub, settings


def limited(**limits: float) -> Hub:
    return Hub(settings(limits=Limits(**limits)))  # type: ignore[arg-type]


# Topics


@pytest.mark.parametrize("topic", ["a/" * 64 + "a", "a" * 1025])
def test_a_will_to_a_topic_beyond_the_limits_is_refused(topic: str) -> None:
    """Found out only when the connection ends, it would have ended the broker."""
    hub = Hub()
    will = Will(topic, b"gone", 0, retain=False)
    five, old = hub.peer(), hub.peer()
    five.send(Connect("a", will=will, version=MQTT_5))
    old.send(Connect("b", will=will, version=MQTT_3_1_1))
    (answer,) = five.got()
    assert isinstance(answer, Connack)
    assert answer.code == ReasonCode.TOPIC_NAME_INVALID
    assert old.got() == []
    assert five.is_closed
    assert old.is_closed


def test_a_topic_that_is_too_long_ends_the_connection() -> None:
    hub = limited(topic_bytes=10)
    peer = hub.connect("a", version=MQTT_5)
    peer.send(Subscribe(1, (("b" * 10, 0), ("c" * 11, 0))))
    (suback,) = peer.got()
    assert isinstance(suback, Suback)
    assert suback.codes == (0, ReasonCode.TOPIC_FILTER_INVALID)
    peer.send(Publish("b" * 10, b"1"))
    assert peer.payloads() == [b"1"]
    peer.send(Publish("c" * 11, b"2"))
    (farewell,) = peer.got()
    assert isinstance(farewell, Farewell)
    assert farewell.code == ReasonCode.TOPIC_NAME_INVALID
