"""One core on a bench: its brokers echo at once, its clock moves only when told.

Short names for what every test of the core needs; no rule of the protocol is repeated here.
"""

from dataclasses import replace
from typing import Any, TypeVar

from edge.core import lease
from edge.core.effects import Beat, Effect, Publish
from edge.core.events import (
    DutyStarted,
    Event,
    HeartbeatSeen,
    LinkLost,
    LinkUp,
    Ordered,
    PeerSeen,
    RecordSeen,
    Subscribed,
    WillSeen,
    Woke,
)
from edge.core.model import (
    Group,
    Kind,
    Link,
    Member,
    Pause,
    Policy,
    Record,
    RecordId,
    Role,
    Saved,
    Timing,
)
from edge.core.state import State, View, view_of
from edge.core.step import start, step

TIMING = Timing()
CLAIM_AFTER = TIMING.claim_after
BEGIN = 100.0
SAME = "same file"
CHAINED = RecordId("nobody", "0-0", 0)

SomeEffect = TypeVar("SomeEffect")


def witness_group(**changes: Any) -> Group:
    """Two nodes and a third vote; white is the better node."""
    members = (Member("white", 3), Member("black", 2))
    brokers = ("white", "black", "router")
    return replace(Group("group", members, brokers, Policy.WITNESS), **changes)


def three_group(**changes: Any) -> Group:
    members = (Member("white", 3), Member("black", 2), Member("green", 1))
    names = tuple(each.name for each in members)
    return replace(Group("group", members, names, Policy.MAJORITY), **changes)


def pair_group(policy: Policy, **changes: Any) -> Group:
    members = (Member("white", 3), Member("black", 2))
    return replace(Group("group", members, ("white", "black"), policy), **changes)


def record(
    node: str,
    counter: int,
    basis: RecordId | None,
    kind: Kind = Kind.RENEW,
    *,
    session: str = "1-1",
    term: int = 1,
    to: str | None = None,
) -> Record:
    return Record(RecordId(node, session, counter), basis, kind, term, to)


class Lab:
    """One node's core with passive registers around it."""

    def __init__(
        self,
        group: Group | None = None,
        me: str = "white",
        saved: Saved | None = None,
        *,
        asks: bool = False,
    ) -> None:
        self.group = group or witness_group()
        self.now = BEGIN
        self.echoes = True
        self.jitter = 0.5
        self.effects: list[Effect] = []
        self.tails: dict[str, RecordId | None] = dict.fromkeys(self.group.brokers)
        self.links: list[Link] = []
        self.sessions = 0
        self.counter = 1000
        self.beats = 0
        self.deaf: set[str] = set()
        saved = saved or Saved()
        self.state: State = start(
            me, self.group, SAME, saved, self.now, self.jitter, asks_before_switch=asks
        )

    # What happens to the node

    def tell(self, event: Event) -> list[Effect]:
        """One event; the echoes of what it published follow at once. Returns its own effects."""
        self.state, effects = step(self.state, event, self.now, self.jitter)
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Publish) and self.echoes:
                self.echo(effect)
            if isinstance(effect, Beat):
                self._echo_beat()
        return effects

    def _echo_beat(self) -> None:
        """Our own heartbeat comes back over every session that is not deaf."""
        self.beats += 1
        for link in self.links:
            view = view_of(self.state, link)
            if view is not None and link.broker not in self.deaf:
                mine = self.state.me.name
                self.tell(HeartbeatSeen(link, mine, view.session, "9", self.beats, SAME, Pause()))

    def echo(self, published: Publish) -> None:
        self.tails[published.link.broker] = published.record.id
        self._show(published.link.broker, published.record)

    def _show(self, broker: str, seen: Record) -> None:
        for link in self.links:
            if link.broker == broker:
                self.tell(RecordSeen(link, seen))

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, waking the core whenever it asks for it. Returns what it did."""
        end, done, wakings = self.now + seconds, len(self.effects), 0
        while self.state.wakeup_at <= end:
            wakings += 1
            assert wakings < 1000 * (1 + seconds), "the core wants to be woken without end"
            self.now = max(self.now, self.state.wakeup_at)
            self.tell(Woke())
        self.now = end
        self.tell(Woke())
        return self.effects[done:]

    def sleep(self, seconds: float) -> None:
        """Let time pass without waking the core: it is frozen, or its machine is."""
        self.now += seconds

    def up(self, broker: str, path: int = 0) -> Link:
        link = Link(broker, path)
        self.sessions += 1
        self.tell(LinkUp(link, f"9-{self.sessions}"))
        self.links.append(link)
        return link

    def connect(self, broker: str, retained: Record | None = None, path: int = 0) -> Link:
        """A new session, the retained record if there is one, then the end of the snapshot."""
        link = self.up(broker, path)
        if retained is not None:
            self.tails[broker] = retained.id
            self.tell(RecordSeen(link, retained, retained=True))
        self.tell(Subscribed(link))
        return link

    def connect_all(self) -> None:
        """Empty registers, but for those that their own nodes have seeded."""
        for broker in self.group.brokers:
            is_seeded = broker not in self.group.witnesses | {self.state.me.name}
            seed = record(broker, 1, None, Kind.RELEASE, session="0-1", term=0)
            self.connect(broker, seed if is_seeded else None)

    def lose(self, broker: str, path: int = 0) -> list[Effect]:
        link = Link(broker, path)
        self.links.remove(link)
        return self.tell(LinkLost(link))

    def foreign(
        self,
        broker: str,
        kind: Kind = Kind.RENEW,
        *,
        node: str = "black",
        basis: RecordId | None = CHAINED,
        term: int = 1,
        to: str | None = None,
        session: str = "1-1",
    ) -> Record:
        """A record of another node takes its place in a register's order."""
        self.counter += 1
        basis = self.tails[broker] if basis == CHAINED else basis
        seen = record(node, self.counter, basis, kind, session=session, term=term, to=to)
        self.tails[broker] = seen.id
        self._show(broker, seen)
        return seen

    def foreign_everywhere(self, kind: Kind = Kind.RENEW, **how: Any) -> None:
        for broker in {link.broker: None for link in self.links}:
            self.foreign(broker, kind, **how)

    def will(self, broker: str, node: str = "black", *, session: str = "1-1", **how: Any) -> None:
        for link in self.links:
            if link.broker == broker:
                self.tell(WillSeen(link, node, session, **how))

    def word(
        self,
        node: str = "black",
        role: Role = Role.STANDBY,
        *,
        broker: str = "white",
        boot: str = "1",
        version: int | None = None,
        term: int = 0,
        session: str = "1-1",
        synchronised: bool = True,
        level: int = 250,
        retained: bool = False,
    ) -> None:
        """What another node says about itself."""
        self.counter += 1
        version = self.counter if version is None else version
        link = Link(broker)
        self.tell(
            PeerSeen(link, node, session, boot, version, role, term, synchronised, level, retained)
        )

    def beat(
        self,
        node: str = "black",
        *,
        broker: str = "white",
        config: str = SAME,
        boot: str = "1",
        session: str = "1-1",
        pause: Pause | None = None,
        retained: bool = False,
    ) -> None:
        self.counter += 1
        self.tell(
            HeartbeatSeen(
                Link(broker),
                node,
                session,
                boot,
                self.counter,
                config,
                pause or Pause(),
                retained,
            )
        )

    def order(self, order: Any, ticket: int = 7) -> list[Effect]:
        return self.tell(Ordered(order, ticket))

    # What it has become

    def view(self, broker: str, path: int = 0) -> View:
        view = view_of(self.state, Link(broker, path))
        assert view is not None, f"no session with {broker}"
        return view

    def role(self) -> Role:
        return self.state.role

    def votes(self) -> int:
        return lease.votes_held(self.state)

    def lease_left(self) -> float:
        return lease.lease_until(self.state) - self.now

    def found(self, kind: type[SomeEffect]) -> list[SomeEffect]:
        """Every effect of this kind so far."""
        return of_kind(self.effects, kind)

    def forget(self) -> None:
        self.effects.clear()

    def published(self, kind: Kind) -> list[Publish]:
        return [each for each in self.found(Publish) if each.record.kind is kind]


def of_kind(effects: list[Effect], kind: type[SomeEffect]) -> list[SomeEffect]:
    return [each for each in effects if isinstance(each, kind)]


def hot_lab(
    group: Group | None = None,
    me: str = "white",
    saved: Saved | None = None,
    *,
    asks: bool = False,
) -> Lab:
    """A node that has become hot on empty registers, with nobody else about."""
    lab = Lab(group, me, saved, asks=asks)
    lab.connect_all()
    lab.wait(CLAIM_AFTER + 0.01)
    assert lab.state.tenure is not None, "nobody is in its way"
    lab.tell(DutyStarted(lab.state.tenure.term))
    lab.forget()
    return lab


def with_standby(
    group: Group | None = None, me: str = "white", other: str = "black", *, asks: bool = False
) -> Lab:
    """A hot node, and a ready standby beside it."""
    lab = hot_lab(group, me, asks=asks)
    for broker in lab.group.brokers:
        lab.word(other, broker=broker)
        lab.beat(other, broker=broker)
    lab.forget()
    return lab


def standby_lab(group: Group | None = None, me: str = "white", term: int = 4) -> Lab:
    """A node beside black, which is hot and holds every register, seen live."""
    lab = Lab(group, me)
    for broker in lab.group.brokers:
        old = record("black", 1, None, Kind.CLAIM, term=term)
        lab.connect(broker, old)
    lab.word(role=Role.HOT, term=term)
    lab.beat()
    for _ in range(6):
        lab.wait(0.25)
        lab.foreign_everywhere(term=term)
        lab.beat()
    lab.forget()
    return lab
