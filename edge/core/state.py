"""The whole memory of the core: one frozen, hashable value and the questions asked of it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from edge.core.model import Group, Link, Member, Pause, Phase, RecordId, Role, Saved
from edge.core.values import replace


@dataclass(frozen=True)
class Presence:
    """A session of some node, as one register's subscribers know it."""

    node: str
    session: str
    counter: int = 0
    heard_at: float = -inf
    willed_at: float | None = None


@dataclass(frozen=True)
class Holder:
    """Who holds a register. `is_assumed` until a record of his took effect before our eyes."""

    node: str
    session: str
    is_assumed: bool = False


@dataclass(frozen=True)
class Outstanding:
    """A record of ours whose echo has not come back."""

    id: RecordId
    sent_at: float


@dataclass(frozen=True)
class View:
    """What one session of ours has seen of one register. It ends with the session."""

    link: Link
    session: str
    subscribed_at: float = inf
    tail: RecordId | None = None
    holder: Holder | None = None
    is_free: bool = False
    free_for: str | None = None
    freed_at: float = -inf
    gap_at: float = -inf
    heard_other_at: float = -inf
    held_until: float = -inf
    outstanding: Outstanding | None = None
    presences: tuple[Presence, ...] = ()

    @property
    def is_subscribed(self) -> bool:
        return self.subscribed_at < inf


@dataclass(frozen=True)
class Peer:
    """Another node, as its own words describe it."""

    name: str
    boot: str = ""
    version: int = -1
    sequence: int = -1
    role: Role = Role.LOST
    term: int = 0
    is_synchronised: bool = False
    service_level: int = 0
    config: str = ""
    heard_at: float = -inf
    # The last sign of life while it was hot by its own word.
    hot_heard_at: float = -inf
    has_stopped: bool = False
    ready_since: float = inf


@dataclass(frozen=True)
class Tenure:
    """Being hot: from the moment that a majority was effective until the lease is over."""

    term: int
    since: float
    reason: str
    origin: str | None
    noticed_at: float
    claimed_at: float
    duty_started_at: float | None = None


@dataclass(frozen=True)
class Attempt:
    """A claim under way."""

    term: int
    started_at: float
    reason: str
    origin: str | None
    noticed_at: float
    is_alone: bool
    is_called: bool
    is_open: bool = True


@dataclass(frozen=True)
class Handover:
    """A planned switchover that we, the hot node, carry out."""

    to: str | None
    ticket: int | None
    began_at: float
    released_at: float | None = None
    is_asking: bool = False


@dataclass(frozen=True)
class Promotion:
    """An operator's order to become hot."""

    ticket: int
    force: bool
    began_at: float


@dataclass(frozen=True)
class State:
    me: Member
    group: Group
    config: str
    now: float
    jitter: float
    started_at: float
    saved: Saved
    asks_before_switch: bool = False
    unfit: str = ""
    counter: int = 0
    views: tuple[View, ...] = ()
    peers: tuple[Peer, ...] = ()
    denied_by: frozenset[str] = frozenset()
    accepted_by: frozenset[str] = frozenset()
    role: Role = Role.STARTING
    phase: Phase = Phase.WAITING_HOT
    reason: str = "started"
    has_joined: bool = False
    tenure: Tenure | None = None
    attempt: Attempt | None = None
    given_up: Attempt | None = None
    handover: Handover | None = None
    promotion: Promotion | None = None
    is_forced: bool = False
    is_leaving: bool = False
    claims_not_before: float = -inf
    yields_until: float = -inf
    failed_starts: int = 0  # duties in a row that did not start here
    preempts_not_before: float = -inf
    term_heard_at: float = -inf
    parted_at: float = -inf
    stalled_at: float = -inf
    reference_until: float = -inf
    reference_since: float = inf
    last_hot: str | None = None
    last_sent: tuple[tuple[str, float], ...] = ()
    beat_at: float = -inf
    wakeup_at: float = inf

    @property
    def term(self) -> int:
        """The highest term ever seen."""
        return self.saved.term

    @property
    def pause(self) -> Pause:
        return self.saved.pause

    @property
    def is_hot(self) -> bool:
        return self.tenure is not None


def view_of(state: State, link: Link) -> View | None:
    for view in state.views:
        if view.link == link:
            return view
    return None


def views_of(state: State, broker: str) -> tuple[View, ...]:
    """The subscribed views of one broker, in the order of their paths."""
    return tuple(
        [view for view in state.views if view.link.broker == broker and view.subscribed_at < inf]
    )


def earliest(state: State, instant: Callable[[View], float]) -> list[float]:
    """For each broker of the group the first of its views' instants, or infinity."""
    instants = dict.fromkeys(state.group.brokers, inf)
    for view in state.views:
        at = instant(view)
        if at < instants.get(view.link.broker, -inf):
            instants[view.link.broker] = at
    return list(instants.values())


def with_view(state: State, view: View) -> State:
    return replace(state, views=views_with(state, view))


def views_with(state: State, view: View) -> tuple[View, ...]:
    """The views in the order of their links, this one in its place."""
    link = view.link
    if view_of(state, link) is None:
        return tuple(sorted([*state.views, view], key=_link_of))
    return tuple([view if each.link == link else each for each in state.views])


def _link_of(view: View) -> Link:
    return view.link


def without_view(state: State, link: Link) -> State:
    views = tuple(each for each in state.views if each.link != link)
    if len(views) == len(state.views) or link.broker == state.me.name:
        return replace(state, views=views)
    return replace(state, views=views, parted_at=state.now)


def peer_of(state: State, name: str) -> Peer | None:
    for peer in state.peers:
        if peer.name == name:
            return peer
    return None


def with_peer(state: State, peer: Peer) -> State:
    return replace(state, peers=peers_with(state, peer))


def peers_with(state: State, peer: Peer) -> tuple[Peer, ...]:
    name = peer.name
    return tuple([peer if each.name == name else each for each in state.peers])


def with_term(state: State, term: int) -> State:
    """Remember the highest term ever heard, and when: somebody has taken it."""
    if term <= state.saved.term:
        return state
    return replace(with_own_term(state, term), term_heard_at=state.now)


def with_proof(state: State) -> State:
    """Somebody else's live message fits our secret."""
    if state.saved.secret_is_proven:
        return state
    return replace(state, saved=replace(state.saved, secret_is_proven=True))


def with_own_term(state: State, term: int) -> State:
    return replace(state, saved=replace(state.saved, term=term))


def sent_at(state: State, broker: str) -> float:
    """When the last record went out to this broker, or minus infinity."""
    for name, at in state.last_sent:
        if name == broker:
            return at
    return -inf


def with_sent(state: State, broker: str) -> State:
    others = tuple(pair for pair in state.last_sent if pair[0] != broker)
    return replace(state, last_sent=(*others, (broker, state.now)))
