"""What an accepted client and the broker say to each other in MQTT 5. Pure."""

from dataclasses import replace
from typing import Final

from broker.admission.access import CompiledRole
from broker.connections.conversation import SUBSCRIBE_UNITS, UNIT_BYTES, Conversation, Speaker
from broker.protocol import codec, packets
from broker.protocol.fields import ProtocolError, Reader
from broker.protocol.packets import (
    NONE,
    Acknowledge,
    Auth,
    Farewell,
    Packet,
    Plain,
    Properties,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from broker.protocol.properties import NO_EXTRAS, read_publish_extras
from broker.protocol.reasons import ReasonCode
from broker.routing.router import FORBIDDEN, RESERVED, Router
from broker.routing.session import Session
from broker.routing.subscriptions import SHARE_PREFIX, require_filters

# Beside the router's answers: it was passed on, but is not retained.
_UNRETAINED: Final = -3
_PLAIN_PUBACK: Final = packets.PUBACK << 4
# Why something was refused, in words for whoever looks for the mistake.
_SENTENCES: Final = {
    ReasonCode.NOT_AUTHORIZED: "the access rules forbid it",
    ReasonCode.TOPIC_FILTER_INVALID: "this is no topic filter",
    ReasonCode.QUOTA_EXCEEDED: "too many subscriptions, or too much that is retained",
    ReasonCode.PACKET_ID_NOT_FOUND: "this packet id is not in use",
}


class Conversation5(Conversation):
    """One accepted MQTT 5 connection. Topic aliases live as long as it does."""

    __slots__ = ("_aliases",)

    def __init__(
        self, speaker: Speaker, router: Router, session: Session, role: CompiledRole, version: int
    ) -> None:
        super().__init__(speaker, router, session, role, version)
        self._aliases: dict[int, bytes] | None = None  # made for those who use them

    def handle(self, first: int, data: bytes, start: int, end: int) -> int:
        if first >> 4 == packets.PUBLISH:
            return self._on_publish(first, codec.read_publish(first, data, start, end))
        if first == _PLAIN_PUBACK and end - start == 2:  # one that says nothing but "yes"
            if not self._session.acknowledge(codec.read_packet_id(data, start, end)):
                raise ProtocolError("PUBACK for a message of QoS 2")
            return 0
        return self._on_request(codec.decode_body(first, data, start, end, packets.MQTT_5))

    # PUBLISH

    def _on_publish(self, first: int, parts: tuple[bytes, int, bytes]) -> int:
        topic, packet_id, rest = parts
        if topic and rest[:1] == b"\0":  # no properties: the usual case
            extras, payload = NO_EXTRAS, rest[1:]
        else:
            reader = Reader(rest, 0, len(rest))
            extras = read_publish_extras(reader)
            payload = rest[reader.position :]
            topic = self._resolve(topic, extras.alias)
        router, session = self._router, self._session
        self._counters.received += 1
        qos = first >> 1 & 3
        if qos == 2 and packet_id in session.received:
            self._acknowledge(packets.PUBREC, packet_id, ReasonCode.SUCCESS)
            return 0
        if qos == 2 and len(session.received) >= router.limits.receive_maximum:
            raise ProtocolError(
                "more messages under way than allowed", ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
            )
        work = self._publish(topic, payload, first, self._role, sender=session, extras=extras)
        if work < 0:
            self._note_denied(topic)
        units = max(work, 0) * (1 + len(payload) // UNIT_BYTES)
        if work >= 0 and first & 1 and not router.retained.was_kept:
            self._note_unretained()
            work = _UNRETAINED
        if qos == 1 and work > 0:
            self._answer(b"\x40\x02" + packet_id.to_bytes(2, "big"))
        elif qos:
            self._confirm(qos, packet_id, work)
        return units

    def _resolve(self, raw_topic: bytes, alias: int | None) -> bytes:
        """The topic, also where an alias stands for it."""
        if alias is None:
            if not raw_topic:
                raise ProtocolError("a PUBLISH with neither topic nor alias")
            return raw_topic
        if alias > self._router.limits.topic_aliases:
            raise ProtocolError("a topic alias above the maximum", ReasonCode.TOPIC_ALIAS_INVALID)
        if self._aliases is None:
            self._aliases = {}
        if raw_topic:
            codec.read_topic(raw_topic)  # only what is a topic gets an alias
            self._aliases[alias] = raw_topic
        elif alias not in self._aliases:
            raise ProtocolError("a topic alias that stands for nothing")
        return self._aliases[alias]

    def _confirm(self, qos: int, packet_id: int, work: int) -> None:
        code = ReasonCode.SUCCESS if work > 0 else ReasonCode.NO_MATCHING_SUBSCRIBERS
        if work == RESERVED:
            code = ReasonCode.TOPIC_NAME_INVALID
        elif work == FORBIDDEN:
            code = ReasonCode.NOT_AUTHORIZED
        elif work == _UNRETAINED:
            code = ReasonCode.QUOTA_EXCEEDED
        elif qos == 2:
            self._session.received.add(packet_id)
        self._acknowledge(packets.PUBACK if qos == 1 else packets.PUBREC, packet_id, code)

    # Acknowledgements

    def _acknowledge(self, kind: int, packet_id: int, code: ReasonCode) -> None:
        if not code:
            self._answer(codec.acknowledgement(kind, packet_id))
            return
        properties = self._because(code) if code >= ReasonCode.UNSPECIFIED_ERROR else NONE
        self._send(Acknowledge(kind, packet_id, code, properties))

    def _because(self, code: int) -> Properties:
        """A reason string, if the client wants such."""
        sentence = _SENTENCES.get(ReasonCode(code))
        if sentence is None or not self._session.terms.wants_problem_information:
            return NONE
        return Properties(reason_string=sentence)

    def _send(self, packet: Acknowledge | Suback | Unsuback) -> None:
        """Without the words if the client's maximum packet size is too small for them."""
        data = codec.encode(packet, packets.MQTT_5)
        most = self._session.terms.maximum_packet_size
        if len(data) > most:
            data = codec.encode(replace(packet, properties=NONE), packets.MQTT_5)
        if len(data) > most:
            raise ProtocolError(
                "the answer is larger than the client takes", ReasonCode.PACKET_TOO_LARGE
            )
        self._answer(data)

    def _on_confirmed(self, packet: Acknowledge) -> None:
        """The client's part of the hand-over of one message, in either direction."""
        session = self._session
        kind, packet_id, has_failed = packet.kind, packet.packet_id, packet.code >= 0x80
        if kind == packets.PUBACK:
            if not session.acknowledge(packet_id):
                raise ProtocolError("PUBACK for a message of QoS 2")
        elif kind == packets.PUBREC:
            self._on_received(packet_id, has_failed=has_failed)
        elif kind == packets.PUBREL:
            is_known = packet_id in session.received
            session.received.discard(packet_id)
            code = ReasonCode.SUCCESS if is_known else ReasonCode.PACKET_ID_NOT_FOUND
            self._acknowledge(packets.PUBCOMP, packet_id, code)
        elif not session.complete(packet_id):
            raise ProtocolError("PUBCOMP for a message that was not released")

    def _on_received(self, packet_id: int, *, has_failed: bool) -> None:
        session = self._session
        is_known = packet_id in session.inflight
        if not session.note_received(packet_id):
            raise ProtocolError("PUBREC for a message of QoS 1")
        if has_failed:
            session.complete(packet_id)
            return
        code = ReasonCode.SUCCESS if is_known else ReasonCode.PACKET_ID_NOT_FOUND
        self._acknowledge(packets.PUBREL, packet_id, code)

    # Requests

    def _on_request(self, packet: Packet) -> int:
        match packet:
            case Acknowledge():
                self._on_confirmed(packet)
            case Subscribe():
                return self._on_subscribe(packet)
            case Unsubscribe():
                return self._on_unsubscribe(packet)
            case Plain(packets.PINGREQ):
                self._answer(b"\xd0\x00")
            case Farewell():
                self._on_farewell(packet)
            case Auth():
                raise ProtocolError("AUTH without an authentication method")
            case _:
                raise ProtocolError(f"{type(packet).__name__} may not come now")
        return 0

    def _on_subscribe(self, packet: Subscribe) -> int:
        if any(text.startswith(SHARE_PREFIX) and each & 0x04 for text, each in packet.filters):
            raise ProtocolError("no local on a shared subscription")
        identifier = packet.properties.subscription_ids
        codes = self._subscribe(packet, identifier[0] if identifier else 0)
        self._send(Suback(packet.packet_id, codes, self._because(max(codes))))
        self._session.begin_snapshots()
        return len(packet.filters) * SUBSCRIBE_UNITS

    def _on_unsubscribe(self, packet: Unsubscribe) -> int:
        require_filters(packet.filters)
        codes = tuple(self._router.unsubscribe(self._session, each) for each in packet.filters)
        self._send(Unsuback(packet.packet_id, codes, self._because(max(codes))))
        return len(packet.filters) * SUBSCRIBE_UNITS

    def _on_farewell(self, packet: Farewell) -> None:
        expiry = packet.properties.session_expiry
        if expiry and self._session.is_clean:
            raise ProtocolError("a session that was to end is to be kept")
        self._speaker.leave(
            will=packet.code != ReasonCode.SUCCESS,
            expiry=None if expiry is None else session_seconds(expiry),
        )


def session_seconds(expiry: int) -> float:
    """The largest number stands for "never"."""
    return float("inf") if expiry == 0xFFFFFFFF else float(expiry)
