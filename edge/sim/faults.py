"""What goes wrong: one drawn fault after the other, at a drawn pace, mostly around the hot node."""

from collections.abc import Callable

from edge.core.events import (
    FitnessChanged,
    Order,
    Ordered,
    PauseOrder,
    PromoteOrder,
    StopOrder,
    SwitchoverOrder,
)
from edge.core.model import Link
from edge.sim import life
from edge.sim.dice import Dice
from edge.sim.host import Host
from edge.sim.links import Loss
from edge.sim.plan import PAIR_POLICIES, Beyond, Fault
from edge.sim.world import World

Strike = Callable[[], None]

# How long a fault lasts, in leases.
SPANS = (0.05, 0.3, 1.0, 1.2, 2.0, 4.0)
BROKER_RESTARTS = (0.02, 0.2, 0.5, 2.0)
UP, DOWN = 0, 1
# Both sides of a connection that somebody resets learn of it within this part of fence_delay;
# the rest is what a guard needs then, see edge.sim.life.
RESETS_WITHIN = 0.4
# Until the consequences of an order are over at the latest, in leases and seconds.
ORDER_LEASES, ORDER_SECONDS = 4.0, 8.0


class Trouble:
    """Draws the faults of one world. Its dice are its own: they depend on nothing else."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dice = Dice(f"faults {world.plan.seed}")
        self._ends_at = 0.0
        self._tickets = 0
        self._strikes: dict[Fault, Strike] = {
            Fault.CUT_LINK: self._cut_link,
            Fault.CUT_HOST: self._cut_host,
            Fault.RESET: self._reset_some,
            Fault.KILL: self._kill,
            Fault.FREEZE: self._freeze,
            Fault.REGISTER: self._restart_register,
            Fault.CLOG: self._clog,
            Fault.SWALLOW: self._swallow,
            Fault.SNAPSHOT: self._reset_some,
            Fault.REFERENCE: self._lose_reference,
            Fault.DUTY: self._fail_duty,
            Fault.ORDER: self._order,
        }

    def begin(self) -> None:
        """The hosts boot one after the other, then the faults come."""
        world, lease = self.world, self.world.timing.lease
        self._ends_at = world.now + world.plan.trouble
        for host in world.hosts.values():
            world.agenda.after(self.dice.between(0, 2) * lease, self._boot, host)
        world.disturb(3 * lease)
        world.agenda.after(3 * lease, self._strike)

    def _strike(self, *_: None) -> None:
        world = self.world
        if world.now >= self._ends_at:
            return
        world.disturb()
        self._strikes[self.dice.pick(world.plan.faults)]()
        pause = self.dice.between(0.1, 2) * world.plan.pace
        world.agenda.after(pause, self._strike)

    def _boot(self, host: Host, _: None) -> None:
        self.world.disturb()
        life.boot(self.world, host)

    def _pick(self) -> Host:
        """Mostly the hot node: faults elsewhere are dull."""
        hot = self.world.hot()
        if hot and self.dice.chance(0.6):
            return self.world.hosts[hot[0]]
        return self.dice.pick(tuple(self.world.hosts.values()))

    def _span(self) -> float:
        duration = self.world.timing.lease * self.dice.pick(SPANS)
        self.world.disturb(duration)
        return duration

    # The network

    def _cut_link(self) -> None:
        world, host = self.world, self._pick()
        link = self.dice.pick(world.network.links[host.name])
        ways = self.dice.pick(((UP,), (DOWN,), (UP, DOWN)))
        duration = self._span()
        if link.broker == host.name:
            return
        world.note("cut {} - {} ways {} for {:.3f} s", host.name, _word(link), ways, duration)
        for way in ways:
            world.network.cut(host.name, link, way, duration)

    def _cut_host(self) -> None:
        """All that runs over one of its cables, or over both, in one direction or in both."""
        world, host, duration = self.world, self._pick(), self._span()
        paths = tuple(range(world.plan.paths))
        if self.dice.chance(0.5):
            paths = (self.dice.pick(paths),)
        sides = self.dice.pick(("in", "out", "both", "both"))
        reaches_router = self.dice.chance(0.5)
        world.note("cut {} off, paths {}, {}, {:.3f} s", host.name, paths, sides, duration)
        for node, link in world.network.wires:
            touches = host.name in {node, link.broker} and node != link.broker
            if touches and link.path in paths:
                outward = UP if node == host.name else DOWN
                ways = {"in": (1 - outward,), "out": (outward,), "both": (UP, DOWN)}[sides]
                for way in ways:
                    world.network.cut(node, link, way, duration)
        if len(paths) == world.plan.paths and not reaches_router:
            self._cut_reference(host, duration)

    def _clog(self) -> None:
        world, duration = self.world, self._span()
        hosts = self.dice.pick((tuple(world.hosts), (self._pick().name,)))
        world.note("clog {} for {:.3f} s", hosts, duration)
        for (node, link), wires in world.network.wires.items():
            if node != link.broker and (node in hosts or link.broker in hosts):
                for wire in wires:
                    world.network.clog(wire, duration)

    def _reset_some(self) -> None:
        """One, two or all of the connections of a host, its own and those to its broker.

        Somebody between resets both sides, soon; a node that is frozen would not learn of it.
        Where no will is trusted nothing depends on that.
        """
        world, host = self.world, self._pick()
        connections = list(host.connections.values())
        connections += [
            each for each in world.network.connections_with(host.name) if each.host is not host
        ]
        chosen = self.dice.shuffled(connections)[: self.dice.pick((1, 1, 2, 99))]
        fence = world.timing.fence_delay
        for each in chosen:
            if not each.host.is_frozen or self._may_reset_frozen():
                world.note("reset {} - {}", each.host.name, _word(each.link))
                each.host.hears_resets_until = world.now + fence
                world.network.reset(each, within=RESETS_WITHIN * fence)

    def _may_reset_frozen(self) -> bool:
        plan = self.world.plan
        return Beyond.FROZEN_RESET in plan.beyond or not plan.group.trust_will

    def _lose_reference(self) -> None:
        hosts = list(self.world.hosts.values())
        duration = self._span()
        for host in hosts if self.dice.chance(0.3) else [self._pick()]:
            self._cut_reference(host, duration)

    def _cut_reference(self, host: Host, duration: float) -> None:
        world = self.world
        if world.asks_references:
            world.note("{} reaches no reference for {:.3f} s", host.name, duration)
            host.reference_back_at = max(host.reference_back_at, world.now + duration)
            world.network.changed()
            world.agenda.after(duration, lambda *_: world.network.changed())

    # Machines and brokers

    def _kill(self) -> None:
        """At once, or between two of the next effects; sometimes the power of the whole site."""
        world, host = self.world, self._pick()
        if self.dice.chance(0.1):
            self._black_out()
            return
        if self.dice.chance(0.4):
            host.dies_after = self.dice.below(12)
            world.disturb(world.timing.lease)
        else:
            life.kill(world, host, resets=self.dice.chance(0.6))
        world.agenda.after(self._span(), self._boot, host)

    def _black_out(self) -> None:
        world = self.world
        world.note("power is gone everywhere")
        for host in world.hosts.values():
            life.kill(world, host, resets=False)
            world.agenda.after(self._span(), self._boot, host)

    def _freeze(self) -> None:
        duration = self._span()
        life.freeze(self.world, self._pick(), duration, with_machine=self.dice.chance(0.3))

    def _restart_register(self) -> None:
        """A broker alone; that of a node comes back with its node's seed only."""
        world = self.world
        name = self.dice.pick(tuple(world.network.registers))
        host = world.hosts.get(name)
        silently = self.dice.chance(0.5)
        with_memory = host is None and world.plan.remembers
        duration = world.timing.lease * self.dice.pick(BROKER_RESTARTS)
        if host is not None and host.state is None:
            return
        world.disturb(duration)
        word = "remembers" if with_memory else "forgets"
        world.note("the broker {} restarts, {}, silently: {}", name, word, silently)
        world.network.stop_register(name, silently=silently)
        world.agenda.after(duration, self._start_register, name, with_memory)

    def _start_register(self, name: str, with_memory: bool) -> None:  # noqa: FBT001  an agenda's argument
        host, register = self.world.hosts.get(name), self.world.network.registers[name]
        if not register.is_up and (host is None or host.state is not None):
            self.world.disturb()
            life.start_register(self.world, name, with_memory=with_memory)

    def _swallow(self) -> None:
        """A broker loses the next record, or its echo, on a connection that stays up."""
        world, host = self.world, self._pick()
        connections = tuple(host.connections.values())
        losses = [Loss.PUBLISH, Loss.ECHO]
        if Beyond.LOST_DELIVERY in world.plan.beyond:
            losses.append(Loss.DELIVERY)
        if connections:
            connection = self.dice.pick(connections)
            connection.loses = self.dice.pick(losses)
            # The echo is missed after a lease, counted from the next record.
            world.disturb(2 * world.timing.lease)
            world.note(
                "{} loses a record of {}: {}", connection.link.broker, host.name, connection.loses
            )

    def _fail_duty(self) -> None:
        """The duty ends by itself; sometimes it will not work again for a while either."""
        world, host = self.world, self._pick()
        world.note("the duty of {} fails", host.name)
        world.disturb(ORDER_LEASES * world.timing.lease + ORDER_SECONDS)
        if self.dice.chance(0.5):
            world.tell(host, FitnessChanged("its duty fails"))
            world.agenda.after(self._span(), _make_fit, (world, host))
        world.withdraw(host)

    # Operators

    def _order(self) -> None:
        world, host = self.world, self._pick()
        order = self._draw_order(host)
        self._tickets += 1
        world.note("{} is ordered: {}", host.name, order)
        world.disturb(ORDER_LEASES * world.timing.lease + ORDER_SECONDS)
        world.tell(host, Ordered(order, self._tickets))
        if isinstance(order, StopOrder):
            world.agenda.after(self._span(), self._boot, host)

    def _draw_order(self, host: Host) -> Order:
        names = tuple(each.name for each in self.world.plan.group.members)
        orders: tuple[Order, ...] = (
            SwitchoverOrder(),
            SwitchoverOrder(self.dice.pick(names)),
            PauseOrder(is_on=self.dice.chance(0.5)),
            PromoteOrder(force=self._may_force(host) and self.dice.chance(0.5)),
            StopOrder(),
        )
        return self.dice.pick(orders)

    def _may_force(self, host: Host) -> bool:
        """With two brokers force can make a second hot node: the operator looks first."""
        if self.world.plan.group.policy not in PAIR_POLICIES:
            return True
        others = (each for each in self.world.hosts.values() if each is not host)
        return all(each.state is None for each in others)


def calm(world: World) -> None:
    """Everything is repaired, everybody runs, no maintenance."""
    world.note("calm")
    world.disturb()
    for wire in {id(wire): wire for pair in world.network.wires.values() for wire in pair}.values():
        wire.clogged_until = world.now
        wire.delay = wire.usual_delay
        world.network.mend(wire)
    for name, register in world.network.registers.items():
        register.frozen_until = world.now
        for connection in register.connections:
            connection.loses = Loss.NONE
        if not register.is_up and name not in world.hosts:
            life.start_register(world, name, with_memory=True)
    for host in world.hosts.values():
        _repair(world, host)


def _repair(world: World, host: Host) -> None:
    host.dies_after = None
    host.returns = host.state is not None and host.state.is_leaving
    host.reference_back_at = world.now
    life.thaw(world, host)
    life.boot(world, host)
    if not world.network.registers[host.name].is_up:
        life.start_register(world, host.name)
    world.tell(host, FitnessChanged(""))
    world.tell(host, Ordered(PauseOrder(is_on=False), 0))


def _make_fit(where: tuple[World, Host], _: None) -> None:
    world, host = where
    world.tell(host, FitnessChanged(""))


def _word(link: Link) -> str:
    return f"{link.broker}/{link.path}"
