"""What the contract suite is made of: brokers, clients, and waiting with a deadline."""

import asyncio
import random
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from pathlib import Path

from broker.client import Client, Login, Message
from broker.engines.child import Child, bound_to_parent
from broker.engines.choice import create_engine
from broker.engines.engine import Engine
from broker.engines.mosquitto import find_binary
from broker.settings import Action, BrokerSettings, EngineName, Listener, Role, Rule
from tests.lan.deadline import SCALE

# Generous: the machine may be busy. A deadline only ends a test that has failed already.
DEADLINE = 15.0 * SCALE
HOST = "127.0.0.1"

# Workers of one run, and runs of several people, look for ports at the same time.
BLOCK_SIZE = 200
BLOCKS = (10_000, 32_000, BLOCK_SIZE)
_claims: list[socket.socket] = []

EVERYTHING = Role(
    "everything", (Rule(Action.PUBLISH, "#", True), Rule(Action.SUBSCRIBE, "#", True))
)


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker of any kind, as a client sees it."""

    kind: str
    port: int
    pid: int
    clients: list[Client] = field(default_factory=list)


class ReferenceMosquitto:
    """Mosquitto as it comes, with nothing of ours but a port: what the engines are held against."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._port = settings.listeners[0].port
        self._child = Child("reference")

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "mosquitto.conf"
            file.write_text(f"listener {self._port} {HOST}\nallow_anonymous true\nuser root\n")
            await self._child.start_foreign(
                bound_to_parent([find_binary(), "-c", str(file)]), " running"
            )

    async def stop(self) -> None:
        await self._child.stop()

    async def failed(self) -> str:
        return await self._child.failed()


def free_port() -> int:
    """A port that nobody has, nor any other test until much later: who asks binds it later.

    It is below those that the system gives to clients (32768 and up).
    """
    while True:
        port = next(_own_ports())
        with suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port


@cache
def _own_ports() -> Iterator[int]:
    """The ports of a block that belongs to this process as long as it lives, again and again."""
    while True:
        begin = random.SystemRandom().randrange(*BLOCKS)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0edge-test-ports-{begin}")
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return cycle(range(begin, begin + BLOCK_SIZE))


def open_settings(port: int) -> BrokerSettings:
    """Everybody may do everything."""
    listener = Listener(HOST, port)
    return BrokerSettings((listener,), roles=(EVERYTHING,), anonymous=EVERYTHING.name)


def make_engine(kind: str, settings: BrokerSettings) -> Engine:
    if kind == "reference":
        return ReferenceMosquitto(settings)
    return create_engine(EngineName(kind), settings)


@asynccontextmanager
async def running(kind: str, settings: BrokerSettings) -> AsyncIterator[Broker]:
    engine = make_engine(kind, settings)
    await engine.start()
    broker = Broker(kind, settings.listeners[0].port, pid_of(engine))
    try:
        yield broker
    finally:
        for client in broker.clients:
            await client.disconnect()
        await engine.stop()


def pid_of(engine: Engine) -> int:
    pid = getattr(engine, "pid", None)
    assert isinstance(pid, int)
    return pid


async def connect(broker: Broker, name: str, **login: object) -> Client:
    """A client that is closed when the broker is."""
    async with asyncio.timeout(DEADLINE):
        client = await Client.connect(HOST, broker.port, Login(name, **login))  # type: ignore[arg-type]
    broker.clients.append(client)
    return client


async def next_message(client: Client) -> Message:
    async with asyncio.timeout(DEADLINE):
        return await client.messages.get()


async def messages_until(client: Client, payload: bytes) -> list[Message]:
    """Everything up to a message with this payload, which the caller knows to come last."""
    seen: list[Message] = []
    while not seen or seen[-1].payload != payload:
        seen.append(await next_message(client))
    return seen[:-1]


async def until(condition: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """Wait for a condition that only time brings about."""
    ends_at = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < ends_at, "the condition did not come true in time"
        await asyncio.sleep(0.005)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(DEADLINE)
        return probe.connect_ex((HOST, port)) == 0
