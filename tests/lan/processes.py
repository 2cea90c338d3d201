"""A process of a test: started with a log, stopped, frozen and killed by its own id only."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import Self

from tests.lan.deadline import wait_until

TAIL_LINES = 40


@dataclass(frozen=True, slots=True)
class Process:
    """One running program and the file that takes everything it writes."""

    popen: "Popen[bytes]"
    log: Path

    @classmethod
    def start(cls, command: list[str], log: Path, environment: dict[str, str] | None) -> Self:
        """A session of its own, so that a Ctrl-C at the tests does not reach it half-way."""
        with log.open("ab") as output:
            popen = Popen(
                command,
                stdout=output,
                stderr=STDOUT,
                env=os.environ | (environment or {}),
                start_new_session=True,
            )
        return cls(popen, log)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def terminate(self, timeout: float = 20.0) -> int:
        """Ask it to end, wait, and return its exit code."""
        self.popen.terminate()
        wait_until(lambda: not self.is_running(), "the process ends on SIGTERM", timeout, self.tail)
        return self.popen.returncode

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def family(self) -> list[int]:
        """Its own id and those of all its descendants."""
        found = [self.pid]
        for parent in found:
            found.extend(children(parent))
        return found

    def freeze(self) -> None:
        for pid in self.family():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """One that goes on may end another before its turn comes."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"--- {self.log.name}", *lines])


def children(pid: int) -> list[int]:
    """Children of every thread: a process started by a worker thread counts as well."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.extend(int(child) for child in path.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended while we were looking
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_broker(pid: int) -> bool:
    """One of our own engines' children, or a mosquitto."""
    command = command_line(pid)
    return "-m broker" in command or "mosquitto" in command
