"""One client's protocol state: bytes in, packets to the router, bytes out. Pure, time passed in.

The shell calls `receive`, `process` until it returns False, `verified`, `expire` and `lost`,
and writes what `take_output` gives. No packet is looked at before the CONNECT is accepted; what
is said after that is a `Conversation`.
"""

import math
import os
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from broker.admission.access import Access, Challenge, CompiledRole, Identity, Refusal
from broker.admission.refusals import CLOSING, Limit
from broker.admission.throttle import Throttle, throttle_for
from broker.connections import greeting
from broker.connections.conversation import Conversation
from broker.connections.conversation5 import Conversation5
from broker.protocol import codec, packets
from broker.protocol.codec import UnsupportedProtocolError
from broker.protocol.fields import PacketError, ProtocolError
from broker.protocol.framing import Incoming
from broker.protocol.packets import MQTT_3_1_1, MQTT_5, Connect, Will
from broker.protocol.reasons import ReasonCode
from broker.routing.router import Router
from broker.routing.session import PAUSE, Session

# Work units (packets, deliveries) of one turn: about a millisecond on a small machine.
TURN: Final = 50
# A stranger's packet: enough for a CONNECT, as in mosquitto, and too little to hurt.
LARGEST_CONNECT: Final = 100_000


class State(StrEnum):
    WAITING = "waiting"  # for the CONNECT
    VERIFYING = "verifying"  # the password, in a thread
    CONNECTED = "connected"
    ENDED = "ended"


LISTENING: Final = (State.CONNECTED, State.WAITING)  # packets are looked at


class Connection:
    """One client. `wake` asks the shell to call `take_output` soon."""

    __slots__ = (
        "_access", "_connect", "_handle", "_heard_at", "_held_until", "_incoming", "_is_dirty",
        "_largest", "_patience", "_role", "_router", "_session", "_throttle", "_version", "_wake",
        "_will", "_work", "address", "certified", "challenge", "name", "out", "state", "was_told",
    )  # fmt: skip

    def __init__(
        self, router: Router, access: Access, peer: str, now: float, wake: Callable[[], None]
    ) -> None:
        self.out: list[bytes] = []
        self.state = State.WAITING
        self.certified: str | None = None  # the name in the client's certificate, from the shell
        self.challenge: Challenge | None = None
        self.name = peer
        self.address = peer.rpartition(":")[0]
        self.was_told = False  # why it ends; only MQTT 5 has words for that
        self._router = router
        self._access = access
        self._wake = wake
        self._is_dirty = False
        self._incoming = Incoming()
        self._largest = min(LARGEST_CONNECT, router.limits.packet_size)
        self._work = 0
        self._heard_at = now
        self._patience = router.limits.connect_timeout
        self._handle: Callable[[int, bytes, int, int], int] = self._on_first_packet
        self._version = MQTT_3_1_1
        self._connect: Connect | None = None
        self._will: Will | None = None
        self._role: CompiledRole | None = None
        self._session: Session | None = None
        self._throttle: Throttle | None = None
        self._held_until = 0.0  # 0: it is not held back
        router.counters.opened += 1
        router.entrance.knock(self)

    # What the shell asks

    @property
    def deadline_at(self) -> float:
        """When `expire` is due: the CONNECT time-out, then 1.5 times the keep-alive; but the
        silence of a client that we do not read says nothing."""
        if self.state is State.VERIFYING:
            return math.inf
        return self._held_until or self._heard_at + self._patience

    @property
    def is_paused(self) -> bool:
        """Its socket is not to be read for now."""
        return self._held_until > 0 or self.state is State.VERIFYING

    @property
    def missed_bytes(self) -> int:
        """What could not be written since the client last read something."""
        return self._session.missed_bytes if self._session else 0

    @property
    def outruns_disk(self) -> bool:
        """Its socket is not to be read either until the disk has followed."""
        return False

    def receive(self, data: bytes) -> None:
        """Bytes from the client; only while no turn is left over from earlier ones."""
        self._router.counters.bytes_received += len(data)
        if self._throttle:
            self._throttle.add_bytes(len(data))
        self._incoming.feed(data)

    def process(self, now: float) -> bool:
        """Handle one turn's worth of packets; True if the rest waits for another turn."""
        if self._held_until:
            return False
        counters = self._router.counters
        received, overtaken = counters.received, counters.overtaken
        self._work = TURN
        self._router.agenda.now = now
        try:
            self._handle_packets(now)
        except UnsupportedProtocolError as error:
            self._refuse(Refusal(packets.BAD_PROTOCOL, str(error)))
        except PacketError as error:
            counters.malformed += 1
            self._object(error)
        if self._throttle:
            free_at = self._throttle.settle(counters.received - received, now)
            self._hold(now, free_at, is_overtaking=counters.overtaken > overtaken)
        return self.state in LISTENING and self._incoming.has_bytes() and not self._held_until

    def verified(self, now: float, *, is_right: bool) -> None:
        """The answer to `challenge`. Packets that came meanwhile are next."""
        challenge, self.challenge = self.challenge, None
        if challenge is None or self.state is not State.VERIFYING:
            return
        self._heard_at = self._router.agenda.now = now
        if is_right:
            self._accept(challenge.identity)
        else:
            self._refuse(Refusal(packets.BAD_PASSWORD, "wrong password"))

    def expire(self, now: float) -> None:
        """Time has passed; end if it was too long."""
        if now < self.deadline_at or self.state is State.ENDED:
            return
        if self._held_until:
            self._held_until = 0.0
            self._heard_at = now
        else:
            self._router.agenda.now = now
            self._router.counters.timed_out += 1
            self._say_farewell(ReasonCode.KEEP_ALIVE_TIMEOUT)
            self._end("closed: keep-alive exceeded" if self._session else "closed: no CONNECT")

    def release(self) -> None:
        """The transport is gone: what came through it is handled without holding it back."""
        self._throttle = None
        self._held_until = 0.0

    def lost(self, reason: str) -> None:
        """The transport is gone, and everything that came through it has been processed.

        Nothing may refer in circles then: the collector looks too seldom for what has grown old.
        """
        self._end(reason)
        self._wake = _nobody
        self._handle = _nothing

    def cut_off(self) -> None:
        """The client does not read what is meant for it; that must not cost memory."""
        if self.state is not State.ENDED:
            self._router.counters.cut_off += 1
            self._note(Limit.SEND_BUFFER, "it does not read what is meant for it")
            self._end("closed: it does not read")

    # What the entrance asks

    def give_way(self) -> None:
        """It has said nothing so far, and others want to."""
        self._end("closed: no CONNECT")

    def shut_down(self) -> bool:
        """The broker is about to stop; True if there is something to tell the client."""
        if self.state is State.CONNECTED and self._version == MQTT_5:
            self._say_farewell(ReasonCode.SERVER_SHUTTING_DOWN)
            return True
        return False

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
        counters = self._router.counters
        counters.packets_sent += len(self.out)
        counters.bytes_sent += len(data)
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
        self.release()
        while self.process(self._router.agenda.now):
            pass
        if self.state is not State.ENDED:
            self._router.counters.taken_over += 1
            self._say_farewell(ReasonCode.SESSION_TAKEN_OVER)
            self._end("closed: the client connected again")

    # What the conversation asks

    def answer(self, packet: bytes) -> None:
        """Send this."""
        self.out.append(packet)
        if not self._is_dirty:
            self._is_dirty = True
            self._wake()

    def leave(self, *, will: bool, expiry: float | None = None) -> None:
        """The client said good-bye; `expiry` is its session's from now on, if it said so."""
        if not will:
            self._will = None
        if expiry is not None and self._session:
            self._session.expiry = expiry
        self._end("disconnected")

    # Packets

    def _handle_packets(self, now: float) -> None:
        incoming, taken = self._incoming, 0
        try:
            while self._work > 0 and self.state in LISTENING:
                if (found := incoming.take(self._largest)) is None:
                    return
                taken += 1
                self._heard_at = now
                first, start, end = found
                self._work -= 1 + self._handle(first, incoming.data, start, end)
        finally:
            self._router.counters.packets_received += taken

    # The beginning

    def _on_first_packet(self, first: int, data: bytes, start: int, end: int) -> int:
        if first >> 4 != packets.CONNECT:
            raise ProtocolError("the first packet is not a CONNECT")
        self._router.counters.connects += 1
        self._version = codec.read_version(data, start, end)
        if self._version == MQTT_5:
            self._incoming.refuse_padding()
        connect = codec.decode_body(first, data, start, end, self._version)
        assert isinstance(connect, Connect)
        self._connect = connect
        if connect.will:  # when it is published, nobody is there any more to be told
            self._router.require_small(connect.will)
        answer = greeting.objection(connect) or self._access.identify(
            connect.username, connect.password, self.certified
        )
        match answer:
            case Refusal():
                self._refuse(answer)
            case Challenge():
                if not self._is_refused(self._router.entrance.check(self)):
                    self.challenge = answer
                    self.state = State.VERIFYING
            case Identity():
                self._accept(answer)
        return 0

    def _is_refused(self, refusal: Refusal | None) -> bool:
        if refusal:
            self._refuse(refusal, is_noted=True)
        return refusal is not None

    def _hold(self, now: float, free_at: float, *, is_overtaking: bool) -> None:
        """Read the client later if it has sent more than its share, or more than others take."""
        if free_at > now and self.state in LISTENING:
            self._held_until = free_at
            self._note(Limit.RATE, "it sends faster than it may, and is read more slowly")
        elif is_overtaking and self.state in LISTENING:
            self._held_until = now + PAUSE
            self._note(Limit.PACE, "it sends faster than others read, and is read more slowly")

    def _note(self, limit: Limit, sentence: str) -> None:
        client = self._session.client_id if self._session else self.address
        self._router.counters.refusals.note(limit, client, sentence)

    def _accept(self, identity: Identity) -> None:
        connect, router = self._connect, self._router
        assert connect is not None
        replaces = router.is_connected(connect.client_id)
        if self._is_refused(router.entrance.enter(self, identity.role, replaces=replaces)):
            return
        if not router.may_use(connect.client_id, identity):
            self._refuse(Refusal(packets.BAD_CLIENT_ID, "the client id of another user"))
            return
        client_id = connect.client_id or f"unnamed-{os.urandom(8).hex()}"
        session, present = router.open_session(
            client_id,
            identity,
            greeting.terms_of(connect, router.limits),
            is_clean=connect.clean_session,
            expiry=greeting.session_expiry(connect),
        )
        self.name = f"{client_id} ({self.name})"
        self.state = State.CONNECTED
        self._begin(connect, session, identity.role)
        connack = greeting.acceptance(connect, client_id, router.settings, is_present=present)
        self.answer(connack)
        session.attach(self)
        router.counters.note_connected()
        router.report_client(f"{self.name} connected as {identity.user or 'anonymous'}")
        if not connack:
            self._end("closed: it does not take even the CONNACK")

    def _begin(self, connect: Connect, session: Session, role: CompiledRole) -> None:
        router = self._router
        self._largest = router.limits.packet_size
        self._patience = greeting.keep_alive(connect, router.limits) * 1.5 or math.inf
        self._role, self._session, self._will = role, session, connect.will
        self._throttle = throttle_for(router.limits, unlimited=role.unlimited)
        self._connect = None
        kind = Conversation5 if self._version == MQTT_5 else Conversation
        self._handle = kind(self, router, session, role, self._version).handle

    # The end

    def _object(self, error: PacketError) -> None:
        """Tell an MQTT 5 client what was wrong, and end."""
        if error.code in CLOSING:
            self._note(CLOSING[error.code], f"closed: {error}")
        if self._session is None and self._version == MQTT_5:
            self._refuse(Refusal(error.code, str(error)))
            return
        self._say_farewell(error.code, str(error))
        self._end(f"closed: {error}")

    def _say_farewell(self, code: ReasonCode, sentence: str = "") -> None:
        """An MQTT 5 client that was let in learns why the broker ends it."""
        if self._session is None or self._version != MQTT_5:
            return
        most = self._session.terms.maximum_packet_size
        if data := greeting.farewell(code, sentence, most):
            self.was_told = True
            self.answer(data)

    def _refuse(self, refusal: Refusal, *, is_noted: bool = False) -> None:
        if not is_noted:
            self._router.report(f"{self.name} refused: {refusal.reason}")
        self._router.counters.refused += 1
        self.was_told = self._version == MQTT_5
        self.answer(greeting.rejection(self._version, refusal, self._connect))
        self._end()

    def _end(self, reason: str = "") -> None:
        if self.state is State.ENDED:
            return
        self.state = State.ENDED
        self._router.entrance.leave(self)
        session, self._session = self._session, None
        if reason:
            self._router.report_client(f"{self.name} {reason}")
        if session:
            self._router.counters.connected -= 1
            assert self._role is not None
            self._router.part(session, self._will, self._role)
        self.wake()


def _nobody() -> None:
    """The shell has gone."""


def _nothing(first: int, data: bytes, start: int, end: int) -> int:  # noqa: ARG001 - as any handler
    """No packet is looked at any more."""
    return 0
