"""What an accepted client and the broker say to each other, in MQTT 3.1 and 3.1.1. Pure.

`conversation5` says the same in MQTT 5. Whatever ends the connection is raised as a PacketError.
"""

from typing import Final, Protocol

from broker.admission.access import CompiledRole
from broker.admission.refusals import Limit
from broker.protocol import codec, packets
from broker.protocol.codec import acknowledgement, read_packet_id, read_publish
from broker.protocol.fields import ProtocolError
from broker.protocol.kinds import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from broker.protocol.packets import Acknowledge, Plain, Suback, Subscribe, Unsubscribe
from broker.protocol.reasons import ReasonCode
from broker.routing.router import Router
from broker.routing.session import Session
from broker.routing.subscriptions import Subscription, require_filters

# A subscription costs more work: every route is looked up again, retained messages are sought.
SUBSCRIBE_UNITS: Final = 5
# A large message costs more than a small one: a unit more for each so many bytes.
UNIT_BYTES: Final = 16 * 1024


class Speaker(Protocol):
    """The connection that the conversation is on."""

    name: str

    def answer(self, packet: bytes) -> None:
        """Send this."""

    def leave(self, *, will: bool, expiry: float | None = None) -> None:
        """The client said good-bye; `expiry` is its session's from now on, if it said so."""


class Conversation:
    """One accepted connection. `handle` takes a packet and says how much work it was."""

    __slots__ = (
        "_answer", "_counters", "_publish", "_role", "_router", "_session", "_speaker", "_version",
        "_was_denied",
    )  # fmt: skip

    def __init__(
        self, speaker: Speaker, router: Router, session: Session, role: CompiledRole, version: int
    ) -> None:
        self._speaker = speaker
        self._router = router
        self._session = session
        self._role = role
        self._version = version
        self._answer = speaker.answer
        self._publish = router.publish
        self._counters = router.counters
        self._was_denied = False

    def handle(self, first: int, data: bytes, start: int, end: int) -> int:
        if first >> 4 == PUBLISH:
            return self._on_publish(first, read_publish(first, data, start, end))
        if first in _ACKNOWLEDGEMENTS:
            self._on_acknowledgement(first >> 4, read_packet_id(data, start, end))
            return 0
        return self._on_request(codec.decode_body(first, data, start, end, self._version))

    def _on_publish(self, first: int, parts: tuple[bytes, int, bytes]) -> int:
        topic, packet_id, payload = parts
        qos = first & 0x06
        self._counters.received += 1
        work = 0
        if qos != 4 or packet_id not in self._session.received:
            work = self._publish(topic, payload, first, self._role)
            if work < 0:
                self._note_denied(topic)
                work = 0
            elif first & 1 and not self._router.retained.was_kept:
                self._note_unretained()
        if qos == 2:
            self._answer(b"\x40\x02" + packet_id.to_bytes(2, "big"))
        elif qos:
            self._session.received.add(packet_id)
            self._answer(acknowledgement(PUBREC, packet_id))
        return work * (1 + len(payload) // UNIT_BYTES)

    def _note_denied(self, topic: bytes) -> None:
        """Once per connection: the log must not become the way to hurt us."""
        if not self._was_denied:
            self._was_denied = True
            self._router.report(
                f"{self._speaker.name} may not publish to {topic.decode()}: dropped"
            )

    def _note_unretained(self) -> None:
        self._counters.refusals.note(
            Limit.RETAINED, self._session.client_id, "passed on, but not retained: no room"
        )

    def _on_acknowledgement(self, kind: int, packet_id: int) -> None:
        session = self._session
        if kind == PUBACK:
            if not session.acknowledge(packet_id):
                raise ProtocolError("PUBACK for a message of QoS 2")
        elif kind == PUBREC:
            if not session.note_received(packet_id):
                raise ProtocolError("PUBREC for a message of QoS 1")
            self._answer(acknowledgement(PUBREL, packet_id))
        elif kind == PUBREL:
            session.received.discard(packet_id)
            self._answer(acknowledgement(PUBCOMP, packet_id))
        elif not session.complete(packet_id):
            raise ProtocolError("PUBCOMP for a message that was not released")

    def _on_request(self, packet: packets.Packet) -> int:
        match packet:
            case Subscribe():
                return self._on_subscribe(packet)
            case Unsubscribe(packet_id, filters):
                require_filters(filters)
                for topic_filter in filters:
                    self._router.unsubscribe(self._session, topic_filter)
                self._answer(codec.acknowledgement(packets.UNSUBACK, packet_id))
                return len(filters) * SUBSCRIBE_UNITS
            case Acknowledge(packets.PUBREL, packet_id):  # again, as MQTT 3.1 allows to say
                self._on_acknowledgement(packets.PUBREL, packet_id)
            case Plain(packets.PINGREQ):
                self._answer(b"\xd0\x00")
            case Plain(packets.DISCONNECT):
                self._speaker.leave(will=False)
            case _:
                raise ProtocolError(f"{type(packet).__name__} may not come now")
        return 0

    def _on_subscribe(self, packet: Subscribe) -> int:
        codes = self._subscribe(packet, 0)
        if self._version == packets.MQTT_3_1:  # which has no word for "refused"
            codes = tuple(qos for _, qos in packet.filters)
        codes = tuple(min(code, packets.SUBSCRIPTION_REFUSED) for code in codes)
        self._answer(codec.encode(Suback(packet.packet_id, codes)))
        self._session.begin_snapshots()
        return len(packet.filters) * SUBSCRIBE_UNITS

    def _subscribe(self, packet: Subscribe, identifier: int) -> tuple[int, ...]:
        """MQTT 5's reason code for each filter."""
        require_filters(text for text, _ in packet.filters)
        codes = tuple(
            self._router.subscribe(self._session, text, Subscription(options, identifier))
            for text, options in packet.filters
        )
        refused = [
            text
            for (text, _), code in zip(packet.filters, codes, strict=True)
            if code >= ReasonCode.UNSPECIFIED_ERROR and code != ReasonCode.QUOTA_EXCEEDED
        ]
        if refused:
            names = ", ".join(refused)[:200]
            self._router.report(f"{self._speaker.name} may not subscribe to {names}")
        return codes


# The first bytes of the packets that are a packet id and nothing else.
_ACKNOWLEDGEMENTS: Final = frozenset(
    codec.acknowledgement(kind, 1)[0]
    for kind in (packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP)
)
