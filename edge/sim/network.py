"""Connections: how they begin, carry messages, fall silent, break, and are tried again.

Each side ends a connection by its own knowledge: a node by silence or a reset, a broker by the
keep-alive. What was under way when the node gave up still arrives before the broker hears of it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from edge.core.events import Event, LinkLost, LinkUp, Subscribed
from edge.core.model import Link
from edge.sim.agenda import Agenda
from edge.sim.dice import Dice
from edge.sim.host import Host
from edge.sim.links import Connection, Pipe, Wire
from edge.sim.plan import Beyond, Fault, Plan
from edge.sim.register import Message, Register, Snapshot

LOCAL_DELAY = 0.0005
# As the product's links do: seconds, whatever the lease.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
CLOGGED = 10.0


class Network:
    """Every wire and connection. `tell` gives an event to a host at once."""

    def __init__(
        self, agenda: Agenda, plan: Plan, dice: Dice, tell: Callable[[Host, Event], None]
    ) -> None:
        self.agenda = agenda
        self.plan = plan
        self.dice = dice
        self.registers: dict[str, Register] = {
            name: Register(name, self.arrive) for name in plan.group.brokers
        }
        self.wires: dict[tuple[str, Link], tuple[Wire, Wire]] = {}
        self.links: dict[str, tuple[Link, ...]] = {}
        # Called after what may change who can reach whom.
        self.changed: Callable[[], None] = lambda: None
        self._tell = tell
        self._snapshots = _snapshots(plan)

    def attach(self, hosts: Iterable[Host]) -> None:
        """Lay the wires. Links are shared objects, so that to compare them costs nothing."""
        paths = range(self.plan.paths)
        every = {name: tuple(Link(name, path) for path in paths) for name in self.registers}
        for host in hosts:
            own = [
                link for name in self.registers for link in every[name][: self._paths(host, name)]
            ]
            self.links[host.name] = tuple(own)
            for link in own:
                delay = LOCAL_DELAY if link.broker == host.name else self.plan.delay
                self.wires[host.name, link] = (Wire(delay, delay), Wire(delay, delay))

    def _paths(self, host: Host, broker: str) -> int:
        """A node has its addresses; its own broker, and a witness, has one."""
        is_far_node = broker != host.name and broker in {
            each.name for each in self.plan.group.members if each.can_be_hot
        }
        return self.plan.paths if is_far_node else 1

    # Wires

    def cut(self, node: str, link: Link, way: int, duration: float) -> None:
        """Way 0 is up, to the broker; way 1 is down."""
        self.hold(self.wires[node, link][way], duration)

    def hold(self, wire: Wire, duration: float) -> None:
        """Nothing gets through for so long; a longer cut that is there already stays."""
        until = self.agenda.now + duration
        if until > wire.cut_until:
            wire.cut_until = until
            self.agenda.at(until, self._mend, wire, until)
        self.changed()

    def _mend(self, wire: Wire, until: float) -> None:
        if wire.cut_until <= until:
            self.mend(wire)

    def mend(self, wire: Wire) -> None:
        wire.cut_until = self.agenda.now
        for pipe in wire.pipes:
            pipe.flush()
        self.changed()

    def clog(self, wire: Wire, duration: float) -> None:
        wire.delay = CLOGGED * wire.usual_delay
        wire.clogged_until = max(wire.clogged_until, self.agenda.now + duration)
        self.agenda.at(wire.clogged_until, self._unclog, wire, wire.clogged_until)
        self.changed()

    def _unclog(self, wire: Wire, until: float) -> None:
        if wire.clogged_until <= until:
            wire.delay = wire.usual_delay
            self.changed()

    def is_whole(self, node: str, link: Link) -> bool:
        now = self.agenda.now
        return all(wire.cut_until <= now for wire in self.wires[node, link])

    # How a connection begins

    def connect_all(self, host: Host) -> None:
        for link in self.links[host.name]:
            self._connect_soon(host, link)

    def _connect_soon(self, host: Host, link: Link) -> None:
        if link in host.connecting or host.state is None:
            return
        host.connecting.add(link)
        pause = host.pauses.get(link, FIRST_PAUSE)
        host.pauses[link] = min(2 * pause, LONGEST_PAUSE)
        self.agenda.after(pause * self.dice.between(0.5, 1.0), self._connect, host, link)

    def _connect(self, host: Host, link: Link) -> None:
        if host.state is None or link not in host.connecting:
            return
        host.connecting.discard(link)
        register = self.registers[link.broker]
        is_open = self.is_whole(host.name, link) and register.is_up
        if host.is_frozen or not is_open or link in host.connections:
            self._connect_soon(host, link)
        else:
            self._open(host, link, register)

    def _open(self, host: Host, link: Link, register: Register) -> None:
        up, down = (
            Pipe(self.agenda, wire, self.dice.random) for wire in self.wires[host.name, link]
        )
        up.wire.pipes.append(up)
        down.wire.pipes.append(down)
        connection = Connection(host, register, link, host.new_session(), up, down)
        connection.heard_at = connection.register_heard_at = self.agenda.now
        host.connections[link] = connection
        register.connections.append(connection)
        self._tell(host, LinkUp(link, connection.session))
        up.send(self._subscribe, connection)
        self._watch(connection, None)

    def _subscribe(self, connection: Connection, _: None) -> None:
        register = connection.register
        connection.register_heard_at = self.agenda.now
        register.subscribe(connection, self.dice.pick(self._snapshots))
        connection.down.send(self.arrive, connection, Subscribed(connection.link))

    # How it carries messages

    def arrive(self, connection: Connection, event: Event) -> None:
        """Something reaches the node's side; a frozen node reads it when it thaws."""
        if not connection.is_open:
            return
        host = connection.host
        if host.is_frozen:
            host.backlog.append((self.arrive, connection, event))
            return
        connection.heard_at = self.agenda.now
        self._tell(host, event)

    def send(self, connection: Connection, message: Message) -> None:
        connection.up.send(self._deliver, connection, message)

    def _deliver(self, connection: Connection, message: Message) -> None:
        """Something reaches the broker's side; who is not known there is told so."""
        register = connection.register
        if connection.is_open_at_register:
            connection.register_heard_at = self.agenda.now
            register.publish(message, connection)
        elif register.is_up and connection.is_open:
            connection.down.send(self.lost, connection)

    # How it ends

    def _watch(self, connection: Connection, _: None) -> None:
        """Silence ends it on both sides, each by its own limit. Looked at when it may be due."""
        if not (connection.is_open or connection.is_open_at_register):
            self._bury(connection)
            return
        now, plan = self.agenda.now, self.plan
        patience = max(connection.register_heard_at, connection.register.frozen_until)
        broker_at = patience + 1.5 * plan.keepalive
        if connection.is_open_at_register and now >= broker_at:
            connection.register.lose(connection)
            connection.down.send(self.lost, connection)
            self.changed()
        node_at = connection.heard_at + plan.silence_timeout
        if connection.host.is_frozen:
            node_at = now + plan.silence_timeout
        elif connection.is_open and now >= node_at:
            self.lost(connection, None)
        due = [at for at in (broker_at, node_at) if at > now]
        self.agenda.at(min(due, default=now + plan.silence_timeout), self._watch, connection)

    def _bury(self, connection: Connection) -> None:
        for pipe in (connection.up, connection.down):
            pipe.wire.pipes.remove(pipe)

    def lost(self, connection: Connection, _: Any) -> None:  # noqa: ANN401  an agenda's argument
        """The node's side learns that its connection has ended."""
        host = connection.host
        if not connection.is_open:
            return
        if host.is_frozen:
            host.backlog.append((self.lost, connection, None))
            return
        self.close(connection)
        self._tell(host, LinkLost(connection.link))

    def close(self, connection: Connection) -> None:
        """The node's side ends; its kernel says so, behind what is under way."""
        host = connection.host
        connection.is_open = False
        host.connections.pop(connection.link, None)
        connection.up.send(self.end_at_register, connection)
        self._connect_soon(host, connection.link)
        self.changed()

    def end_at_register(self, connection: Connection, _: None) -> None:
        connection.register.lose(connection)
        self.changed()

    def end_cleanly(self, connection: Connection, _: None) -> None:
        connection.register.lose(connection, publishes_will=False)
        self.changed()

    def give_up(self, host: Host, link: Link) -> None:
        connection = host.connections.get(link)
        if connection is not None:
            self.close(connection)

    def has_settled(self, host: Host, link: Link) -> None:
        """A good connection: when it breaks, the next attempt comes at once."""
        host.pauses.pop(link, None)
        self.changed()

    def reset(self, connection: Connection, *, within: float) -> None:
        """Somebody between resets a connection: both sides learn of it, soon."""
        self.agenda.after(self.dice.between(0, within), self.end_at_register, connection)
        self.agenda.after(self.dice.between(0, within), self.lost, connection)

    def vanish(self, host: Host, *, resets: bool, has_said_good_bye: bool = False) -> None:
        """The agent is gone. Its kernel closes what it had, unless the machine is gone too."""
        end = self.end_cleanly if has_said_good_bye else self.end_at_register
        connections, host.connections = list(host.connections.values()), {}
        host.connecting.clear()
        for connection in connections:
            connection.is_open = False
            if resets:
                connection.up.send(end, connection)
            else:
                connection.up.waiting.clear()

    def stop_register(self, name: str, *, silently: bool) -> None:
        """A broker's process ends, or `silently` its machine: then nobody is told."""
        register = self.registers[name]
        register.is_up = False
        for connection in list(register.connections):
            register.lose(connection, publishes_will=False)
            if silently:
                connection.down.waiting.clear()
            else:
                connection.down.send(self.lost, connection)
        self.changed()

    def connections_with(self, broker: str) -> list[Connection]:
        return list(self.registers[broker].connections)

    def reachable(self, host: Host) -> tuple[str, ...]:
        """The brokers that this host could use now: up, and over some path both ways whole."""
        names = {link.broker: None for link in self.links[host.name] if self._leads(host, link)}
        return tuple(names)

    def _leads(self, host: Host, link: Link) -> bool:
        return self.registers[link.broker].is_up and self.is_whole(host.name, link)


def _snapshots(plan: Plan) -> tuple[Snapshot, ...]:
    """The ways in which a snapshot is handed out in this plan, one drawn for each."""
    ways: tuple[Snapshot, ...] = (Snapshot.USUAL,)
    if Fault.SNAPSHOT in plan.faults:
        ways = (*ways, Snapshot.USUAL, Snapshot.LATE, Snapshot.TWICE, Snapshot.REVERSED)
    if Beyond.STALE_SNAPSHOT in plan.beyond:
        ways = (*ways, Snapshot.STALE)
    return ways
