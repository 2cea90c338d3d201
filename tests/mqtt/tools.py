"""A broker without sockets: peers speak packets to connections, time is a number."""

from collections.abc import Callable

from broker.admission.access import Access
from broker.connections.connection import Connection, State
from broker.protocol.codec import decode_body, encode
from broker.protocol.framing import Incoming
from broker.protocol.packets import MQTT_3_1_1, Connack, Connect, Packet, Publish
from broker.routing.router import Router
from broker.settings import Action, BrokerSettings, Limits, Listener, Role, Rule, User

LISTENER = Listener("127.0.0.1", 1883)


def role(name: str, *lines: str) -> Role:
    """Rules as words: `+publish a/#` allows, `-subscribe b` denies."""
    rules = []
    for line in lines:
        action, topic_filter = line[1:].split(" ", 1)
        rules.append(Rule(Action(action), topic_filter, allow=line.startswith("+")))
    return Role(name, tuple(rules))


EVERYTHING = role("everything", "+publish #", "+subscribe #", "+subscribe $SYS/#")


def settings(
    *roles: Role,
    users: tuple[User, ...] = (),
    anonymous: str | None = "everything",
    limits: Limits | None = None,
    seed: tuple[tuple[str, str], ...] = (),
    urgent: tuple[str, ...] = (),
) -> BrokerSettings:
    return BrokerSettings(
        (LISTENER,), (EVERYTHING, *roles), users, anonymous, limits or Limits(), seed, urgent
    )


class Hub:
    """One broker's core and its clock."""

    def __init__(self, of: BrokerSettings | None = None) -> None:
        self.now = 1000.0
        self.log: list[str] = []
        self.settings = of or settings()
        self.router = Router(self.settings, self.log.append)
        self.router.agenda.now = self.now
        self.access = Access(self.settings)

    def pass_time(self, seconds: float) -> None:
        """What ends by itself meanwhile, ends."""
        self.now += seconds
        self.router.agenda.run(self.now)

    def connection(self, wake: Callable[[], None], address: str = "peer:1") -> Connection:
        return Connection(self.router, self.access, address, self.now, wake)

    def peer(self) -> "Peer":
        return Peer(self)

    def connect(self, client_id: str, **options: object) -> "Peer":
        """A peer whose CONNECT was accepted; `greeting` is its CONNACK."""
        peer = Peer(self)
        peer.send(Connect(client_id, **options))  # type: ignore[arg-type]
        answer = peer.got()[0]
        assert isinstance(answer, Connack), answer
        assert answer.code == 0
        peer.greeting = answer
        return peer


class Peer:
    """A client without a socket."""

    def __init__(self, hub: Hub, address: str = "peer:1") -> None:
        self.hub = hub
        self.version = MQTT_3_1_1  # what its CONNECT says decides
        self.wakes = 0
        self.greeting = Connack(session_present=False, code=0)
        self.connection = hub.connection(self._on_wake, address)
        self._incoming = Incoming()

    def _on_wake(self) -> None:
        self.wakes += 1

    @property
    def is_closed(self) -> bool:
        return self.connection.state is State.ENDED

    def send(self, *sent: Packet | bytes) -> None:
        for each in sent:
            if isinstance(each, Connect):
                self.version = each.version
            data = each if isinstance(each, bytes) else encode(each, self.version)
            self.connection.receive(data)
            while self.connection.process(self.hub.now):
                pass

    def wait(self, seconds: float) -> None:
        """Let time pass, for this peer and for what the broker does by itself."""
        self.hub.pass_time(seconds)
        self.connection.expire(self.hub.now)

    def vanish(self) -> None:
        self.connection.lost("lost")

    def got(self) -> list[Packet]:
        """Everything that the broker wrote since the last time."""
        received = []
        while data := self.connection.take_output():
            received += self._decode(data)
        return received

    def published(self) -> list[Publish]:
        return [each for each in self.got() if isinstance(each, Publish)]

    def payloads(self) -> list[bytes]:
        return [each.payload for each in self.published()]

    def _decode(self, data: bytes) -> list[Packet]:
        self._incoming.feed(data)
        found = []
        while self._incoming.has_bytes():
            taken = self._incoming.take(1 << 28)
            assert taken, "the broker wrote half a packet"
            first, start, end = taken
            found.append(decode_body(first, self._incoming.data, start, end, self.version))
        return found
