"""A LAN of network namespaces: hosts on one or two switches, and everything that can go wrong.

A switch is a bridge in a namespace of its own, so nothing is visible in the machine's own
network. Faults sit in the switch where the hosts must not notice them (a silent cut, loss), and
at the host where they must (a rejecting firewall).
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Literal, Self

from tests.lan.namespaces import Namespace, unique_name
from tests.lan.processes import Process

BRIDGE = "br0"

# With reject, the sender learns at once; with drop, it hears nothing: the harder case.
CutKind = Literal["drop", "reject"]


@dataclass(frozen=True, slots=True)
class Host:
    """A machine of the LAN, with one address on each switch it is connected to."""

    name: str
    namespace: Namespace
    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        return self.addresses[0]

    def start(
        self, command: Sequence[str], log: Path, environment: dict[str, str] | None = None
    ) -> Process:
        return Process.start(self.namespace.command(*command), log, environment)

    def open_process(self, *command: str) -> "Popen[bytes]":
        """A short-lived tool (mosquitto_pub) whose end the caller waits for."""
        return Popen(self.namespace.command(*command))


@dataclass(slots=True)
class Lan:
    """Hosts on switches. Use it as a context manager: leaving removes everything."""

    switch_count: int = 1
    lan_id: str = field(default_factory=lambda: secrets.token_hex(2))
    hosts: dict[str, Host] = field(default_factory=dict)
    switches: list[Namespace] = field(default_factory=list)
    _rules: int = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.close)
            for index in range(self.switch_count):
                self._add_switch(index)
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for namespace in [*(host.namespace for host in self.hosts.values()), *self.switches]:
            namespace.delete()

    def add_host(self, name: str, switches: Sequence[int] = (0,)) -> Host:
        """Plug a new machine in; its last address byte is its number, the same on each switch."""
        number = len(self.hosts) + 1
        addresses = tuple(f"10.77.{index}.{number}" for index in switches)
        host = Host(name, Namespace(unique_name(self.lan_id, name)), addresses)
        self.hosts[name] = host
        host.namespace.create()
        for index, address in zip(switches, addresses, strict=True):
            self.connect(host, index, address)
        return host

    # Faults. Each undoes itself when its block ends, or is undone by name below.

    def unplug(self, host: str, switch: int = 0) -> None:
        """Pull the cable: no packets, and the host's interface loses its carrier."""
        self.switches[switch].ip("link", "set", _port(host), "down")

    def plug(self, host: str, switch: int = 0) -> None:
        self.switches[switch].ip("link", "set", _port(host), "up")

    def power_off(self, host: str) -> None:
        """The machine is gone: silence first, so that no connection is closed politely."""
        for index in self._switches_of(host):
            self.unplug(host, index)
        self.hosts[host].namespace.kill_all()

    def power_on(self, host: str) -> None:
        for index in self._switches_of(host):
            self.plug(host, index)

    @contextmanager
    def silenced(self, host: str, switch: int = 0) -> Iterator[None]:
        """No packet passes, but the host's interface keeps its carrier (a dead switch behind)."""
        rules = f"iifname {_port(host)} drop; oifname {_port(host)} drop;"
        with self._switch_rules(switch, rules):
            yield

    @contextmanager
    def lossy(self, host: str, percent: int, switch: int = 0) -> Iterator[None]:
        """Lose that share of the packets, in each direction, at random."""
        chance = f"numgen random mod 100 < {percent} drop;"
        rules = f"iifname {_port(host)} {chance} oifname {_port(host)} {chance}"
        with self._switch_rules(switch, rules):
            yield

    @contextmanager
    def cut(self, one: str, other: str, kind: CutKind = "drop") -> Iterator[None]:
        """Nothing passes between two hosts, in either direction; both still reach all others."""
        with self.cut_one_way(one, other, kind), self.cut_one_way(other, one, kind):
            yield

    @contextmanager
    def cut_one_way(self, source: str, target: str, kind: CutKind = "drop") -> Iterator[None]:
        if kind == "reject":
            with self._rejected(source, target):
                yield
            return
        # By ports: ARP and multicast go too, as at a real cut.
        rules = f"iifname {_port(source)} oifname {_port(target)} drop;"
        with ExitStack() as stack:
            for index in range(self.switch_count):
                stack.enter_context(self._switch_rules(index, rules))
            yield

    @contextmanager
    def _rejected(self, source: str, target: str) -> Iterator[None]:
        """Bounced where the packet leaves, so that a cut in the other direction cannot eat it."""
        rules = " ".join(
            f"ip daddr {address} meta l4proto tcp reject with tcp reset; ip daddr {address} reject;"
            for address in self.hosts[target].addresses
        )
        with self._rules_at(self.hosts[source].namespace, "inet", "output", rules):
            yield

    @contextmanager
    def _switch_rules(self, switch: int, rules: str) -> Iterator[None]:
        with self._rules_at(self.switches[switch], "bridge", "forward", rules):
            yield

    @contextmanager
    def _rules_at(self, where: Namespace, family: str, hook: str, rules: str) -> Iterator[None]:
        self._rules += 1
        table = f"fault{self._rules}"
        chain = f"chain c {{ type filter hook {hook} priority 0; policy accept; {rules} }};"
        where.nft(f"table {family} {table} {{ {chain} }}\n")
        try:
            yield
        finally:
            where.nft(f"delete table {family} {table}\n")

    def _add_switch(self, index: int) -> None:
        switch = Namespace(unique_name(self.lan_id, f"switch{index}"))
        self.switches.append(switch)
        switch.create()
        switch.ip("link", "add", BRIDGE, "type", "bridge")
        switch.ip("link", "set", BRIDGE, "up")

    def connect(self, host: Host, switch: int, address: str) -> None:
        port, interface = _port(host.name), f"eth{switch}"
        peer = ("peer", "name", interface, "netns", host.namespace.name)
        self.switches[switch].ip("link", "add", port, "type", "veth", *peer)
        self.switches[switch].ip("link", "set", port, "master", BRIDGE, "up")
        host.namespace.ip("address", "add", f"{address}/24", "dev", interface)
        host.namespace.ip("link", "set", interface, "up")

    def _switches_of(self, host: str) -> list[int]:
        return [int(address.split(".")[2]) for address in self.hosts[host].addresses]


def _port(host: str) -> str:
    """The switch-side name of a host's cable; interface names hold at most 15 characters."""
    return f"p-{host}"[:15]
