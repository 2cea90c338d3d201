"""A broker's core and some clients, driven by actions as the shell drives it; time is a number."""

from dataclasses import dataclass
from random import Random
from typing import Final
from unittest.mock import patch

from broker.admission.access import Access
from broker.connections.connection import Connection, State
from broker.routing.router import Router
from broker.settings import Action, BrokerSettings, Limits, Listener, Role, Rule, User
from tests.fuzz.client import Client, require
from tests.fuzz.packets import Maker

SLOTS: Final = 4
# So small that every bound is met.
SMALL: Final = Limits(
    packet_size=1000,
    queue_messages=6,
    queue_bytes=2500,
    inflight=3,
    retained_messages=5,
    subscriptions=5,
    sessions=2,
    topic_levels=5,
    receive_maximum=3,
    topic_aliases=2,
    keep_alive=30,
)
SMALL_ROOM: Final = 3000
_RULES: Final = (
    Rule(Action.PUBLISH, "secret", allow=False),
    Rule(Action.SUBSCRIBE, "secret", allow=False),
    Rule(Action.SUBSCRIBE, "#", allow=True),
    Rule(Action.SUBSCRIBE, "$SYS/#", allow=True),
    Rule(Action.PUBLISH, "#", allow=True),
)
TOKEN: Final = "token:3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0"


@dataclass(frozen=True, slots=True)
class Open:
    """A new socket takes this place; the one before is lost."""

    slot: int


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes arrive in these pieces; `turns` is how many turns they get before something else."""

    slot: int
    pieces: tuple[bytes, ...]
    turns: int


@dataclass(frozen=True, slots=True)
class Flush:
    """What is to be written is written; the client answers so many of the messages it has."""

    slot: int
    answers: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The socket takes nothing more, or does so again."""

    slot: int
    is_held: bool


@dataclass(frozen=True, slots=True)
class Verify:
    slot: int
    is_right: bool


@dataclass(frozen=True, slots=True)
class End:
    """The socket is gone, or the broker ends it."""

    slot: int
    how: str


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


Step = Open | Send | Flush | Hold | Verify | End | Wait


def draw_steps(random: Random) -> list[Step]:
    """Everything that will happen, drawn before it does."""
    maker = Maker(random)
    versions = [4] * SLOTS
    steps: list[Step] = []
    for slot in range(random.choice((1, 2, SLOTS))):
        steps += _introduction(maker, slot, versions)
    for _ in range(random.choice((5, 20, 60))):
        steps += _next_steps(maker, random.randrange(SLOTS), versions)
    return steps


def _introduction(maker: Maker, slot: int, versions: list[int]) -> list[Step]:
    random = maker.random
    connect = maker.connect("abcd"[slot] if random.random() < 0.8 else None)
    versions[slot] = connect.version
    data = maker.data(connect, connect.version)
    verify = [Verify(slot, is_right=random.random() < 0.8)] if connect.username == "person" else []
    return [Open(slot), Send(slot, _cut(random, data), 2), *verify, Flush(slot, 0)]


def _next_steps(maker: Maker, slot: int, versions: list[int]) -> list[Step]:
    random = maker.random
    if random.random() < 0.08:
        return _introduction(maker, slot, versions)
    drawn: Step
    match random.choices(range(6), (6, 50, 25, 4, 3, 6))[0]:
        case 0:
            drawn = Hold(slot, is_held=random.random() < 0.5)
        case 1:
            drawn = _sending(maker, slot, versions[slot])
        case 2:
            drawn = Flush(slot, random.choice((0, 0, 1, 3, 10)))
        case 3:
            drawn = Verify(slot, is_right=random.random() < 0.7)
        case 4:
            drawn = End(slot, random.choice(("lost", "lost", "cut_off", "shut_down")))
        case _:
            drawn = Wait(random.choice((0.1, 1.0, 5.0, 50.0, 1e6)))
    return [drawn]


def _sending(maker: Maker, slot: int, version: int) -> Send:
    random = maker.random
    count = random.choice((1, 1, 2, 5, 80))
    data = b"".join(maker.data(maker.packet(version), version) for _ in range(count))
    if random.random() < 0.03:
        data += maker.noise()
    return Send(slot, _cut(random, data), random.choice((1, 1000)))


def _cut(random: Random, data: bytes) -> tuple[bytes, ...]:
    if random.random() < 0.7 or not data:
        return (data,)
    places = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((1, 2, 9))))
    return tuple(data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True))


class World:
    """The broker and its clients. `run` raises whatever is wrong."""

    def __init__(self, *, is_small: bool) -> None:
        self.now = 1000.0
        self.is_small = is_small
        self.settings = BrokerSettings(
            listeners=(Listener("127.0.0.1", 1883),),
            roles=(Role("most", _RULES),),
            users=(User("machine", TOKEN, "most"), User("person", "$7$1$AA==$AA==", "most")),
            anonymous="most",
            limits=SMALL if is_small else Limits(),
            seed=(("a/seed", "1"),),
            urgent=("urgent/#",),
            response_information="answers/",
        )
        self.router = Router(self.settings, lambda _: None)
        self.access = Access(self.settings)
        self.clients: list[Client | None] = [None] * SLOTS
        self.router.agenda.now = self.now

    def run(self, step: Step) -> None:
        room = SMALL_ROOM if self.is_small else 256 * 1024
        with patch("broker.routing.session.ROOM", room):
            self._take(step)
            self._remove_ended()

    def _remove_ended(self) -> None:
        for client in self.clients:
            if client and client.connection.state is State.ENDED:
                self._remove(client)

    def _take(self, step: Step) -> None:
        match step:
            case Wait(seconds):
                self._wait(seconds)
            case Open(slot):
                self._open(slot)
            case Send() | Flush() | Hold() | Verify() | End():
                client = self.clients[step.slot]
                if client:
                    self._take_for(client, step)

    def _take_for(self, client: Client, step: Send | Flush | Hold | Verify | End) -> None:
        match step:
            case Send(_, pieces, turns):
                for piece in pieces:
                    client.send(piece, self.now, turns)
            case Flush(_, answers):
                client.flush(self.now)
                client.answer(self.now, answers)
            case Hold(_, is_held):
                client.hold(is_held=is_held)
            case Verify(_, is_right):
                client.verify(self.now, is_right=is_right)
            case End(_, how):
                client.end(how, self.now)

    def _wait(self, seconds: float) -> None:
        self.now += seconds
        self.router.agenda.run(self.now)
        require(self.router.agenda.next_at > self.now, "something that was due is left")
        for client in self.clients:
            if client and client.connection.deadline_at <= self.now:
                client.finish_turns(self.now)
                client.connection.expire(self.now)

    def _open(self, slot: int) -> None:
        if old := self.clients[slot]:
            old.end("lost", self.now)
            self._remove(old)
        self.clients[slot] = Client(slot, Connection, self.router, self.access, self.now)

    def _remove(self, client: Client) -> None:
        """It has ended: what it is still told goes out, then the socket is gone."""
        client.finish_turns(self.now)
        client.flush(self.now)
        client.connection.lost("lost")
        self.clients[client.slot] = None

    def leave(self) -> None:
        """Every client goes, every session ends, nothing stays retained."""
        for client in self.clients:
            if client:
                client.end("lost", self.now)
                self._remove(client)
        self._wait(1e10)
        self._wait(1e10)  # what the wills of those that ended left behind
