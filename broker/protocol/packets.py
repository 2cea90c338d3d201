"""The packets of MQTT 3.1, 3.1.1 and 5 as frozen values; `codec` turns them into bytes and back.

One shape serves all versions: what only MQTT 5 has stands at the end, with a default.
"""

from dataclasses import dataclass
from typing import Final

from broker.protocol.kinds import (
    AUTH,
    CONNACK,
    CONNECT,
    DISCONNECT,
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    SUBSCRIBE,
    UNSUBACK,
    UNSUBSCRIBE,
)
from broker.protocol.properties import NONE, Properties

__all__ = [
    "ACCEPTED",
    "AUTH",
    "BAD_CLIENT_ID",
    "BAD_PASSWORD",
    "BAD_PROTOCOL",
    "CONNACK",
    "CONNECT",
    "DISCONNECT",
    "MQTT_3_1",
    "MQTT_3_1_1",
    "MQTT_5",
    "NONE",
    "NOT_AUTHORIZED",
    "PINGREQ",
    "PINGRESP",
    "PUBACK",
    "PUBCOMP",
    "PUBLISH",
    "PUBREC",
    "PUBREL",
    "SUBACK",
    "SUBSCRIBE",
    "SUBSCRIPTION_REFUSED",
    "UNAVAILABLE",
    "UNSUBACK",
    "UNSUBSCRIBE",
    "Acknowledge",
    "Auth",
    "Connack",
    "Connect",
    "Farewell",
    "Packet",
    "Plain",
    "Properties",
    "Publish",
    "Suback",
    "Subscribe",
    "Unsuback",
    "Unsubscribe",
    "Will",
]  # fmt: skip

# The answers to a CONNECT before MQTT 5.
ACCEPTED, BAD_PROTOCOL, BAD_CLIENT_ID, UNAVAILABLE, BAD_PASSWORD, NOT_AUTHORIZED = range(6)
SUBSCRIPTION_REFUSED: Final = 0x80


@dataclass(frozen=True, slots=True)
class Will:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Connect:
    """`clean_session` is MQTT 5's clean start."""

    client_id: str
    clean_session: bool = True
    keep_alive: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    version: int = MQTT_3_1_1
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Connack:
    session_present: bool
    code: int
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """PUBACK, PUBREC, PUBREL and PUBCOMP, and an UNSUBACK before MQTT 5."""

    kind: int
    packet_id: int
    code: int = 0
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Filters with their options, of which MQTT 3.1.1 knows the QoS only; see `subscriptions`."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Suback:
    packet_id: int
    codes: tuple[int, ...]
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Unsuback:
    """MQTT 5's, which has an answer for each filter."""

    packet_id: int
    codes: tuple[int, ...]
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Plain:
    """PINGREQ and PINGRESP, and a DISCONNECT before MQTT 5: a kind, nothing more."""

    kind: int


@dataclass(frozen=True, slots=True)
class Farewell:
    """MQTT 5's DISCONNECT."""

    code: int = 0
    properties: Properties = NONE


@dataclass(frozen=True, slots=True)
class Auth:
    """One step of MQTT 5's enhanced authentication."""

    code: int = 0
    properties: Properties = NONE


Packet = (
    Connect
    | Connack
    | Publish
    | Acknowledge
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Plain
    | Farewell
    | Auth
)
