"""The group on the campaign's stage: supervised as systemd would, each node with a disk and a
wall clock of its own, its core's word written down.

A node that ends is started again after a while, and what it leaves behind is killed first, as
with KillMode=mixed (config/edge.service).
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.history import Died
from tests.campaign.ledger import Ledger
from tests.campaign.plan import HOT, STANDBY
from tests.lan.checker import Ended
from tests.lan.group import Group, child_environment, start_mosquitto
from tests.lan.groupfile import WITNESS, Witness
from tests.lan.namespaces import is_alive, run
from tests.lan.processes import Process, is_broker

RESTART_AFTER = 1.0
DISK_SIZE = "4m"
MOUNTS = Path("/proc/mounts")
DISK = "edgecampaign"
SHARED_MEMORY = Path("/dev/shm")
FAKETIME = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")


@dataclass(slots=True)
class Stage(Group):
    """`deaths` are the ends of processes, `restarts` when who is started again."""

    deaths: list[Died] = field(default_factory=list)
    restarts: dict[str, float] = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    leaves_guards: bool = False
    disks: ExitStack = field(default_factory=ExitStack)
    _holds: Counter[tuple[str, str | int]] = field(default_factory=Counter)

    def prepare(self) -> None:
        """A disk and a clock for each node."""
        for name in self.file.nodes:
            self.disks.enter_context(memory_disk(self.folder / name, DISK_SIZE))
            self.set_clock(name, 0)
            self.ledgers[name] = Ledger(name, self.folder / f"{name}.ledger")

    def close(self) -> None:
        Group.close(self)
        for member in self.file.members:
            self.lan.hosts[member].namespace.kill_all()
        self.disks.close()

    # Who is who at this moment.

    def resolve(self, part: str) -> str:
        """The member that a part of the plan means now."""
        hot = self.hot_node()
        if part == HOT:
            return hot
        if part == STANDBY:
            return next(name for name in self.file.nodes if name != hot)
        return part

    def hot_node(self) -> str:
        """Who is hot by its own word; the first node if nobody is."""
        hots = [name for name in self.file.nodes if self.role(name) == "hot"]
        return hots[0] if hots else self.file.nodes[0]

    def is_whole(self) -> bool:
        """Everybody runs, one node is hot and the others can follow it."""
        hot = self.hot_node()
        standbys = [name for name in self.file.nodes if name != hot]
        return not self.restarts and self.all_running() and self.is_redundant(hot, standbys)

    def brokers_answer(self) -> bool:
        return all(self.observer.is_attached(name) for name in self.file.members)

    # Supervision.

    def supervise(self) -> None:
        """Note who has ended, and start again whose time has come."""
        for name in [each for each in self.processes if not self.processes[each].is_running()]:
            process = self.processes.pop(name)
            self._bury(name, Died(time.monotonic(), name, True, process.popen.returncode))
        for name in [each for each, at in self.restarts.items() if at <= time.monotonic()]:
            del self.restarts[name]
            self.start(name)

    def slay(self, name: str, restart_after: float) -> None:
        """SIGKILL the node's main process; the supervisor does the rest."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        died = Died(time.monotonic(), name)
        process.kill()
        self._bury(name, died, restart_after)

    def _bury(self, name: str, died: Died, restart_after: float = RESTART_AFTER) -> None:
        self.deaths.append(died)
        self.marks.append(Ended(died.at, name))
        if not self.leaves_guards:
            self.lan.hosts[name].namespace.kill_all()
        self.restarts[name] = time.monotonic() + restart_after

    def broker_pids(self, name: str) -> list[int]:
        """The processes of a node's broker; of a foreign witness its only one."""
        process = self.processes.get(name)
        if process is None:
            return []
        if name == WITNESS and self.file.witness is Witness.MOSQUITTO:
            return [process.pid]
        return [pid for pid in process.family() if pid != process.pid and is_broker(pid)]

    # Faults of one kind that overlap are one fault: it ends with the last of them.

    def takes_hold(self, what: tuple[str, str | int]) -> bool:
        """Whether this is the first."""
        self._holds[what] += 1
        return self._holds[what] == 1

    def lets_go(self, what: tuple[str, str | int]) -> bool:
        """Whether this was the last."""
        self._holds[what] -= 1
        return self._holds[what] == 0

    # What belongs to one node alone.

    def disk(self, name: str) -> Path:
        return self.folder / name

    def set_clock(self, name: str, offset: int) -> None:
        """The node's own wall clock, this many seconds off; replaced in one move."""
        fresh = self.folder / f"{name}.clock.new"
        fresh.write_text(f"{offset:+d}\n")
        fresh.replace(self.folder / f"{name}.clock")

    def _launch(self, name: str, text: str) -> Process:
        host, log = self.lan.hosts[name], self.folder / f"{name}.log"
        if name == WITNESS and self.file.witness is Witness.MOSQUITTO:
            return start_mosquitto(host, self.folder / name, log)
        forget_clocks_of_the_dead()
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        ledger = self.folder / f"{name}.ledger"
        command = [sys.executable, "-m", "tests.campaign.node", str(ledger)]
        command += ["run", "--config", str(path), "--node", name]
        return host.start(command, log, child_environment() | self._clock_environment(name))

    def _clock_environment(self, name: str) -> dict[str, str]:
        if name not in self.file.nodes:
            return {}
        return {
            "LD_PRELOAD": str(faketime_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / f"{name}.clock"),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # Else it mends a clock that needs no mending, and Python's threads starve each other.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }


def faketime_library() -> Path | None:
    found = [path for pattern in FAKETIME for path in Path("/").glob(pattern.removeprefix("/"))]
    return found[0] if found else None


def forget_clocks_of_the_dead() -> None:
    """libfaketime names what it shares by process id, leaves it behind when it is killed, and
    refuses to start where a new process gets the id of an old one."""
    for path in SHARED_MEMORY.glob("*faketime_*"):
        owner = path.name.rpartition("_")[2]
        if owner.isdecimal() and not is_alive(int(owner)):
            path.unlink(missing_ok=True)


@contextmanager
def memory_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory. Its name carries its owner's process id, for `sweep_disks`."""
    folder.mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", f"size={size}", f"{DISK}-{os.getpid()}", str(folder)])
    try:
        yield folder
    finally:
        run(["umount", "--lazy", str(folder)])


def sweep_disks() -> None:
    """Unmount what a killed campaign left behind, the innermost first: they go with the outer."""
    for line in reversed(MOUNTS.read_text().splitlines()):
        source, place, *_ = line.split()
        if source.startswith(f"{DISK}-") and not is_alive(int(source.split("-")[1])):
            run(["umount", "--lazy", place])
