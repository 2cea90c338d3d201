"""What goes wrong in a small world, drawn from its seed, and the calm in which it must recover."""

from collections.abc import Callable
from functools import partial

from edge.core.events import Ordered, PauseOrder, PromoteOrder, StopOrder, SwitchoverOrder
from edge.core.model import Link
from tests.core.plan import Host, Plan, ViolationError
from tests.core.world import World

Fault = Callable[[World], None]


def pick(world: World) -> Host:
    """Mostly the hot node: faults elsewhere are dull."""
    hot = world.hot()
    if hot and world.rng.random() < 0.6:
        return world.hosts[hot[0]]
    return world.rng.choice(list(world.hosts.values()))


def span(world: World) -> float:
    return world.timing.lease * world.rng.choice((0.05, 0.3, 1.0, 1.2, 2.0, 4.0))


def every_link(world: World, host: Host, paths: tuple[int, ...]) -> list[tuple[str, Link]]:
    """All that runs over this host's cables: its own sessions, and the others' with its broker."""
    own = [(host.name, Link(broker, path)) for broker in world.brokers for path in paths]
    others = [(each, Link(host.name, path)) for each in world.hosts for path in paths]
    return [(node, link) for node, link in own + others if link.broker != node]


def cut_one(world: World) -> None:
    host, broker = pick(world), world.rng.choice(list(world.brokers))
    link = Link(broker, world.rng.randrange(world.plan.paths))
    ways = world.rng.choice((("up",), ("down",), ("up", "down")))
    duration = span(world)
    world.note(f"cut {host.name} - {link.broker}/{link.path} {ways} for {duration:.3f}")
    for way in ways:
        world.cut(host.name, link, way, duration)


def cut_host(world: World) -> None:
    host, duration = pick(world), span(world)
    paths = tuple(range(world.plan.paths))
    if world.rng.random() < 0.5:
        paths = (world.rng.choice(paths),)
    sides = world.rng.choice(("in", "out", "both", "both"))
    world.note(f"cut {host.name} off, paths {paths}, {sides} for {duration:.3f}")
    for node, link in every_link(world, host, paths):
        outward = "up" if node == host.name else "down"
        inward = "down" if node == host.name else "up"
        if sides in {"out", "both"}:
            world.cut(node, link, outward, duration)
        if sides in {"in", "both"}:
            world.cut(node, link, inward, duration)


def reset_some(world: World) -> None:
    host = pick(world)
    others = [each for each in world.hosts.values() if each is not host]
    connections = [each for link, each in host.connections.items() if link.broker != host.name]
    connections += [
        each
        for other in others
        for link, each in other.connections.items()
        if link.broker == host.name
    ]
    count = world.rng.choice((1, 1, 2, len(connections)))
    world.rng.shuffle(connections)
    world.note(f"reset {[(each.node, each.link.broker) for each in connections[:count]]}")
    for connection in connections[:count]:
        world.reset(connection)


def kill_host(world: World) -> None:
    host = pick(world)
    if world.rng.random() < 0.3:
        host.dies_after = world.rng.randrange(4)
    else:
        world.kill(host, resets=world.rng.random() < 0.6)
    world.agenda.after(span(world), partial(world.boot, host))


def freeze_host(world: World) -> None:
    world.freeze(pick(world), span(world))


def restart_broker(world: World) -> None:
    name = world.rng.choice(list(world.brokers))
    host = world.hosts.get(name)
    if host is not None and host.state is None:
        return
    has_memory = name not in world.hosts and world.plan.memory
    silently = world.rng.random() < 0.5
    world.note(f"restart broker {name}, memory {has_memory}, silently {silently}")
    world.stop_broker(name, silently=silently)

    def come_back() -> None:
        if host is None or host.state is not None:
            world.start_broker(name, with_memory=has_memory)

    world.agenda.after(world.rng.choice((0.02, 0.2, 0.5, 2.0)) * world.timing.lease, come_back)


def clog(world: World) -> None:
    world.clogged_until = world.agenda.now + span(world)


def order(world: World) -> None:
    host = pick(world)
    chosen = world.rng.choice(
        (
            SwitchoverOrder(),
            SwitchoverOrder(world.rng.choice(list(world.hosts))),
            PauseOrder(is_on=world.rng.random() < 0.5),
            PromoteOrder(force=world.rng.random() < 0.5),
            StopOrder(),
        )
    )
    world.note(f"{chosen} to {host.name}")
    world.tell(host, Ordered(chosen, 1))
    if isinstance(chosen, StopOrder):
        world.agenda.after(span(world), partial(world.boot, host))


FAULTS: tuple[Fault, ...] = (
    cut_one,
    cut_one,
    cut_host,
    cut_host,
    reset_some,
    kill_host,
    freeze_host,
    freeze_host,
    restart_broker,
    clog,
    order,
)


def trouble(world: World, leases: float) -> None:
    """Boot at different times, then one fault after the other."""
    lease = world.timing.lease
    for host in world.hosts.values():
        world.agenda.after(world.rng.uniform(0, 2) * lease, partial(world.boot, host))
    pace = lease * world.rng.choice((0.3, 1.0, 3.0))
    instant = 3 * lease
    while instant < leases * lease:
        fault = world.rng.choice(FAULTS)
        world.agenda.at(instant, partial(fault, world))
        instant += world.rng.uniform(0.1, 2) * pace
    world.agenda.run_until(leases * lease)


def calm(world: World) -> None:
    """Everything is repaired; `recover` may then ask for a hot node."""
    world.cuts.clear()
    world.clogged_until = world.agenda.now
    lease = world.timing.lease
    # What was drawn before and is still to come (thaws, restarts) comes within the longest span.
    world.agenda.run_until(world.agenda.now + 5 * lease)
    for name, broker in world.brokers.items():
        if name not in world.hosts and not broker.is_up:
            world.start_broker(name, with_memory=True)
    for host in world.hosts.values():
        host.dies_after = None
        world.boot(host)
        world.tell(host, Ordered(PauseOrder(is_on=False), 2))
    wait_for_links(world)


def wait_for_links(world: World) -> None:
    wanted = sum(
        len(world.brokers) + (len(world.brokers) - 1) * (world.plan.paths - 1) for _ in world.hosts
    )
    deadline = world.agenda.now + 20 * world.timing.lease + 5
    while world.agenda.now < deadline:
        states = [host.state for host in world.hosts.values() if host.state is not None]
        if sum(view.is_subscribed for state in states for view in state.views) == wanted:
            return
        world.agenda.run_until(world.agenda.now + 0.05 * world.timing.lease)
    raise ViolationError("the links do not come back")


def recovery_time(world: World) -> float:
    """How long it takes until somebody is hot, in true time; at most a minute is waited."""
    began_at = world.agenda.now
    while not world.hot():
        if world.agenda.now > began_at + 60:
            raise ViolationError("nobody becomes hot")
        world.agenda.run_until(world.agenda.now + 0.02 * world.timing.lease)
    return world.agenda.now - began_at


def recovery_limit(world: World) -> float:
    """docs/protocol.md, What must hold, 3; by the slowest clock."""
    timing = world.timing
    return (timing.claim_after + 2 * timing.stagger + 0.5) / 0.97


def watch_quiet(world: World, leases: float) -> None:
    """Without a cause nobody else becomes hot, and nobody stops being hot."""
    changes = len(world.changes)
    hot = world.hot()
    end = world.agenda.now + leases * world.timing.lease
    while world.agenda.now < end:
        world.agenda.run_until(world.agenda.now + 0.1 * world.timing.lease)
        if world.hot() != hot or len(world.changes) != changes:
            raise ViolationError(f"a change without a cause: {hot} to {world.hot()}")


def run(plan: Plan, leases: float = 25.0) -> World:
    """Trouble, calm, recovery, quiet. Raises ViolationError; returns the world for a look."""
    world = World(plan)
    trouble(world, leases)
    calm(world)
    took = recovery_time(world)
    if took > recovery_limit(world):
        raise ViolationError(f"somebody was hot only after {took:.2f} s")
    if not plan.group.preempt:
        watch_quiet(world, 6.0)
    return world
