"""A client of the fuzzed broker: feeds its connection as the shell does, and reads what comes."""

from collections.abc import Callable
from typing import Final

from broker.admission.access import Access
from broker.connections.connection import Connection, State
from broker.protocol import packets
from broker.protocol.codec import decode_body, encode
from broker.protocol.framing import Incoming
from broker.protocol.packets import MQTT_5, Acknowledge, Connack, Farewell, Packet, Plain, Publish
from broker.routing import session
from broker.routing.router import Router

# What the broker may answer to a byte, for the bound of its output: a reason string to a PUBREL.
ANSWER: Final = 12
WORDS: Final = 300
_FROM_BROKER: Final = frozenset(
    (
        packets.CONNACK, packets.PUBLISH, packets.PUBACK, packets.PUBREC, packets.PUBREL,
        packets.PUBCOMP, packets.SUBACK, packets.UNSUBACK, packets.PINGRESP, packets.DISCONNECT,
    )
)  # fmt: skip


class WrongError(Exception):
    """The broker broke a promise."""


def require(is_kept: object, promise: str) -> None:
    if not is_kept:
        raise WrongError(promise)


class Client:
    """One socket's end: bytes go in turn by turn, packets come out and are judged."""

    def __init__(
        self,
        slot: int,
        make: Callable[..., Connection],
        router: Router,
        access: Access,
        now: float,
    ) -> None:
        self.slot = slot
        self.connection = make(router, access, "peer", now, self._on_wake)
        self._router = router
        self._is_awake = False
        self._has_more = False
        self._fed = 0  # bytes since the last flush
        self._version = packets.MQTT_3_1_1
        self._incoming = Incoming()
        self._to_answer: list[Packet] = []
        self._under_way: set[int] = set()
        self._aliases: set[int] = set()
        self._has_ended = False

    # What the shell does

    def send(self, data: bytes, now: float, turns: int) -> None:
        """Nothing is read from a socket while a turn is left over, or a password is checked."""
        self.finish_turns(now)
        if self.connection.state is State.VERIFYING or not data:
            return
        self._fed += len(data)
        self.connection.receive(data)
        self._has_more = True
        self._process(now, min(turns, len(data) + 1))

    def finish_turns(self, now: float) -> None:
        if self._has_more:
            self._process(now, self._fed + 1)
            require(not self._has_more, "a turn handles at least one packet")

    def _process(self, now: float, turns: int) -> None:
        while self._has_more and turns > 0:
            turns -= 1
            self._has_more = self.connection.process(now)

    def verify(self, now: float, *, is_right: bool) -> None:
        if self.connection.challenge:
            self.connection.verified(now, is_right=is_right)
            self._has_more = True
            self.finish_turns(now)

    def hold(self, *, is_held: bool) -> None:
        if is_held:
            self.connection.pause()
        else:
            self.connection.resume()

    def end(self, how: str, now: float) -> None:
        self.finish_turns(now)
        match how:
            case "cut_off":
                self.connection.cut_off()
            case "shut_down":
                self.connection.shut_down()
                self.flush(now)
                self.connection.lost("shut down")
            case _:
                self.connection.lost("lost")

    def flush(self, now: float) -> None:
        """Until nothing more is to be written, as long as the client reads."""
        rounds = 0
        self._is_awake = True
        while self._is_awake:
            self._is_awake = False
            self._router.agenda.now = now
            data = self.connection.take_output()
            require(len(data) <= self._most_output(), "bounded output for bounded input")
            self._fed = 0 if not self._has_more else self._fed
            for packet in self._packets(data):
                self._judge(packet)
            rounds += 1
            require(rounds < 10_000, "writing comes to an end")

    def answer(self, now: float, count: int) -> None:
        """What a client owes for the oldest messages that it has."""
        if self.connection.state is not State.CONNECTED:
            return
        owed, self._to_answer = self._to_answer[:count], self._to_answer[count:]
        for each in owed:
            self.send(encode(each, self._version), now, 1000)

    def _on_wake(self) -> None:
        self._is_awake = True

    def _most_output(self) -> int:
        """A room's worth before and in the flush, repeats, answers, and a farewell."""
        limits = self._router.limits
        packet = limits.packet_size + 6 * limits.subscriptions + WORDS
        packets_beyond = limits.inflight + session.URGENT_EXTRA + 2
        return 2 * session.ROOM + packets_beyond * packet + ANSWER * self._fed + WORDS

    # What the client sees

    def _packets(self, data: bytes) -> list[Packet]:
        self._incoming.feed(data)
        found = []
        while self._incoming.has_bytes():
            taken = self._incoming.take(1 << 28)
            require(taken, "whole packets are written")
            assert taken is not None
            first, start, end = taken
            require(first >> 4 in _FROM_BROKER, "packets of a broker are written")
            require(not self._has_ended, "nothing follows the last packet")
            self._judge_size(first, 2 + end - start)
            if first >> 4 == packets.CONNACK and end - start > 2:
                self._version = MQTT_5
            found.append(decode_body(first, self._incoming.data, start, end, self._version))
        return found

    def _judge_size(self, first: int, size: int) -> None:
        held = self.connection._session
        if held and self._version == MQTT_5 and first >> 4 != packets.CONNACK:
            require(size <= held.terms.maximum_packet_size, "the client's maximum packet size")

    def _judge(self, packet: Packet) -> None:
        match packet:
            case Connack(_, code):
                self._has_ended = code != 0
            case Farewell() | Plain(packets.DISCONNECT):
                self._has_ended = True
            case Publish():
                self._judge_publish(packet)
            case Acknowledge(packets.PUBREL, packet_id):
                self._to_answer.append(Acknowledge(packets.PUBCOMP, packet_id))
            case _:
                pass

    def _judge_publish(self, packet: Publish) -> None:
        alias = packet.properties.topic_alias
        require(packet.topic or alias in self._aliases, "an alias stands for something")
        if alias:
            self._aliases.add(alias)
        if packet.qos:
            kind = packets.PUBACK if packet.qos == 1 else packets.PUBREC
            self._to_answer.append(Acknowledge(kind, packet.packet_id))
