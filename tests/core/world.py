"""A small deterministic world: real cores, passive brokers, a bad network, uneven clocks.

One seed is one world: its size, its timings, its delays and its faults are all drawn from it.
Safety is checked after every step of every node, in true time (docs/protocol.md, What must hold).
"""

import random
from math import inf

from edge.core import lease
from edge.core.effects import (
    Beat,
    Effect,
    Leave,
    Persist,
    Publish,
    Reconnect,
    StartDuty,
    StopDuty,
)
from edge.core.events import (
    DutyStarted,
    DutyStopped,
    Event,
    HeartbeatSeen,
    LinkLost,
    LinkUp,
    PeerSeen,
    RecordSeen,
    Subscribed,
    Woke,
)
from edge.core.model import (
    Kind,
    Link,
    Record,
    RecordId,
    Role,
)
from edge.core.peers import service_level
from edge.core.state import State
from edge.core.step import start, step
from tests.core.network import Agenda, Broker, Connection, Message, Pipe
from tests.core.plan import Host, Plan, ViolationError

# Turns of one node in one second of true time; a core that asks to be woken for ever runs into it.
STEPS_MAX = 20_000


class World:
    """Hosts, brokers and what is between them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = random.Random(f"world {plan.seed}")
        self.agenda = Agenda()
        self.timing = plan.group.timing
        self.brokers = {name: Broker(self.agenda, name) for name in plan.group.brokers}
        self.hosts = {each.name: self._host(each.name) for each in plan.group.members}
        self.cuts: dict[tuple[str, Link, str], float] = {}
        self.clogged_until = -inf
        self.trace: list[str] = []
        self.changes: list[tuple[float, str, int]] = []
        self.has_forgotten = False
        self.checks_terms = True

    def _host(self, name: str) -> Host:
        rate = 1.0 + self.rng.choice((-1.0, 1.0, self.rng.uniform(-1, 1))) * self.plan.drift
        return Host(name, rate, self.rng.uniform(0, 1000))

    def note(self, text: str) -> None:
        self.trace.append(f"{self.agenda.now:10.4f} {text}")

    # Clocks

    def clock(self, host: Host) -> float:
        return host.offset + host.rate * self.agenda.now

    def true_time(self, host: Host, instant: float) -> float:
        return (instant - host.offset) / host.rate if instant < inf else inf

    def hot_until(self, host: Host) -> float:
        """The instant of true time at which this node stops being hot if nothing else happens."""
        if host.state is None or host.state.tenure is None:
            return -inf
        return self.true_time(host, lease.lease_until(host.state))

    def hot(self) -> list[str]:
        return [each.name for each in self.hosts.values() if self.hot_until(each) > self.agenda.now]

    # Life

    def boot(self, host: Host) -> None:
        """Power up: a new life with what the disk has."""
        if host.state is not None:
            return
        host.boot += 1
        host.steps, host.dies_after, host.is_frozen = 0, None, False
        host.said = ()
        host.backlog.clear()
        host.connecting.clear()
        self.note(f"boot {host.name}")
        self.start_broker(host.name)
        config, now = "same", self.clock(host)
        host.state = start(host.name, self.plan.group, config, host.disk, now, self.rng.random())
        for broker in self.plan.group.brokers:
            for path in range(1 if broker == host.name else self.plan.paths):
                self._connect_soon(host, Link(broker, path))
        self._tell(host, Woke())

    def kill(self, host: Host, *, resets: bool) -> None:
        """The process ends; with `resets` its kernel closes the connections, else power is gone."""
        if host.state is None:
            return
        self.note(f"{'kill' if resets else 'power cut'} {host.name}")
        host.state = None
        self.stop_broker(host.name, silently=not resets)
        connections, host.connections = list(host.connections.values()), {}
        for connection in connections:
            connection.is_open = False
            if not resets:
                connection.up.waiting.clear()
            else:
                connection.up.send(lambda each=connection: self._end_at_broker(each))  # type: ignore[misc]

    def stop_broker(self, name: str, *, silently: bool = False) -> None:
        """Its process ends, or `silently` its machine: then nobody is told."""
        broker = self.brokers[name]
        broker.is_up = False
        for connection in list(broker.connections):
            broker.lose(connection, publishes_will=False)
            if silently:
                connection.down.waiting.clear()
                continue
            connection.down.send(lambda each=connection: self.lost(each))  # type: ignore[misc]

    def start_broker(self, name: str, *, with_memory: bool = False) -> None:
        """A node's broker begins with its node's seed; a witness with what it remembers."""
        broker = self.brokers[name]
        broker.is_up = True
        if with_memory:
            return
        before = broker.retained.get("lease")
        broker.retained = {}
        host = self.hosts.get(name)
        term = 0
        if host is not None:
            term = host.disk.term
            record_id = RecordId(name, self._new_session(host), 1)
            record = Record(record_id, None, Kind.RELEASE, term)
            broker.retained["lease"] = RecordSeen(Link(name), record)
        if isinstance(before, RecordSeen) and before.record.term > term:
            self.has_forgotten = True

    def freeze(self, host: Host, duration: float) -> None:
        if host.is_frozen or host.state is None or self.agenda.now < host.told_at:
            return
        self.note(f"freeze {host.name} for {duration:.3f}")
        host.is_frozen = True
        boot = host.boot
        self.agenda.after(duration, lambda: self._thaw(host, boot))

    def _thaw(self, host: Host, boot: int) -> None:
        if host.boot != boot or not host.is_frozen:
            return
        self.note(f"thaw {host.name}")
        host.is_frozen = False
        if self.rng.random() < 0.5:
            self._tell(host, Woke())
        while host.backlog and not host.is_frozen and host.state is not None:
            host.backlog.popleft()()

    # The node's loop

    def tell(self, host: Host, event: Event) -> None:
        """An event reaches a host: now, or when it wakes from its freeze."""
        if host.is_frozen:
            host.backlog.append(lambda: self._tell(host, event))
        else:
            self._tell(host, event)

    def _tell(self, host: Host, event: Event) -> None:
        if host.state is None:
            return
        host.steps += 1
        if host.steps > STEPS_MAX:
            raise ViolationError(f"{host.name} runs without end")
        before = host.state
        host.state, effects = step(before, event, self.clock(host), self.rng.random())
        self._check(host, before)
        for effect in effects:
            if host.dies_after is not None:
                host.dies_after -= 1
                if host.dies_after < 0:
                    self.kill(host, resets=self.rng.random() < 0.5)
                    return
            self._carry_out(host, effect)
        if host.state is not None:
            self._say_state(host)
            self._arm(host)

    def _arm(self, host: Host) -> None:
        assert host.state is not None, "asked only of a live host"
        instant, boot, steps = self.true_time(host, host.state.wakeup_at), host.boot, host.steps
        instant = max(instant, self.agenda.now + 1e-6)

        def wake() -> None:
            if (host.boot, host.steps) == (boot, steps):
                self.tell(host, Woke())

        self.agenda.at(instant, wake)

    def _check(self, host: Host, before: State) -> None:
        """Being hot begins and grows only in a step, so that to look here is to look always."""
        until = self.hot_until(host)
        after = host.state
        assert after is not None, "it has just made a step"
        if after.tenure is not None and before.tenure is None:
            self._check_term(host.name, after.tenure.term)
            self.note(f"HOT {host.name} term {after.tenure.term} ({after.tenure.reason})")
        if after.tenure is None and before.tenure is not None:
            self.note(f"not hot {host.name}")
        if until <= self.agenda.now:
            return
        for other in self.hosts.values():
            if other is not host and self.hot_until(other) > self.agenda.now:
                raise ViolationError(f"{host.name} and {other.name} are hot at one time")

    def _check_term(self, name: str, term: int) -> None:
        last = self.changes[-1][2] if self.changes else 0
        self.changes.append((self.agenda.now, name, term))
        if term <= last and not self.has_forgotten and self.checks_terms:
            raise ViolationError(f"{name} became hot with term {term} after {last}")

    def _carry_out(self, host: Host, effect: Effect) -> None:
        match effect:
            case Persist(saved):
                host.disk = saved
            case Publish(link, record):
                self._send(host, link, RecordSeen(link, record))
            case Beat():
                self._beat(host)
            case Reconnect(link):
                self._abandon(host, link)
            case StartDuty(term):
                self._later(host, DutyStarted(term))
            case StopDuty(term):
                self._later(host, DutyStopped(term))
            case Leave():
                self.kill(host, resets=True)
            case _:
                pass

    def _later(self, host: Host, event: Event) -> None:
        boot = host.boot

        def arrive() -> None:
            if host.boot == boot:
                self.tell(host, event)

        self.agenda.after(self.rng.uniform(0, 0.3) * self.timing.lease, arrive)

    def _beat(self, host: Host) -> None:
        host.sequence += 1
        for connection in host.connections.values():
            pause = host.state.pause if host.state else host.disk.pause
            boot, session = f"{host.boot}", connection.session
            beat = HeartbeatSeen(
                connection.link, host.name, session, boot, host.sequence, "same", pause
            )
            self._send(host, connection.link, beat)

    def _say_state(self, host: Host, only: Link | None = None) -> None:
        """The node's own word, on every broker when it changed, on one after a connect."""
        state = host.state
        assert state is not None, "a dead host says nothing"
        said = (state.role, state.term, service_level(state))
        if only is None and said == host.said:
            return
        if said != host.said:
            host.said = said
            host.version += 1
        for link, connection in host.connections.items():
            if only is None or link == only:
                word = PeerSeen(
                    link=link,
                    node=host.name,
                    session=connection.session,
                    boot=f"{host.boot}",
                    version=host.version,
                    role=Role(state.role),
                    term=state.term,
                    is_synchronised=True,
                    service_level=said[2],
                )
                self._send(host, link, word)

    # Connections

    def is_cut(self, node: str, link: Link, direction: str) -> bool:
        return self.cuts.get((node, link, direction), -inf) > self.agenda.now

    def cut(self, node: str, link: Link, direction: str, duration: float) -> None:
        if link.broker == node:
            return
        key, until = (node, link, direction), self.agenda.now + duration
        self.cuts[key] = max(until, self.cuts.get(key, -inf))
        self.agenda.at(self.cuts[key] + 1e-9, lambda: self._heal(key))

    def _heal(self, key: tuple[str, Link, str]) -> None:
        connections = [*self.hosts[key[0]].connections.values()]
        connections += self.brokers[key[1].broker].connections
        for connection in connections:
            if connection.node == key[0] and connection.link == key[1]:
                (connection.up if key[2] == "up" else connection.down).flush()

    def delay(self, host: Host, link: Link) -> float:
        if link.broker == host.name:
            return self.rng.uniform(0, 0.0005)
        clog = 10.0 if self.agenda.now < self.clogged_until else 1.0
        return self.plan.delay * clog * self.rng.uniform(0.2, 1.0)

    def _new_session(self, host: Host) -> str:
        host.sessions += 1
        return f"{host.boot}-{host.sessions}"

    def _connect_soon(self, host: Host, link: Link) -> None:
        if link in host.connecting or host.state is None:
            return
        host.connecting.add(link)
        boot = host.boot
        pause = self.rng.uniform(0.02, 0.2) * self.timing.lease
        self.agenda.after(pause, lambda: self._connect(host, link, boot))

    def _connect(self, host: Host, link: Link, boot: int) -> None:
        if host.boot != boot or host.state is None:
            return
        host.connecting.discard(link)
        is_open = not (self.is_cut(host.name, link, "up") or self.is_cut(host.name, link, "down"))
        if host.is_frozen or not is_open or not self.brokers[link.broker].is_up:
            self._connect_soon(host, link)
            return
        self._open(host, link)

    def _open(self, host: Host, link: Link) -> None:
        now = self.agenda.now
        up, down = (
            Pipe(
                self.agenda,
                lambda: self.delay(host, link),
                lambda way=way: self.is_cut(host.name, link, way),  # type: ignore[misc]
            )
            for way in ("up", "down")
        )
        session = self._new_session(host)
        connection = Connection(host.name, link, session, up, down, self._arrive)
        connection.broker_heard_at = connection.node_heard_at = now
        host.connections[link] = connection
        self.brokers[link.broker].connections.append(connection)
        self.tell(host, LinkUp(link, session))
        up.send(lambda: self._subscribe(connection))
        self._watch(connection)

    def _subscribe(self, connection: Connection) -> None:
        connection.broker_heard_at = self.agenda.now
        self.brokers[connection.link.broker].subscribe(connection)
        connection.down.send(lambda: self._arrive(connection, Subscribed(connection.link)))

    def _arrive(self, connection: Connection, event: Event) -> None:
        """Something reaches the node over a connection."""
        if not connection.is_open:
            return
        connection.node_heard_at = self.agenda.now
        host = self.hosts[connection.node]

        def take() -> None:
            if connection.is_open:
                self._tell(host, event)
                if isinstance(event, Subscribed) and host.state is not None:
                    self._say_state(host, connection.link)

        if host.is_frozen:
            host.backlog.append(take)
        else:
            take()

    def _send(self, host: Host, link: Link, message: Message) -> None:
        connection = host.connections.get(link)
        if connection is None:
            return
        broker = self.brokers[link.broker]

        def deliver() -> None:
            if connection.is_open_at_broker:
                connection.broker_heard_at = self.agenda.now
                broker.publish(message)
            elif broker.is_up:
                connection.down.send(lambda: self.lost(connection))

        connection.up.send(deliver)

    def _watch(self, connection: Connection) -> None:
        """Silence ends a connection on both sides, each by its own limit."""
        broker_limit, node_limit = 1.5 * self.plan.keepalive, self.plan.silence_timeout
        if not (connection.is_open or connection.is_open_at_broker):
            return
        if self.agenda.now >= connection.broker_heard_at + broker_limit:
            self._end_at_broker(connection)
            connection.down.send(lambda: self.lost(connection))
        is_frozen = self.hosts[connection.node].is_frozen
        if self.agenda.now >= connection.node_heard_at + node_limit and not is_frozen:
            self.lost(connection)
        self.agenda.after(0.3 * self.timing.lease, lambda: self._watch(connection))

    def _end_at_broker(self, connection: Connection) -> None:
        self.brokers[connection.link.broker].lose(connection)

    def lost(self, connection: Connection) -> None:
        """The node's side of a connection ends."""
        host = self.hosts[connection.node]
        if not connection.is_open:
            return

        def take() -> None:
            if connection.is_open:
                self._close(host, connection)
                self._tell(host, LinkLost(connection.link))

        if host.is_frozen:
            host.backlog.append(take)
        else:
            take()

    def _close(self, host: Host, connection: Connection) -> None:
        connection.is_open = False
        host.connections.pop(connection.link, None)
        connection.up.send(lambda: self._end_at_broker(connection))
        self._connect_soon(host, connection.link)

    def _abandon(self, host: Host, link: Link) -> None:
        connection = host.connections.get(link)
        if connection is not None:
            self._close(host, connection)

    def reset(self, connection: Connection) -> None:
        """A middle box resets a connection: both sides learn of it, well within fence_delay."""
        host = self.hosts[connection.node]
        if host.is_frozen:
            return
        host.told_at = self.agenda.now + self.timing.fence_delay
        self.agenda.after(self.rng.uniform(0, 0.1), lambda: self._end_at_broker(connection))
        within = 0.8 * self.timing.fence_delay
        self.agenda.after(self.rng.uniform(0, within), lambda: self.lost(connection))
