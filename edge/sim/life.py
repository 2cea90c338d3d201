"""How hosts and brokers begin, freeze and end."""

from math import inf
from typing import TYPE_CHECKING

from edge.core.events import RecordSeen, WillSeen, Woke
from edge.core.model import Kind, Link, Record, RecordId
from edge.core.step import start
from edge.sim.host import NEVER, Host

if TYPE_CHECKING:
    from edge.sim.world import World

# The digest of the group file: all have the same one.
CONFIG = "same"
# Of fence_delay: in this time the guard of an agent that dies, or that is told to stop without
# a switchover, has withdrawn everything.
GUARD_WITHDRAWS_WITHIN = 0.5


def boot(world: "World", host: Host) -> None:
    """A new life with what the disk has; its broker begins with its seed."""
    if host.state is not None:
        return
    host.boot += 1
    host.said, host.dies_after, host.is_frozen, host.returns = (), None, False, False
    host.wake_at, host.is_acting = inf, False
    host.backlog.clear()
    world.note("{} boots, life {}", host.name, host.boot)
    start_register(world, host.name)
    clock = host.clock(world.now)
    host.state = start(host.name, world.plan.group, CONFIG, host.disk, clock, world.dice.random())
    world.network.connect_all(host)
    if world.asks_references:
        world.check_network(host, host.boot)
    world.tell(host, Woke())


def kill(world: "World", host: Host, *, resets: bool) -> None:
    """The process ends and its kernel closes what it had; without `resets` power is gone.

    A guard whose agent has died withdraws everything by itself, at once but not in no time.
    """
    if host.state is None:
        return
    world.note("{} {}", host.name, "is killed" if resets else "loses power")
    ends_at = withdrawn_at(world) if resets else world.now
    _end(world, host, guard_ends_at=ends_at)
    world.network.stop_register(host.name, silently=not resets)
    world.network.vanish(host, resets=resets)


def withdrawn_at(world: "World") -> float:
    """When a guard that has to hurry is done, if it begins now."""
    needs = world.timing.fence_delay * world.dice.between(0, GUARD_WITHDRAWS_WITHIN)
    return world.now + needs


def leave(world: "World", host: Host) -> None:
    """A clean stop: a good-bye on every connection, and no will."""
    world.note("{} leaves", host.name)
    for link, connection in host.connections.items():
        good_bye = WillSeen(link, host.name, connection.session, is_clean=True)
        world.network.send(connection, good_bye)
    _end(world, host, guard_ends_at=world.now)
    world.network.stop_register(host.name, silently=False)
    world.network.vanish(host, resets=True, has_said_good_bye=True)
    if host.returns:
        world.disturb()
        boot(world, host)


def _end(world: "World", host: Host, *, guard_ends_at: float) -> None:
    before, host.state = host.state, None
    host.is_frozen = False
    host.lease_until = NEVER
    host.guard_until = min(host.guard_until, guard_ends_at)
    if before is not None and before.tenure is not None:
        for check in world.checks:
            check.ended(host, before)


def start_register(world: "World", name: str, *, with_memory: bool = False) -> None:
    """A node's broker begins with its node's seed; a witness with what it remembers."""
    register = world.network.registers[name]
    register.is_up = True
    world.network.changed()
    if with_memory:
        return
    before, host = register.record, world.hosts.get(name)
    seed = None if host is None else _seed(host)
    register.forget(seed)
    if before is not None and before.record.term > (host.known_term if host else 0):
        for check in world.checks:
            check.forgot(before.record.term)


def _seed(host: Host) -> RecordSeen:
    record_id = RecordId(host.name, host.new_session(), 1)
    return RecordSeen(Link(host.name), Record(record_id, None, Kind.RELEASE, host.disk.term))


def freeze(world: "World", host: Host, duration: float, *, with_machine: bool) -> None:
    """SIGSTOP of the agent, or of all that runs on its machine but the guard's hardware."""
    if host.is_frozen or host.state is None or world.now < host.hears_resets_until:
        return
    what = "with its machine" if with_machine else "alone"
    world.note("{} freezes {} for {:.3f} s", host.name, what, duration)
    host.is_frozen = True
    if with_machine:
        _freeze_register(world, host.name, duration)
    world.agenda.after(duration, _thaw, (world, host), host.boot)


def _freeze_register(world: "World", name: str, duration: float) -> None:
    """What is sent to it waits in the wires, and what it would send does too."""
    register = world.network.registers[name]
    register.frozen_until = max(register.frozen_until, world.now + duration)
    for (_, link), wires in world.network.wires.items():
        for wire in wires if link.broker == name else ():
            world.network.hold(wire, duration)


def _thaw(where: tuple["World", Host], boot: int) -> None:
    world, host = where
    if host.boot == boot:
        thaw(world, host)


def thaw(world: "World", host: Host) -> None:
    """It reads what has come meanwhile, or looks at the clock first."""
    if not host.is_frozen:
        return
    world.note("{} thaws, {} messages wait", host.name, len(host.backlog))
    host.is_frozen = False
    world.network.changed()
    if world.dice.chance(0.5):
        world.tell(host, Woke())
    while host.backlog and not host.is_frozen and host.state is not None:
        call, first, second = host.backlog.popleft()
        call(first, second)
