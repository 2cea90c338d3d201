"""A whole group on this machine in a temporary folder: its file, its processes, its clean end."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from broker.engines.child import bound_to_parent
from broker.errors import EngineError
from edge.settings import Settings
from edge.settings.file import load_settings

NODES = ("white", "black")
WITNESS = "router"
GROUP = "demo"
STOP_TIMEOUT = 10.0
TAIL_LINES = 15

FILE = """\
group = "{group}"
policy = "witness"
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


@dataclass(slots=True)
class DemoGroup:
    """The members' processes. `demo_group` makes one and stops what is left of it."""

    folder: Path
    settings: Settings
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "edge.toml"

    def port(self, name: str) -> int:
        return self.settings.listen_ports(name)[0]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, name: str) -> None:
        """Run a member as anybody would: edge run --config FILE --node NAME."""
        command = [sys.executable, "-m", "edge", "run", "--config", str(self.file), "--node", name]
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                _bound(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches the demo only, which stops them in order
            )

    def kill(self, name: str) -> None:
        """As a power cut would, without a chance to say good-bye."""
        self.processes[name].kill()

    def ended(self) -> tuple[str, ...]:
        """The members that are not running."""
        return tuple(name for name, each in self.processes.items() if each.poll() is not None)

    def stop(self) -> None:
        for process in self.processes.values():
            _send(process, signal.SIGTERM)
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
            _send(process, signal.SIGKILL)
            process.wait()

    def tails(self) -> str:
        """The end of each member's log, for somebody who wants to know what went wrong."""
        return "\n".join(
            f"--- {name} ({self.log(name)}):\n{_tail(self.log(name))}" for name in self.processes
        )


@contextmanager
def demo_group() -> Iterator[DemoGroup]:
    """A folder with a group file and a secret, nothing started; leaving it stops everything."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-demo-")))
        _write_secret(folder / "secret")
        ports = dict(zip((*NODES, WITNESS), _free_ports(3), strict=True))
        (folder / "edge.toml").write_text(FILE.format(group=GROUP, folder=folder, **ports))
        group = DemoGroup(folder, load_settings(folder / "edge.toml"))
        stack.callback(group.stop)
        yield group


def _write_secret(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))


def _free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, all different because they are held until all are known."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _bound(command: list[str]) -> list[str]:
    """Where the system can, the members also end when the demo itself is killed."""
    try:
        return bound_to_parent(command)
    except EngineError:
        return command


def _environment() -> dict[str, str]:
    """The demo is the same whatever settings are in the environment."""
    return {key: value for key, value in os.environ.items() if not key.startswith("EDGE_")}


def _send(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join(lines[-TAIL_LINES:]) or "(empty)"
