"""One client's protocol state: bytes in, packets to the router, bytes out. Pure, time passed in.

The shell calls `receive`, `process` until it returns False, `verified`, `expire` and `lost`,
and writes what `take_output` gives. No packet is looked at before the CONNECT is accepted.
"""

import math
import os
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from broker import packets
from broker.access import Access, Challenge, CompiledRole, Identity, Refusal
from broker.fields import MalformedPacketError
from broker.framing import Incoming
from broker.packets import (
    Connack,
    Connect,
    Plain,
    Suback,
    Subscribe,
    Unsubscribe,
    UnsupportedProtocolError,
)
from broker.router import Router
from broker.session import Session

# Work units (packets, deliveries) of one turn: about a millisecond on a small machine.
TURN: Final = 50
# A subscription costs more: every route is looked up again, retained messages are sought.
SUBSCRIBE_UNITS: Final = 5
# A large message costs more than a small one: a unit more for each so many bytes.
UNIT_BYTES: Final = 16 * 1024
# A stranger's packet: enough for a CONNECT, as in mosquitto, and too little to hurt.
LARGEST_CONNECT: Final = 100_000
# Longer client ids would let strangers fill the memory with sessions that are kept.
LONGEST_CLIENT_ID: Final = 1024


class State(StrEnum):
    WAITING = "waiting"  # for the CONNECT
    VERIFYING = "verifying"  # the password, in a thread
    CONNECTED = "connected"
    ENDED = "ended"


class ProtocolError(Exception):
    """A well-formed packet that may not come now."""


class Connection:
    """One client. `wake` asks the shell to call `take_output` soon."""

    __slots__ = (
        "_access", "_connect", "_heard_at", "_incoming", "_is_dirty", "_largest", "_patience",
        "_role", "_router", "_session", "_wake", "_was_denied", "_work", "challenge", "name",
        "out", "state",
    )  # fmt: skip

    def __init__(
        self, router: Router, access: Access, peer: str, now: float, wake: Callable[[], None]
    ) -> None:
        self.out: list[bytes] = []
        self.state = State.WAITING
        self.challenge: Challenge | None = None
        self.name = peer
        self._router = router
        self._access = access
        self._wake = wake
        self._is_dirty = False
        self._incoming = Incoming()
        self._largest = min(LARGEST_CONNECT, router.limits.packet_size)
        self._work = 0
        self._heard_at = now
        self._patience = router.limits.connect_timeout
        self._connect: Connect | None = None
        self._role: CompiledRole | None = None
        self._session: Session | None = None
        self._was_denied = False

    # What the shell asks

    @property
    def deadline_at(self) -> float:
        """When `expire` is due: the CONNECT time-out, then 1.5 times the keep-alive."""
        return math.inf if self.state is State.VERIFYING else self._heard_at + self._patience

    @property
    def missed_bytes(self) -> int:
        """What could not be written since the client last read something."""
        return self._session.missed_bytes if self._session else 0

    def receive(self, data: bytes) -> None:
        """Bytes from the client; only while no turn is left over from earlier ones."""
        self._incoming.feed(data)

    def process(self, now: float) -> bool:
        """Handle one turn's worth of packets; True if the rest waits for another turn."""
        self._work = TURN
        try:
            self._handle_packets(now)
        except UnsupportedProtocolError as error:
            self._refuse(Refusal(packets.BAD_PROTOCOL, str(error)))
        except (MalformedPacketError, ProtocolError) as error:
            self._router.counters.malformed += 1
            self._end(f"closed: {error}")
        return self._listens() and self._incoming.has_bytes()

    def verified(self, now: float, *, is_right: bool) -> None:
        """The answer to `challenge`. Packets that came meanwhile are next."""
        challenge, self.challenge = self.challenge, None
        if challenge is None or self.state is not State.VERIFYING:
            return
        self._heard_at = now
        if is_right:
            self._accept(challenge.identity)
        else:
            self._refuse(Refusal(packets.BAD_PASSWORD, "wrong password"))

    def expire(self, now: float) -> None:
        """Time has passed; end if it was too long."""
        if now >= self.deadline_at and self.state is not State.ENDED:
            self._router.counters.timed_out += 1
            self._end("closed: keep-alive exceeded" if self._session else "closed: no CONNECT")

    def lost(self, reason: str) -> None:
        """The transport is gone, and everything that came through it has been processed."""
        self._end(reason)

    def cut_off(self) -> None:
        """The client does not read what is meant for it; that must not cost memory."""
        if self.state is not State.ENDED:
            self._router.counters.cut_off += 1
            self._end("closed: it does not read")

    def pause(self) -> None:
        """The socket takes nothing more for now."""
        if self._session:
            self._session.pause()

    def resume(self) -> None:
        if self._session:
            self._session.resume()

    def take_output(self) -> bytes:
        """What to write now."""
        has_more = self._session.pump() if self._session else False
        self._is_dirty = False
        data = b"".join(self.out)
        self.out.clear()
        if has_more:
            self.wake()
        return data

    # What the session asks

    def wake(self) -> None:
        """There is something to write."""
        if not self._is_dirty:
            self._is_dirty = True
            self._wake()

    def take_over(self) -> None:
        """The client came back on another connection: what it sent on this one still counts."""
        while self.process(self._heard_at):
            pass
        if self.state is not State.ENDED:
            self._router.counters.taken_over += 1
            self._end("closed: the client connected again")

    # Packets

    def _listens(self) -> bool:
        return self.state is State.CONNECTED or self.state is State.WAITING

    def _handle_packets(self, now: float) -> None:
        incoming = self._incoming
        while self._work > 0 and incoming.has_bytes() and self._listens():
            found = incoming.take(self._largest)
            if found is None:
                return
            self._heard_at = now
            self._work -= 1
            first, start, end = found
            self._handle(first, incoming.data, start, end)

    def _handle(self, first: int, data: bytes, start: int, end: int) -> None:
        session = self._session
        if session is None:
            self._on_first_packet(first, data, start, end)
        elif first >> 4 == packets.PUBLISH:
            self._on_publish(session, first, packets.read_publish(first, data, start, end))
        elif first in _ACKNOWLEDGEMENTS:
            self._on_acknowledgement(session, first, packets.read_packet_id(data, start, end))
        else:
            self._on_request(session, packets.decode_body(first, data, start, end))

    def _on_publish(self, session: Session, first: int, parts: tuple[bytes, int, bytes]) -> None:
        topic, packet_id, payload = parts
        qos = first >> 1 & 3
        router, role = self._router, self._role
        assert role is not None
        router.counters.received += 1
        if qos != 2 or packet_id not in session.received:
            work = router.publish(topic, payload, qos, role, retain=bool(first & 1))
            if work < 0:
                self._note_denied(topic)
            else:
                self._work -= work * (1 + len(payload) // UNIT_BYTES)
        if qos == 1:
            self._answer(b"\x40\x02" + packet_id.to_bytes(2, "big"))
        elif qos == 2:
            session.received.add(packet_id)
            self._answer(packets.acknowledgement(packets.PUBREC, packet_id))

    def _note_denied(self, topic: bytes) -> None:
        """Once per connection: the log must not become the way to hurt us."""
        if not self._was_denied:
            self._was_denied = True
            self._router.report(f"{self.name} may not publish to {topic.decode()}: dropped")

    def _on_acknowledgement(self, session: Session, first: int, packet_id: int) -> None:
        kind = first >> 4
        if kind == packets.PUBACK:
            if not session.acknowledge(packet_id):
                raise ProtocolError("PUBACK for a message of QoS 2")
        elif kind == packets.PUBREC:
            if not session.note_received(packet_id):
                raise ProtocolError("PUBREC for a message of QoS 1")
            self._answer(packets.acknowledgement(packets.PUBREL, packet_id))
        elif kind == packets.PUBREL:
            session.received.discard(packet_id)
            self._answer(packets.acknowledgement(packets.PUBCOMP, packet_id))
        else:
            session.complete(packet_id)

    def _on_request(self, session: Session, packet: packets.Packet) -> None:
        match packet:
            case Subscribe():
                self._on_subscribe(session, packet)
            case Unsubscribe(packet_id, filters):
                self._work -= len(filters) * SUBSCRIBE_UNITS
                for topic_filter in filters:
                    self._router.unsubscribe(session, topic_filter)
                self._answer(packets.acknowledgement(packets.UNSUBACK, packet_id))
            case Plain(packets.PINGREQ):
                self._answer(b"\xd0\x00")
            case Plain(packets.DISCONNECT):
                self._connect = None  # a good-bye discards the will
                self._end("disconnected")
            case _:
                raise ProtocolError(f"{type(packet).__name__} may not come now")

    def _on_subscribe(self, session: Session, packet: Subscribe) -> None:
        self._work -= len(packet.filters) * SUBSCRIBE_UNITS
        router = self._router
        codes = tuple(router.subscribe(session, each, qos) for each, qos in packet.filters)
        self._answer(packets.encode(Suback(packet.packet_id, codes)))
        session.begin_snapshots()
        refused = [
            topic_filter
            for (topic_filter, _), code in zip(packet.filters, codes, strict=True)
            if code == packets.SUBSCRIPTION_REFUSED
        ]
        if refused:
            router.report(f"{self.name} may not subscribe to {', '.join(refused)[:200]}")

    def _answer(self, packet: bytes) -> None:
        self.out.append(packet)
        self.wake()

    # The beginning

    def _on_first_packet(self, first: int, data: bytes, start: int, end: int) -> None:
        if first >> 4 != packets.CONNECT:
            raise ProtocolError("the first packet is not a CONNECT")
        connect = packets.decode_body(first, data, start, end)
        assert isinstance(connect, Connect)
        self._connect = connect
        size = len(connect.client_id)
        if size > LONGEST_CLIENT_ID or not (size or connect.clean_session):
            self._refuse(Refusal(packets.BAD_CLIENT_ID, "a client id that is empty or too long"))
            return
        answer = self._access.identify(connect.username, connect.password)
        match answer:
            case Refusal():
                self._refuse(answer)
            case Challenge():
                self.challenge = answer
                self.state = State.VERIFYING
            case Identity():
                self._accept(answer)

    def _accept(self, identity: Identity) -> None:
        connect, router = self._connect, self._router
        assert connect is not None
        if not router.may_use(connect.client_id, identity):
            self._refuse(Refusal(packets.BAD_CLIENT_ID, "the client id of another user"))
            return
        client_id = connect.client_id or f"unnamed-{os.urandom(8).hex()}"
        session, present = router.open_session(client_id, identity, is_clean=connect.clean_session)
        self.name = f"{client_id} ({self.name})"
        self.state = State.CONNECTED
        self._largest = router.limits.packet_size
        self._patience = connect.keep_alive * 1.5 or math.inf
        self._role, self._session = identity.role, session
        self._answer(packets.encode(Connack(present, packets.ACCEPTED)))
        session.attach(self)
        router.counters.accepted += 1
        router.counters.connected += 1
        router.report(f"{self.name} connected as {identity.user or 'anonymous'}")

    # The end

    def _refuse(self, refusal: Refusal) -> None:
        self._router.counters.refused += 1
        self._answer(packets.encode(Connack(session_present=False, code=refusal.code)))
        self._end(f"refused: {refusal.reason}")

    def _end(self, reason: str) -> None:
        if self.state is State.ENDED:
            return
        self.state = State.ENDED
        session, self._session = self._session, None
        self._router.report(f"{self.name} {reason}")
        if session:
            self._router.counters.connected -= 1
            self._router.close_session(session)
            self._publish_will()
        self.wake()

    def _publish_will(self) -> None:
        will = self._connect.will if self._connect else None
        if will is None or self._role is None:
            return
        if not self._router.publish_will(will, self._role):
            self._router.report(f"{self.name} may not publish its will to {will.topic}: dropped")


# The first bytes of the packets that are a packet id and nothing else.
_ACKNOWLEDGEMENTS: Final = frozenset(
    packets.acknowledgement(kind, 1)[0]
    for kind in (packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP)
)
