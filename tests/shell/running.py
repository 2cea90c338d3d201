"""Real `edge run` processes on loopback, asked and listened to over MQTT, like by anybody."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge.adapters.mqtt import (
    Connection,
    ConnectionEvent,
    Disconnected,
    Endpoint,
    Received,
    Refused,
    SubscribedTo,
)
from edge.ports import Message
from tests.engines.tools import free_port
from tests.shell.raw_broker import until

DEADLINE = 60.0
SECRET = "0123456789abcdef"

FILE = """\
group = "RPI"
profile = "normal"
state_dir = "{folder}/state"

[[node]]
name = "white"
priority = 3
addresses = ["127.0.0.1:{white}"]

[[node]]
name = "black"
priority = 2
addresses = ["127.0.0.1:{black}"]

[[witness]]
name = "router"
address = "127.0.0.1:{router}"

[broker]
host = "127.0.0.1"

[access]
secret_file = "{folder}/secret"
anonymous = "operate"
"""

ALONE = """\
group = "RPI"
state_dir = "{folder}/state"

[[node]]
name = "white"
addresses = ["127.0.0.1:{white}"]

[broker]
host = "127.0.0.1"

[access]
secret_file = "{folder}/secret"
anonymous = "operate"
"""


@dataclass(slots=True)
class Client:
    """An outside observer of one broker: every message as (topic below the group, payload)."""

    port: int
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    is_ready: bool = False
    has_ended: bool = False
    connection: Connection | None = None

    async def open(self) -> None:
        endpoint = Endpoint("127.0.0.1", self.port)
        self.connection = Connection(endpoint, f"test-{id(self)}", self._note, connect_timeout=10)
        self.connection.open()
        await until(lambda: self.connection is not None and self._is_accepted())
        self.connection.subscribe("edge/#")
        await until(lambda: self.is_ready)

    def _is_accepted(self) -> bool:
        assert not self.has_ended, "the broker let us not in"
        return self.connection is not None and self.connection._is_accepted

    def _note(self, event: ConnectionEvent) -> None:
        match event:
            case Received(message):
                topic = message.topic.removeprefix("edge/RPI/")
                self.messages.append((topic, message.payload))
            case SubscribedTo():
                self.is_ready = True
            case Refused() | Disconnected():
                self.has_ended = True

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for each, payload in self.messages if each == topic]

    def last(self, topic: str) -> bytes:
        return (self.payloads(topic) or [b""])[-1]

    def state(self) -> dict[str, object]:
        found = json.loads(self.last("state") or b"{}")
        assert isinstance(found, dict)
        return found

    def say(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        assert self.connection is not None
        self.connection.publish(Message(f"edge/RPI/{topic}", payload, retained=retained))

    async def ask(self, command: str, payload: bytes) -> dict[str, object]:
        count = len(self.payloads(f"response/{command}"))
        self.say(f"request/{command}", payload)
        await until(lambda: len(self.payloads(f"response/{command}")) > count)
        found = json.loads(self.last(f"response/{command}"))
        assert isinstance(found, dict)
        return found

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


@dataclass(slots=True)
class Members:
    """The processes of one group, each with its log."""

    folder: Path
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *, program: tuple[str, ...] = ("-m", "edge")) -> None:
        if name in self.processes:
            self.processes[name].wait(DEADLINE)
        command = [sys.executable, *program, "run"]
        command += ["--config", str(self.folder / "edge.toml"), "--node", name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def send(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    async def end_of(self, name: str) -> int:
        process = self.processes[name]
        await until(lambda: process.poll() is not None)
        assert process.returncode is not None
        return process.returncode

    def stop(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def members(folder: Path, text: str = FILE) -> Iterator[Members]:
    ports = {name: free_port() for name in ("white", "black", "router")}
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    (folder / "edge.toml").write_text(text.format(folder=folder, **ports))
    found = Members(folder, ports)
    try:
        yield found
    finally:
        found.stop()


def children_of(pid: int) -> list[int]:
    """Processes whose parent this is."""
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    return [each for each in pids if _fields(each)[1:2] == [str(pid)]]


def _fields(pid: int) -> list[str]:
    """State, parent and so on of a process; none if it is gone."""
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def is_alive(pid: int) -> bool:
    return _fields(pid)[:1] not in ([], ["Z"])
