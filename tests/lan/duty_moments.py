"""A group whose duty can be stopped at each moment of a planned switchover, and the faults there.

Most moments are gates: the part of the duty that runs just then reports and waits (duty_part.py).
Where nothing of the duty's own runs, the fault follows on what an outsider sees: a frame, a record
at a broker, the kernel's word about an address or a lock.
"""

import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from subprocess import Popen  # noqa: TC003 - as in tests.lan.harness
from typing import Any

from edge.duty.guard.netlink import parse
from tests.campaign.duty_watch import DutyWatch, watching
from tests.lan.deadline import SCALE, wait_until
from tests.lan.group import OUTSIDER, Group
from tests.lan.groupfile import PORT
from tests.lan.observer import Delivered
from tests.lan.processes import children, command_line

PART = Path(__file__).with_name("duty_part.py")
ETHERTYPE_ARP = 0x0806
# Seen is acted upon within so many seconds: the moment must not be over.
GLANCE = 0.0005

DUTY = """
[[duty.address]]
address = "{address}/24"
interface = "eth0"

[[duty.process]]
name = "warmer"
command = {warmer}
run_on = "standby"
stop_timeout = 60

[[duty.process]]
name = "pump"
command = {pump}
stop_timeout = 60
start_timeout = 60
health = {{ command = {health}, timeout = 60 }}

[[duty.hook]]
may_switch = {may_switch}
on_hot = {on_hot}
on_standby = {on_standby}
timeout = 60
"""


class Fault(StrEnum):
    AGENT_KILLED = "agent killed"
    AGENT_FROZEN = "agent frozen"
    GUARD_KILLED = "guard killed"
    GUARD_FROZEN = "guard frozen"
    BOTH_KILLED = "both killed"
    BOTH_FROZEN = "both frozen"

    @property
    def spares_agent(self) -> bool:
        return self in {Fault.GUARD_KILLED, Fault.GUARD_FROZEN}

    @property
    def kills_agent(self) -> bool:
        return self in {Fault.AGENT_KILLED, Fault.BOTH_KILLED}


@dataclass(slots=True)
class Stage:
    """The group, its gates, and who watches the address."""

    group: Group
    address: str
    watch: DutyWatch
    lock: int
    gates: set[Path] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        return self.group.folder

    # Gates

    def close_gate(self, node: str, moment: str) -> Path:
        gate = self.folder / f"{node}.{moment}"
        os.mkfifo(gate)
        self.gates.add(gate)
        return gate.with_name(f"{gate.name}.reached")

    def open_gates(self) -> None:
        """Whoever waits goes on; nobody waits any more."""
        while self.gates:
            gate = self.gates.pop()
            reached = gate.with_name(f"{gate.name}.reached")
            gate.unlink(missing_ok=True)
            with suppress(OSError):  # nobody came, or he was killed there
                os.close(os.open(reached, os.O_WRONLY | os.O_NONBLOCK))
            reached.unlink(missing_ok=True)

    # What outsiders see

    def holds_address(self, node: str) -> bool:
        return self.address in self.group.lan.hosts[node].namespace.ip("-4", "address", "show")

    def pumps(self, node: str) -> list[int]:
        return self._running(node, "duty-pump")

    def _running(self, node: str, part: str) -> list[int]:
        pids = self.group.lan.hosts[node].namespace.pids()
        return [pid for pid in pids if part in command_line(pid).split()]

    def does_duty(self, node: str) -> bool:
        state = self.group.own_state(node)
        says_so = (state.get("role"), state.get("duty")) == ("hot", "on")
        return says_so and self.holds_address(node) and len(self.pumps(node)) == 1

    def does_nothing(self, node: str) -> bool:
        return not self.holds_address(node) and not self.pumps(node)

    def process_overlaps(self) -> list[str]:
        path = self.folder / "overlaps"
        return path.read_text().split() if path.exists() else []

    def nobody_has_the_lock(self) -> bool:
        """Asked by taking it for a moment, when nothing is about to be started."""
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self.lock, fcntl.LOCK_UN)
        return True

    def heard(self, topic: str) -> Callable[[], list[dict[str, Any]]]:
        """Asked again and again: what else came on that topic, at any broker, from now on."""
        entries, full, count = self.group.observer.entries, self.group.topic(topic), [0]
        count[0] = len(entries)

        def more() -> list[dict[str, Any]]:
            fresh = entries[count[0] :]
            count[0] += len(fresh)
            news = (each for each in fresh if isinstance(each, Delivered) and each.payload)
            return [json.loads(each.payload) for each in news if each.topic == full]

        return more

    def record_seen(self, kind: str, node: str) -> Callable[[], bool]:
        """A record on any broker, from now on."""
        records = self.heard("lease")
        return lambda: any((each["kind"], each["node"]) == (kind, node) for each in records())

    def switch_over(self, to: str, come: Callable[[], object], moment: str) -> None:
        """Order it and look until the moment has come; a node that has just woken may still
        refuse, then it is ordered again. Looked at so often that the moment is not over yet."""
        answers, until = self.heard("response/switchover"), time.monotonic() + 20 * SCALE
        order = self._order(to)
        while not come():
            assert time.monotonic() < until, f"never: {moment}\n{self.group.explain()}"
            is_refused = any(each["status"] == "error" for each in answers())
            if is_refused or order.poll():
                order.wait()
                order = self._order(to)
            time.sleep(GLANCE)
        order.wait()

    def _order(self, to: str) -> "Popen[bytes]":
        """Not waited for: the first moments come before the tool has ended."""
        host, topic = self.group.lan.hosts[to], self.group.topic("request/switchover")
        command = ("mosquitto_pub", "-q", "1", "-h", host.address, "-p", str(PORT))
        words = ("-t", topic, "-m", json.dumps({"to": to}))
        return self.group.lan.hosts[OUTSIDER].open_process(*command, *words)

    # Who is who

    def hot_and_standby(self) -> tuple[str, str]:
        """Once all is well; what a failed case has left behind is mended first."""
        self.open_gates()
        one, other = self.group.file.nodes
        for name in (one, other):
            if name in self.group.processes:
                self.group.processes[name].thaw()
            else:
                self.group.start(name)
        self.group.wait_for(lambda: self.is_well(one, other), "a hot node and a ready one", 60)
        return (one, other) if self.does_duty(one) else (other, one)

    def is_well(self, *nodes: str) -> bool:
        doing = [each for each in nodes if self.does_duty(each)]
        idle = [each for each in nodes if self.does_nothing(each) and self._running(each, "warmer")]
        return len(doing) == len(idle) == 1 and self.group.is_redundant(doing[0], idle)

    def guard_of(self, node: str) -> int:
        """The agent's child that runs nothing but the guard. The kernel's list of children may
        miss one while others come and go."""
        found: list[int] = []

        def look() -> list[int]:
            every = children(self.group.processes[node].pid)
            found[:] = [pid for pid in every if "edge.duty.guard.main" in command_line(pid)]
            return found

        wait_until(look, f"{node} has a guard", 20, self.group.explain)
        return found[0]

    # Faults

    def strike(self, node: str, fault: Fault, guard: int) -> None:
        agent = self.group.processes[node].pid
        match fault:
            case Fault.AGENT_KILLED:
                self.group.kill(node)
            case Fault.AGENT_FROZEN:
                self.group.freeze(node, whole_machine=False)
            case Fault.GUARD_KILLED:
                os.kill(guard, signal.SIGKILL)
            case Fault.GUARD_FROZEN:
                os.kill(guard, signal.SIGSTOP)
            case Fault.BOTH_KILLED:  # frozen first, or the agent would sweep after its guard
                os.kill(agent, signal.SIGSTOP)
                os.kill(guard, signal.SIGKILL)
                self.group.kill(node)
            case Fault.BOTH_FROZEN:
                self.group.freeze(node, whole_machine=False)
                os.kill(guard, signal.SIGSTOP)

    def mend(self, node: str, fault: Fault) -> None:
        if fault.kills_agent:
            self.group.start(node)
        elif not fault.spares_agent:
            self.group.thaw(node)


@contextmanager
def asked_for(stage: Stage) -> Iterator[Callable[[], bool]]:
    """An outsider has the address, so the next holder's question lasts; whether it was asked."""
    host = stage.group.lan.hosts[OUTSIDER]
    packed, _ = parse(stage.address)
    with host.namespace.entered():
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ARP))
    sniffer.setblocking(False)
    sniffer.bind(("eth0", ETHERTYPE_ARP))

    def is_asked() -> bool:
        with suppress(BlockingIOError):
            frame = sniffer.recv(200)
            return frame[28:32] == bytes(4) and frame[38:42] == packed
        return False

    host.namespace.ip("address", "add", f"{stage.address}/32", "dev", "eth0")
    try:
        yield is_asked
    finally:
        host.namespace.ip("address", "del", f"{stage.address}/32", "dev", "eth0")
        sniffer.close()


@contextmanager
def duty_stage(group: Group) -> Iterator[Stage]:
    """The group, running, one node hot with everything."""
    network = group.lan.hosts["white"].address.rsplit(".", 1)[0]
    address = f"{network}.200"
    parts = ("warmer", "duty-pump", "health", "may_switch", "on_hot", "on_standby")
    commands = {each.removeprefix("duty-"): json.dumps(_part(group.folder, each)) for each in parts}
    group.file.more = DUTY.format(address=address, **commands)
    nodes = {name: group.lan.hosts[name].namespace for name in group.file.nodes}
    with ExitStack() as stack:
        lock = os.open(group.folder / "lock", os.O_RDWR | os.O_CREAT)
        stack.callback(os.close, lock)
        watch = stack.enter_context(watching(f"{address}/24", nodes))
        stage = Stage(group, address, watch, lock)
        stack.callback(stage.open_gates)
        group.start_redundant("white")
        wait_until(lambda: stage.does_duty("white"), "the duty runs", 20, group.explain)
        yield stage


def _part(folder: Path, name: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(PART), str(folder), name]
