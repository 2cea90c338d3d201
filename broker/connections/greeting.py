"""A CONNECT and its answer: what the client asked for, what it gets, what it is told. Pure."""

import math
from collections.abc import Iterable
from typing import Final

from broker.admission.access import Refusal
from broker.connections.conversation5 import session_seconds
from broker.protocol import packets
from broker.protocol.codec import encode
from broker.protocol.packets import (
    MQTT_3_1,
    MQTT_5,
    NONE,
    Connack,
    Connect,
    Farewell,
    Packet,
    Properties,
)
from broker.protocol.reasons import ReasonCode
from broker.routing.terms import BEFORE_MQTT_5, LARGEST_PACKET, Terms
from broker.settings import BrokerSettings, Limits

# Longer client ids would let strangers fill the memory with sessions that are kept.
LONGEST_CLIENT_ID: Final = 1024

_CODES_5: Final[dict[int, int]] = {
    packets.BAD_PROTOCOL: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    packets.BAD_CLIENT_ID: ReasonCode.CLIENT_ID_NOT_VALID,
    packets.UNAVAILABLE: ReasonCode.SERVER_UNAVAILABLE,
    packets.BAD_PASSWORD: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    packets.NOT_AUTHORIZED: ReasonCode.NOT_AUTHORIZED,
}
# Before MQTT 5 there is one word for it.
_CODES_3: Final[dict[int, int]] = {
    ReasonCode.SERVER_BUSY: packets.UNAVAILABLE,
    ReasonCode.QUOTA_EXCEEDED: packets.UNAVAILABLE,
}


def objection(connect: Connect) -> Refusal | None:
    """Why this client cannot be served, whoever it is."""
    if connect.properties.authentication_method is not None:
        return Refusal(
            ReasonCode.BAD_AUTHENTICATION_METHOD, "an authentication method that is not known"
        )
    size = len(connect.client_id)
    may_be_empty = connect.version == MQTT_5 or (
        connect.clean_session and connect.version != MQTT_3_1
    )
    if size > LONGEST_CLIENT_ID or not (size or may_be_empty):
        return Refusal(packets.BAD_CLIENT_ID, "a client id that is empty or too long")
    return None


def terms_of(connect: Connect, limits: Limits) -> Terms:
    asked = connect.properties
    if connect.version != MQTT_5:
        return BEFORE_MQTT_5
    return Terms(
        is_5=True,
        receive_maximum=asked.receive_maximum or 0xFFFF,
        maximum_packet_size=asked.maximum_packet_size or LARGEST_PACKET,
        topic_aliases=min(asked.topic_alias_maximum or 0, limits.topic_aliases),
        wants_problem_information=asked.request_problem_information != 0,
    )


def session_expiry(connect: Connect) -> float:
    """How many seconds the session stays without a connection."""
    if connect.version == MQTT_5:
        return session_seconds(connect.properties.session_expiry or 0)
    return 0.0 if connect.clean_session else math.inf


def keep_alive(connect: Connect, limits: Limits) -> int:
    """Seconds; 0 for none. MQTT 5 lets the broker decide, because it can say so."""
    asked, most = connect.keep_alive, limits.keep_alive
    if connect.version != MQTT_5 or not most:
        return asked
    return min(asked or most, most)


def acceptance(
    connect: Connect, client_id: str, settings: BrokerSettings, *, is_present: bool
) -> bytes:
    """The CONNACK of a client that is let in; empty if it is larger than the client takes."""
    if connect.version != MQTT_5:
        present = is_present and connect.version != MQTT_3_1
        return encode(Connack(present, packets.ACCEPTED))
    asked, limits = connect.properties, settings.limits
    alive = keep_alive(connect, limits)
    wants_response = asked.request_response_information and settings.response_information
    properties = Properties(
        receive_maximum=limits.receive_maximum,
        maximum_packet_size=limits.packet_size,
        topic_alias_maximum=limits.topic_aliases,
        assigned_client_id=None if connect.client_id else client_id,
        server_keep_alive=None if alive == connect.keep_alive else alive,
        response_information=settings.response_information if wants_response else None,
    )
    data = encode(Connack(is_present, packets.ACCEPTED, properties), MQTT_5)
    return data if len(data) <= (asked.maximum_packet_size or LARGEST_PACKET) else b""


def rejection(version: int, refusal: Refusal, connect: Connect | None) -> bytes:
    """The CONNACK of a client that is not; empty if it is larger than the client takes."""
    if version != MQTT_5:
        code = _CODES_3.get(refusal.code, refusal.code)
        return encode(Connack(session_present=False, code=code))
    asked = connect.properties.maximum_packet_size if connect else None
    code = _CODES_5.get(refusal.code, refusal.code)
    words = Properties(reason_string=refusal.reason)
    return _fitting((Connack(False, code, each) for each in (words, NONE)), asked)  # noqa: FBT003


def farewell(code: int, sentence: str, largest: int) -> bytes:
    """The DISCONNECT that says why; empty if it is larger than the client takes."""
    words = Properties(reason_string=sentence) if sentence else NONE
    return _fitting((Farewell(code, each) for each in (words, NONE)), largest)


def _fitting(packets_5: Iterable[Packet], largest: int | None) -> bytes:
    """The first that the client takes."""
    encoded = (encode(each, MQTT_5) for each in packets_5)
    return next((each for each in encoded if len(each) <= (largest or LARGEST_PACKET)), b"")
