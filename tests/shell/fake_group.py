"""A broker with what a node publishes on it, and answers to requests: a group as commands see it.

A recording double, so that each command can be shown exactly the group that the test is about.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from broker.admission.access import hash_password
from broker.engines.choice import create_engine
from broker.engines.engine import Engine
from broker.server.ports import require_free_ports
from broker.settings import Action, BrokerSettings, EngineName, Listener, Role, Rule, User
from edge.adapters.mqtt import (
    Connected,
    Connection,
    ConnectionEvent,
    Endpoint,
    Received,
    SubscribedTo,
)
from edge.ports import Message
from edge.wire import broker_token
from tests.engines.tools import free_port

TIMEOUT = 60.0 * float(os.environ.get("EDGE_TEST_TIMEOUT_SCALE", "1"))

FILE = """\
group = "RPI"

[[node]]
name = "white"
addresses = ["127.0.0.1:{white}"]

[[node]]
name = "black"
addresses = ["127.0.0.1:{black}"]

[[witness]]
name = "router"
address = "127.0.0.1:{router}"
[access]
secret_file = "secret"
"""

SECRET = b"0123456789abcdef"

STATE = {
    "hot": "white",
    "term": 5,
    "since": "2026-05-01T10:00:00Z",
    "reason": "cold start",
    "votes": {"held": 3, "needed": 2, "of": 3},
    "redundant": True,
    "outlook": {"hot_dies": "black takes over within 0.2 s"},
    "nodes": {"white": {"role": "hot"}, "black": {"role": "standby", "reason": "ready"}},
}


@dataclass(frozen=True, slots=True)
class Finished:
    code: int
    out: str
    err: str


@dataclass(slots=True)
class FakeGroup:
    """`answers` maps a command to its response; every request is recorded."""

    file: Path
    engine: Engine
    answers: dict[str, dict[str, object]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    becomes_hot: str | None = None
    on_request: tuple[tuple[str, object], ...] = ()  # published before the answer
    connection: Connection | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, place: str, content: object, *, retained: bool = True) -> None:
        assert self.connection is not None
        text = content if isinstance(content, str) else json.dumps(content)
        self.connection.publish(Message(f"edge/RPI/{place}", text.encode(), retained))

    def on_event(self, event: ConnectionEvent) -> None:
        if isinstance(event, Connected) and self.connection is not None:
            self.connection.subscribe("edge/RPI/request/+")
        elif isinstance(event, SubscribedTo):
            self.ready.set()
        elif isinstance(event, Received):
            self._on_request(event.message)

    def _on_request(self, message: Message) -> None:
        command = message.topic.rpartition("/")[2]
        content = json.loads(message.payload)
        transaction = content.pop("transaction")
        self.requests.append((command, content))
        if command not in self.answers:
            return
        response = {**self.answers[command], "transaction": transaction}
        if self.becomes_hot is not None:
            self.publish("event", {"event": "switchover", "to": self.becomes_hot}, retained=False)
            self.publish("hot", self.becomes_hot)
        for place, content in self.on_request:
            self.publish(place, content)
        self.publish(f"response/{command}", {**response, "transaction": "other"}, retained=False)
        self.publish(f"response/{command}", response, retained=False)


@asynccontextmanager
async def fake_group(folder: Path) -> AsyncIterator[FakeGroup]:
    """A group file in `folder` and a running broker of its second node; the first one is dead."""
    port = free_port()
    file = folder / "edge.toml"
    file.write_text(FILE.format(white=free_port(), black=port, router=free_port()))
    settings = _broker_settings(port)
    require_free_ports(settings.listeners)
    engine = create_engine(EngineName.EMBEDDED, settings)
    await engine.start()
    group = FakeGroup(file, engine)
    group.connection = Connection(Endpoint("127.0.0.1", port), "fake", group.on_event)
    try:
        group.connection.open()
        async with asyncio.timeout(TIMEOUT):
            await group.ready.wait()
        yield group
    finally:
        group.connection.close()
        await engine.stop()


def _broker_settings(port: int) -> BrokerSettings:
    """A broker that lets in anybody without a name, the nodes by the secret, and one user."""
    rules = tuple(Rule(action, "#", allow=True) for action in Action)
    users = [User("operator", hash_password("correct horse"), "all")]
    for name in ("white", "black"):
        token = broker_token(SECRET, "RPI", name, "black")
        users.append(User(name, f"token:{sha256(token.encode()).hexdigest()}", "all"))
    return BrokerSettings(
        (Listener("127.0.0.1", port),), (Role("all", rules),), tuple(users), anonymous="all"
    )


def write_secret(folder: Path, secret: bytes = SECRET) -> None:
    (folder / "secret").touch(mode=0o600)
    (folder / "secret").write_bytes(secret)


async def edge(*arguments: str, given: str = "", **environment: str) -> Finished:
    """Run the command as a process of its own, as operators do."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edge",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "120", **environment},
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            out, err = await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())
