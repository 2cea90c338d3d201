"""What the tests of the guard play on: stand-ins of agents, machines that are namespaces."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from edge.duty.guard import cgroup
from tests.lan.deadline import wait_until
from tests.lan.namespaces import LanError, Namespace, unique_name

ROOT = Path(__file__).parents[2]
GROUP = f"test{os.getpid()}"
_numbers = count(1)

News = dict[str, Any]


def unique_group() -> str:
    return f"{GROUP}-{next(_numbers)}"


class Agent:
    """A stand-in of an agent with its guard, as processes of their own."""

    def __init__(
        self, namespace: Namespace | None = None, group: str = "", wrapper: Sequence[str] = ()
    ) -> None:
        command = [*wrapper, sys.executable, "-m", "tests.duty.stand_in"]
        self.group = group or unique_group()
        self._process = subprocess.Popen(
            namespace.command(*command) if namespace else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self.news: list[News] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.guard = 0
        self.uses_cgroups = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def order(self, do: str, **more: object) -> News:
        """Give an order and wait for its outcome."""
        seen = len(self.news)
        self.send(do, **more)
        self.wait(lambda news: "done" in news or "refused" in news, do, seen)
        return {key: value for news in self.news[seen:] for key, value in news.items()}

    def send(self, do: str, **more: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        self._process.stdin.flush()

    def start(self, **settings: object) -> News:
        begin = {"group": self.group, "node": "white", "boot": "b1", "lease": 1.0}
        begin |= {"fence_delay": 0.1, "addresses": []}
        outcome = self.order("start", **begin | settings)
        self.guard = outcome.get("guard", 0)
        return outcome

    def hold(self, address: str, interface: str = "lan") -> News:
        return self.order("hold_address", address=address, interface=interface)

    def spawn(self, name: str, *argv: str, **more: object) -> int:
        outcome = self.order("spawn", name=name, argv=argv, **more)
        assert "pid" in outcome, outcome
        return int(outcome["pid"])

    def wait(self, is_it: Callable[[News], object], what: str, since: int = 0) -> News:
        wait_until(lambda: any(map(is_it, self.news[since:])), what, explain=self.explain)
        return next(filter(is_it, self.news[since:]))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait_dead(self) -> None:
        self._process.wait()

    def explain(self) -> str:
        return "\n".join(map(str, self.news))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self.guard and is_guard(self.guard):
            os.kill(self.guard, signal.SIGKILL)
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        for process in marked(self.group):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        path = cgroup.folder(self.group, "white")
        if path is not None:
            cgroup.remove(path)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.news.append(json.loads(line))


def marked(group: str) -> list[psutil.Process]:
    """Every living process that some guard of this group started, and its descendants."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            is_alive = process.status() != psutil.STATUS_ZOMBIE
            if is_alive and process.environ().get("EDGE_DUTY", "").startswith(f"{group}/"):
                found.append(process)
    return found


def cgroups_work() -> bool:
    """Whether the guard can have control groups of its own here."""
    path = cgroup.folder(GROUP, "probe")
    if path is not None:
        cgroup.remove(path)
    return path is not None


def is_guard(pid: int) -> bool:
    try:
        return any("edge.duty.guard" in each for each in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass
class Machine:
    """A namespace with one interface, `lan`, at the switch."""

    name: str
    address: str
    namespace: Namespace
    switch: Namespace
    agents: list[Agent] = field(default_factory=list)

    def plug_in(self) -> None:
        """A new interface, and a new cable to the switch."""
        ours = ("name", "lan", "netns", self.namespace.name)
        self.switch.ip("link", "add", "name", self.name, "type", "veth", "peer", *ours)
        self.switch.ip("link", "set", self.name, "master", "switch", "up")
        self.namespace.ip("link", "set", "lan", "up")
        self.namespace.ip("address", "add", self.address, "dev", "lan")

    def agent(self, *, wrapper: Sequence[str] = (), **settings: object) -> Agent:
        agent = Agent(self.namespace, str(settings.pop("group", "")), wrapper)
        self.agents.append(agent)
        agent.start(**settings)
        return agent

    def socket(
        self,
        family: socket.AddressFamily = socket.AF_INET,
        kind: socket.SocketKind = socket.SOCK_STREAM,
    ) -> socket.socket:
        with self.namespace.entered():
            return socket.socket(family, kind)

    def addresses(self) -> set[str]:
        with suppress(LanError):  # the interface may be gone for a while
            listed = json.loads(self.namespace.ip("-j", "address", "show", "dev", "lan"))
            found = (each for link in listed for each in link.get("addr_info", ()))
            return {f"{each['local']}/{each['prefixlen']}" for each in found}
        return set()

    def mac(self) -> str:
        return str(json.loads(self.namespace.ip("-j", "link", "show", "dev", "lan"))[0]["address"])


@contextmanager
def lan() -> Iterator[tuple[Machine, Machine, Machine]]:
    """Three machines at a switch, with 10.9.0.1/24 and so on."""
    lan_id = f"duty{next(_numbers)}"
    switch = Namespace(unique_name(lan_id, "switch"))
    white, black, outside = (
        Machine(name, f"10.9.0.{number}/24", Namespace(unique_name(lan_id, name)), switch)
        for number, name in enumerate(("white", "black", "outside"), start=1)
    )
    machines = (white, black, outside)
    try:
        switch.create()
        switch.ip("link", "add", "name", "switch", "type", "bridge", "mcast_snooping", "0")
        switch.ip("link", "set", "switch", "up")
        for machine in machines:
            machine.namespace.create()
            machine.plug_in()
        yield machines
    finally:
        for machine in machines:
            for agent in machine.agents:
                agent.close()
            machine.namespace.delete()
        switch.delete()
