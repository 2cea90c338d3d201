"""Network namespaces by name: made, entered for a socket or a process, swept away.

A name carries the process id of its owner, so that what a killed test run left behind can be
told from what another run uses right now.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PREFIX = "edgelan"
NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000
TOOLS = ("ip", "nft", "ping", "mosquitto", "mosquitto_pub", "mosquitto_sub")

_libc = ctypes.CDLL(None, use_errno=True)


class LanError(Exception):
    """A command of the harness failed; the text holds the command and what it said."""


def missing_requirement(*more: str) -> str | None:
    """Why the harness (and what needs more tools) cannot work here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in (*TOOLS, *more) if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def run(command: Sequence[str], stdin: str = "") -> str:
    """Run a command to its end and return what it wrote."""
    done = subprocess.run(
        list(command), input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode != 0:
        raise LanError(f"{' '.join(command)}: {done.stderr.strip()}\n{stdin}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace, known to `ip netns` by its name."""

    name: str

    def create(self) -> None:
        run(["ip", "netns", "add", self.name])
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> str:
        return run(["ip", "-n", self.name, *arguments])

    def nft(self, script: str) -> None:
        run([*self.command("nft", "-f", "-")], stdin=script)

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs something inside. `ip` replaces itself: the pid stays."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def pids(self) -> list[int]:
        return [int(pid) for pid in run(["ip", "netns", "pids", self.name]).split()]

    def kill_all(self) -> None:
        """End everything that lives inside; only what was started here can be there."""
        for pid in self.pids():
            with _gone_is_fine():
                os.kill(pid, signal.SIGKILL)

    def delete(self) -> None:
        if (NAMED / self.name).exists():
            self.kill_all()
            run(["ip", "netns", "del", self.name])

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """A socket that belongs to this namespace, whoever uses it afterwards."""
        with self.entered():
            return socket.socket(socket.AF_INET, kind)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread alone changes its namespace, for as long as the block lasts."""
        with Path("/proc/thread-self/ns/net").open("rb") as home:
            with (NAMED / self.name).open("rb") as inside:
                _set_namespace(inside.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())


def sweep() -> None:
    """Remove the namespaces whose owner is gone; another run may be at the same."""
    for path in NAMED.glob(f"{PREFIX}-*") if NAMED.is_dir() else ():
        if not is_alive(int(path.name.split("-")[1])):
            _delete_unless_gone(path)


def _delete_unless_gone(path: Path) -> None:
    try:
        Namespace(path.name).delete()
    except LanError:
        if path.exists():
            raise


def unique_name(lan_id: str, host: str) -> str:
    return f"{PREFIX}-{os.getpid()}-{lan_id}-{host}"


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return


def is_alive(pid: int) -> bool:
    """A dead process whose parent has not looked yet is dead all the same."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns failed")
