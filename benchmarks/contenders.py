"""Those who are compared, each on a LAN of its own: edge and keepalived, with the same faults.

A contender is two nodes, `white` and `black`, and a client; one node holds the role, the other
could follow.
"""

import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from pathlib import Path

from benchmarks.probe import Probe
from benchmarks.report import JUDGED_TOPICS
from tests.lan.deadline import wait_until
from tests.lan.group import OUTSIDER, Group
from tests.lan.groupfile import GroupFile
from tests.lan.harness import Host, Lan
from tests.lan.namespaces import LanError
from tests.lan.observer import Observer
from tests.lan.processes import Process  # noqa: TC001  one import for all of them

NODES = ("white", "black")
# keepalived's skew time grows as the priority falls: these two make it as fast as it can be.
PRIORITIES = {"white": 254, "black": 253}
ADDRESS = "10.77.0.100"
KEEPALIVED = """\
global_defs {{
    router_id {name}
    vrrp_version 3
}}
vrrp_instance service {{
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int {interval:g}
    virtual_ipaddress {{
        {address}/24 dev eth0
    }}
}}
"""
DUTY = f'[[duty.address]]\naddress = "{ADDRESS}/24"\ninterface = "eth0"\n'


class Contender(ABC):
    """What a run does to any of them."""

    def __init__(self, lan: Lan, folder: Path) -> None:
        self.lan = lan
        self.folder = folder
        self.processes: dict[str, Process] = {}
        self.responders: dict[str, Process] = {}

    @abstractmethod
    def start_all(self) -> None:
        """One holds the role, the other is ready to follow."""

    @abstractmethod
    def start(self, name: str) -> None:
        """The product on one node, which has none."""

    @abstractmethod
    def wait_ready(self, hot: str, standby: str) -> None:
        """Until the next fault may come."""

    @abstractmethod
    def targets(self) -> Mapping[Host, Sequence[str]]:
        """Whom the probe asks: from the client, and on each node."""

    @abstractmethod
    def responder_options(self, name: str) -> list[str]:
        """How the responder knows whether its node acts."""

    @abstractmethod
    def look_away(self) -> None:
        """End whatever watches, so that only the product costs anything."""

    @property
    def client(self) -> Host:
        return self.lan.hosts[OUTSIDER]

    def start_responder(self, name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.responder", name]
        command += self.responder_options(name)
        log = self.folder / f"responder-{name}.log"
        self.responders[name] = self.lan.hosts[name].start(command, log)

    # Faults: each returns when it began.

    def kill(self, hot: str) -> float:
        """What a crash of the product is."""
        return self.kill_all(hot)

    def kill_all(self, hot: str) -> float:
        """Every process of the product at once, as nothing but a crash of the machine's RAM would
        be worse; the machine itself, and the service behind the role, live."""
        process = self.processes.pop(hot)
        family = process.family()
        at = time.monotonic()
        for pid in reversed(family):  # a parent's death would tell its children to tidy up
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.popen.wait()
        return at

    def terminate(self, hot: str) -> float:
        at = time.monotonic()
        self.processes.pop(hot).popen.terminate()
        return at

    def cable(self, hot: str) -> float:
        at = time.monotonic()
        self.lan.unplug(hot)
        return at

    def power(self, hot: str) -> float:
        at = time.monotonic()
        self.lan.power_off(hot)
        self.processes.pop(hot).popen.wait()
        self.responders.pop(hot).popen.wait()
        return at

    def repair(self, hot: str) -> None:
        """Whatever the fault was: the cable is in, and everything of that node runs."""
        self.lan.plug(hot)
        if hot not in self.responders:
            self.start_responder(hot)
        if hot not in self.processes:
            self.start(hot)

    def family(self, name: str) -> list[int]:
        """The processes of the product on one node."""
        return self.processes[name].family()


class EdgeBy(StrEnum):
    """How the client finds edge's hot node: whose responder answers while its own broker says
    that its role is hot, or who has the virtual address."""

    ROLE = "role"
    ADDRESS = "address"


class Edge(Contender):
    """edge with a plain Mosquitto as witness."""

    def __init__(
        self, lan: Lan, folder: Path, observer: Observer, profile: str, by: EdgeBy
    ) -> None:
        super().__init__(lan, folder)
        self._by = by
        duty = DUTY if by is EdgeBy.ADDRESS else ""
        file = GroupFile(nodes=NODES, profile=profile, more=duty)
        self.group = Group(lan, observer, folder, file, topic_filters=JUDGED_TOPICS)
        self.processes = self.group.processes

    def start_all(self) -> None:
        self.group.start_redundant(NODES[0])

    def start(self, name: str) -> None:
        self.group.start(name)

    def wait_ready(self, hot: str, standby: str) -> None:
        self.group.wait_redundant(hot, standby)

    def targets(self) -> Mapping[Host, Sequence[str]]:
        hosts = self.lan.hosts
        if self._by is EdgeBy.ADDRESS:
            return dict.fromkeys((self.client, *(hosts[name] for name in NODES)), (ADDRESS,))
        everyone = tuple(hosts[name].address for name in NODES)
        own = {hosts[name]: (hosts[name].address,) for name in NODES}
        return {self.client: everyone, **own}

    def kill(self, hot: str) -> float:
        """The agent alone, which with a duty is what the guard is there for; its broker notices
        by itself. Of guard and agent killed at once docs/benchmarks.md tells."""
        if self._by is EdgeBy.ROLE:
            return super().kill(hot)
        process = self.processes.pop(hot)
        at = time.monotonic()
        process.popen.kill()
        process.popen.wait()
        return at

    def look_away(self) -> None:
        self.group.observer.stop()

    def responder_options(self, name: str) -> list[str]:
        if self._by is EdgeBy.ADDRESS:
            return []
        return ["--role-topic", self.group.topic(f"node/{name}/role")]


class Keepalived(Contender):
    """VRRP 3 by multicast, no fail-back, everything else as it comes."""

    def __init__(self, lan: Lan, folder: Path, interval: float) -> None:
        super().__init__(lan, folder)
        self._interval = interval
        self._log_starts: dict[str, int] = {}
        for name in (*NODES, OUTSIDER):
            lan.add_host(name)

    def start_all(self) -> None:
        """The better one alone first, so that it is clear who holds the address."""
        one, other = NODES
        self.start(one)
        wait_until(lambda: self._said(one, "Entering MASTER STATE"), f"{one} holds the address")
        self.start(other)
        self.wait_ready(one, other)

    def start(self, name: str) -> None:
        """A killed one leaves the address behind: whoever starts it again must clean up first."""
        with suppress(LanError):
            host = self.lan.hosts[name].namespace
            host.ip("address", "del", f"{ADDRESS}/24", "dev", "eth0")
        home = self.folder / name
        home.mkdir(exist_ok=True)
        for left_behind in home.glob("*.pid"):
            left_behind.unlink()
        text = KEEPALIVED.format(
            name=name, priority=PRIORITIES[name], interval=self._interval, address=ADDRESS
        )
        (home / "keepalived.conf").write_text(text)
        command = ["keepalived", "--dont-fork", "--log-console", "--log-detail", "--no-syslog"]
        command += ["--vrrp", f"--use-file={home}/keepalived.conf"]
        command += [f"--pid={home}/main.pid", f"--vrrp_pid={home}/vrrp.pid"]
        self._forget_log(name)
        self.processes[name] = self.lan.hosts[name].start(command, self._log(name))

    def repair(self, hot: str) -> None:
        self._forget_log(hot)
        super().repair(hot)

    def wait_ready(self, hot: str, standby: str) -> None:
        del hot
        words = "Entering BACKUP STATE"
        wait_until(lambda: self._said(standby, words), f"{standby} stands by", 20, self._logs)

    def targets(self) -> Mapping[Host, Sequence[str]]:
        hosts = (self.client, *(self.lan.hosts[name] for name in NODES))
        return dict.fromkeys(hosts, (ADDRESS,))

    def look_away(self) -> None:
        """Nothing does."""

    def responder_options(self, name: str) -> list[str]:
        del name
        return []

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _forget_log(self, name: str) -> None:
        log = self._log(name)
        self._log_starts[name] = log.stat().st_size if log.exists() else 0

    def _said(self, name: str, words: str) -> bool:
        with self._log(name).open("rb") as log:
            log.seek(self._log_starts[name])
            return words.encode() in log.read()

    def _logs(self) -> str:
        return "\n".join(process.tail() for process in self.processes.values())


# What the file of a row calls them, and how they are made.
PROFILES = {"edge normal": "normal", "edge fast": "fast"}
INTERVALS = {"keepalived 1 s": 1.0, "keepalived 0.1 s": 0.1, "keepalived 0.01 s": 0.01}
NAMES = (*INTERVALS, *PROFILES)
REFERENCE = "keepalived 1 s"


@contextmanager
def started(name: str, folder: Path, by: EdgeBy) -> Iterator[tuple[Contender, Probe]]:
    """A contender that is ready for a fault, and the probe that watches it."""
    with ExitStack() as stack:
        lan = stack.enter_context(Lan())
        contender: Contender
        if name in PROFILES:
            observer = stack.enter_context(Observer())
            contender = Edge(lan, folder, observer, PROFILES[name], by)
        else:
            contender = Keepalived(lan, folder, INTERVALS[name])
        for node in NODES:
            contender.start_responder(node)
        contender.start_all()
        probe = stack.enter_context(Probe(contender.targets()))
        wait_until(lambda: probe.holders() == {NODES[0]}, f"{name}: {NODES[0]} answers", 20)
        yield contender, probe


def holder(probe: Probe) -> str:
    """The one that holds the role, once it is one and both could answer."""
    wait_until(lambda: all(probe.is_present(name) for name in NODES), "both responders are there")
    wait_until(lambda: len(probe.holders()) == 1, "one node answers")
    return probe.holders().pop()
