"""Who can reach whom, in true time: what the checks of a cut-off node and of a pair need."""

from itertools import permutations
from math import inf

from edge.core.model import Policy
from edge.sim.agenda import Agenda
from edge.sim.host import Host
from edge.sim.network import Network


class Reach:
    """Looked at once for each instant at which something changed."""

    def __init__(self, agenda: Agenda, network: Network, hosts: tuple[Host, ...]) -> None:
        self._agenda = agenda
        self._network = network
        self._hosts = hosts
        self._group = network.plan.group
        self._is_asked = False
        self._open: dict[str, frozenset[object]] = {}
        # Whether a cut or a clogged wire has come between two hosts that have not met since.
        self.is_apart = False
        self.together_since = -inf
        self.apart_since = -inf
        network.changed = self.ask

    def ask(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            self._agenda.at(self._agenda.now, self._look)

    def _look(self, *_: None) -> None:
        self._is_asked = False
        for host in self._hosts:
            before, now = self._open.get(host.name, frozenset()), self._all_open(host)
            self._open[host.name] = now
            # A record that was stuck may still be confirmed by a broker that is back, or over a
            # wire that is, although the other direction is cut by now.
            is_new = not before >= now
            if not self._is_cut_off(host):
                host.cut_off_at = inf
            elif host.cut_off_at == inf or is_new:
                host.cut_off_at = self._agenda.now
        if self._group.policy is Policy.AVAILABILITY:
            self._look_at_pair()

    def _all_open(self, host: Host) -> frozenset[object]:
        """The brokers within reach, and each direction that is whole."""
        wires = (
            wire
            for (name, _), both in self._network.wires.items()
            if name == host.name
            for wire in both
        )
        whole = {id(wire) for wire in wires if wire.cut_until <= self._agenda.now}
        return frozenset({*self._network.reachable(host), *whole})

    def _is_cut_off(self, host: Host) -> bool:
        """Less than a majority within reach; with policy availability no reference either."""
        if len(self._network.reachable(host)) >= self._group.quorum:
            return False
        is_alone = host.reference_back_at > self._agenda.now
        return is_alone or self._group.policy is not Policy.AVAILABILITY

    def _look_at_pair(self) -> None:
        if not all(self._is_smooth(*pair) for pair in permutations(self._hosts, 2)):
            if not self.is_apart:
                self.apart_since = self._agenda.now
            self.is_apart = True
        elif self.is_apart and self._have_met():
            self.is_apart = False
            self.together_since = self._agenda.now

    def _is_smooth(self, host: Host, other: Host) -> bool:
        """Some path to the other's broker is whole, both ways, and not clogged."""
        return any(
            wires[0].clogged_until <= self._agenda.now
            and wires[1].clogged_until <= self._agenda.now
            and self._network.is_whole(host.name, link)
            for (name, link), wires in self._network.wires.items()
            if name == host.name and link.broker == other.name
        )

    def _have_met(self) -> bool:
        """Each hears the other's broker, or one of them is not running."""
        if any(host.state is None for host in self._hosts):
            return True
        return all(self._hears(*pair) for pair in permutations(self._hosts, 2))

    def _hears(self, host: Host, other: Host) -> bool:
        return not host.is_frozen and any(
            each.is_open and each.is_subscribed
            for link, each in host.connections.items()
            if link.broker == other.name
        )
