"""The core's two entrances: `start` and `step`. One event in, a new state and effects out.

Rules kept here: deterministic; total; clock first (a deadline that has passed takes effect before
the event is looked at); time never runs backwards; what must be on disk comes before what depends
on it; `state.wakeup_at` says when the core wants to be called again at the latest.
"""

from collections.abc import Callable
from math import inf

from edge.core import claims, lease, orders, peers, routine
from edge.core.claims import Prospect
from edge.core.effects import Beat, Effect, Persist, Reconnect
from edge.core.events import (
    DutyStarted,
    DutyStopped,
    Event,
    FitnessChanged,
    HeartbeatSeen,
    LinkDenied,
    LinkLost,
    LinkUp,
    NetworkChecked,
    Ordered,
    PeerSeen,
    RecordSeen,
    StrangerSeen,
    Subscribed,
    SwitchJudged,
    WillSeen,
    Woke,
)
from edge.core.invariants import check
from edge.core.lease import Step
from edge.core.model import Group, Kind, Phase, Role, Saved
from edge.core.register import Verdict, with_record
from edge.core.state import (
    Peer,
    State,
    Tenure,
    View,
    view_of,
    with_proof,
    with_term,
    with_view,
    without_view,
)
from edge.core.values import replace


def start(
    node: str,
    group: Group,
    config: str,
    saved: Saved,
    now: float,
    jitter: float,
    *,
    asks_before_switch: bool = False,
) -> State:
    """The state of a node that has just begun; nothing is connected yet."""
    others = tuple(Peer(each.name) for each in group.members if each.name != node)
    state = State(
        me=group.member(node),
        group=group,
        config=config,
        now=now,
        jitter=jitter,
        started_at=now,
        saved=saved,
        asks_before_switch=asks_before_switch,
        peers=others,
    )
    role, phase, reason = _appearance(state, claims.prospect(state).claim_at)
    return replace(state, role=role, phase=phase, reason=reason, wakeup_at=now)


def step(state: State, event: Event, now: float, jitter: float) -> tuple[State, list[Effect]]:
    """Take one event at `now` (monotonic seconds); `jitter` is a fresh number in [0, 1)."""
    timed = replace(state, now=max(now, state.now), jitter=jitter)
    if timed.now < state.wakeup_at and isinstance(event, routine.Signs):
        after = routine.heard(timed, event)
        if after is not None:
            return after, []
    return turn(state, timed, event)


def turn(before: State, state: State, event: Event) -> tuple[State, list[Effect]]:
    """Ask every rule: for the time that has passed since `before`, then for the event."""
    effects: tuple[Effect, ...] = ()
    prospect: Prospect | None = None
    state = _distrust_silence(state)
    if state.now >= state.wakeup_at:
        state, effects, prospect = _settle(state)
    if prospect is None or not isinstance(event, Woke):
        state, more = _apply(state, event)
        state, rest, prospect = _settle(state)
        effects = (*effects, *more, *rest)
    role, phase, reason = _appearance(state, prospect.claim_at)
    wakeup_at = _wakeup_at(state, prospect)
    state = replace(state, role=role, phase=phase, reason=reason, wakeup_at=wakeup_at)
    check(before, state)
    return state, _durable_first(before, state, effects)


def _durable_first(before: State, state: State, effects: tuple[Effect, ...]) -> list[Effect]:
    if state.saved is before.saved or state.saved == before.saved:
        return list(effects)
    return [Persist(state.saved), *effects]


def _distrust_silence(state: State) -> State:
    """The stall rule. Late by more than half a lease, we are not hot until we have renewed, and
    what we did not hear while we slept proves nothing about others."""
    if state.now - state.wakeup_at <= state.group.timing.lease / 2:
        return state
    views = (
        replace(view, heard_other_at=max(view.heard_other_at, state.now)) for view in state.views
    )
    return replace(state, stalled_at=state.now, views=tuple(views))


def _settle(state: State) -> tuple[State, tuple[Effect, ...], Prospect]:
    """Everything that time or the last event made due, each rule in its order; and when the next
    claim is due."""
    state, effects = _ask(RULES, state)
    prospect = claims.prospect(state)
    if state.now >= prospect.claim_at:
        state, more = claims.begin(state)
        effects, prospect = (*effects, *more), claims.NO_PROSPECT
    state, more = _ask(STANDING_RULES, state)
    return state, (*effects, *more), prospect


def _ask(rules: tuple[Callable[[State], Step], ...], state: State) -> Step:
    effects: tuple[Effect, ...] = ()
    for rule in rules:
        state, more = rule(state)
        if more:
            effects += more
    return state, effects


def _follow_hot(state: State) -> Step:
    """Remember who was hot last; a node that has met a hot one has joined the group."""
    hot = peers.hot_peer(state)
    if hot is not None and (state.last_hot != hot.name or not state.has_joined):
        state = replace(state, last_hot=hot.name, has_joined=True)
    if state.is_forced and state.now < lease.majority_until(state):
        state = replace(state, is_forced=False)
    return state, ()


def _hold(state: State) -> Step:
    """A hot node renews and claims what it lacks; so does an attempt, because the brokers fell
    silent one after the other and the first ones may be those that died."""
    term = _term_at_stake(state)
    return (state, ()) if term is None else lease.renew(state, term)


def _term_at_stake(state: State) -> int | None:
    if state.tenure is not None:
        return state.tenure.term
    attempt = state.attempt
    return attempt.term if attempt is not None and attempt.is_open else None


def _give_up_deaf_links(state: State) -> Step:
    """An echo that is not back within the lease: that connection loses records."""
    deaf = [
        view.link
        for view in state.views
        if view.outstanding is not None
        and state.now >= view.outstanding.sent_at + state.group.timing.lease
    ]
    for link in deaf:
        state = without_view(state, link)
    return state, tuple(Reconnect(link) for link in deaf)


def _beat(state: State) -> Step:
    if state.now < state.beat_at + state.group.timing.presence_interval:
        return state, ()
    return replace(state, beat_at=state.now), (Beat(),)


RULES = (
    _follow_hot,
    _give_up_deaf_links,
    claims.expire,
    claims.conclude,
    orders.follow_handover,
    orders.follow_promotion,
    orders.limit_duty,
    orders.meet_by_word,
    orders.relieve,
    orders.preempt,
    lease.seed,
)
# What a node does as long as it has something to keep, whether it claims just now or not.
STANDING_RULES = (_hold, _beat)


def _apply(state: State, event: Event) -> Step:  # noqa: C901, PLR0911, PLR0912  one line a case
    match event:
        case Woke():
            return state, ()
        case LinkUp():
            return _link_up(state, event), ()
        case Subscribed():
            return _subscribed(state, event), ()
        case LinkLost():
            return without_view(state, event.link), ()
        case LinkDenied():
            return _denied(state, event), ()
        case RecordSeen():
            return _record_seen(state, event)
        case StrangerSeen():
            return _stranger_seen(state, event), ()
        case PeerSeen():
            return peers.with_word(state, event), ()
        case HeartbeatSeen():
            return peers.with_heartbeat(state, event), ()
        case WillSeen():
            return peers.with_good_bye(state, event), ()
        case NetworkChecked():
            return _network_checked(state, event), ()
        case DutyStarted(term):
            return claims.duty_started(state, term)
        case DutyStopped(term):
            return orders.duty_stopped(state, term)
        case FitnessChanged(why_not):
            return replace(state, unfit=why_not), ()
        case SwitchJudged():
            return orders.switch_judged(state, event)
        case Ordered():
            return orders.obey(state, event)


def _link_up(state: State, event: LinkUp) -> State:
    state = with_view(state, View(event.link, event.session))
    broker = frozenset({event.link.broker})
    return replace(
        state, accepted_by=state.accepted_by | broker, denied_by=state.denied_by - broker
    )


def _denied(state: State, event: LinkDenied) -> State:
    broker = frozenset({event.link.broker})
    return replace(
        without_view(state, event.link),
        denied_by=state.denied_by | broker,
        accepted_by=state.accepted_by - broker,
    )


def _subscribed(state: State, event: Subscribed) -> State:
    view = view_of(state, event.link)
    return state if view is None else with_view(state, replace(view, subscribed_at=state.now))


def _record_seen(state: State, event: RecordSeen) -> Step:
    view = view_of(state, event.link)
    if view is None:
        return state, ()
    record = event.record
    view, verdict = with_record(
        view,
        record,
        me=state.me.name,
        now=state.now,
        lease=state.group.timing.lease,
        retained=event.retained,
    )
    state = with_term(with_view(state, view), record.term)
    if record.id.node == state.me.name:
        return state, ()
    state = claims.close_attempt(state, record.term)
    if event.retained:
        return state, ()
    state = peers.heard_record(state, record.id.node)
    state = with_proof(state)
    is_holding = verdict is Verdict.EFFECTIVE and record.kind is not Kind.RELEASE
    return orders.meet(state, record) if is_holding else (state, ())


def _stranger_seen(state: State, event: StrangerSeen) -> State:
    """A record that our secret does not fit changes nothing, once the secret has proven good.

    Before that it may be ours that is wrong, and the stranger the group's hot node: then it
    counts as a sign of life, so that a node with a wrong secret never claims beside it.
    """
    view = view_of(state, event.link)
    if view is None or state.saved.secret_is_proven:
        return state
    return with_view(state, replace(view, heard_other_at=state.now))


def _network_checked(state: State, event: NetworkChecked) -> State:
    if not event.is_reachable:
        return state
    since = state.now if state.reference_until <= state.now else state.reference_since
    until = state.now + state.group.timing.reference_lasts
    return replace(state, reference_until=until, reference_since=since)


Appearance = tuple[Role, Phase, str]


def _appearance(state: State, claim_at: float) -> Appearance:
    """What people see of this node, and the reason for it."""
    if state.tenure is not None:
        return Role.HOT, _phase_of_hot(state, state.tenure), state.tenure.reason
    faulty = peers.why_faulty(state)
    if not state.me.can_be_hot:
        return Role.WITNESS, Phase.NONE, faulty or "witness"
    if faulty:
        return Role.FAULTY, Phase.NONE, faulty
    hot = peers.hot_peer(state)
    phase = _phase(state, hot, claim_at)
    if state.unfit:
        return Role.CRASHED, phase, state.unfit
    if state.has_joined:
        return Role.STANDBY, phase, _standby_reason(state, hot)
    return Role.STARTING, phase, "looking for the hot node"


def _phase_of_hot(state: State, tenure: Tenure) -> Phase:
    if state.handover is not None and not state.handover.is_asking:
        return Phase.STOPPING_DUTY
    return Phase.STARTING_DUTY if tenure.duty_started_at is None else Phase.NONE


def _phase(state: State, hot: Peer | None, claim_at: float) -> Phase:
    if state.attempt is not None:
        return Phase.ELECTION
    if hot is not None:
        return Phase.NONE
    return Phase.ELECTION if claim_at < inf else Phase.WAITING_HOT


def _standby_reason(state: State, hot: Peer | None) -> str:
    if hot is not None:
        return f"{hot.name} is hot"
    return "paused" if state.pause.is_on else "no hot node"


def _wakeup_at(state: State, prospect: Prospect) -> float:
    """The next instant at which some rule has something to do."""
    timing = state.group.timing
    instants = [
        state.beat_at + timing.presence_interval,
        *prospect,
        orders.deadline(state),
        lease.next_seed_at(state),
    ]
    instants += [
        view.outstanding.sent_at + timing.lease
        for view in state.views
        if view.outstanding is not None
    ]
    if state.attempt is not None:
        instants.append(state.attempt.started_at + timing.claim_timeout)
    if state.tenure is not None:
        instants.append(lease.lease_until(state))
    if _term_at_stake(state) is not None:
        instants += [_renewal_at(state, each) for each in state.group.brokers]
    return max(min(instants), state.now)


def _renewal_at(state: State, broker: str) -> float:
    """When this broker gets its next record, or infinity while an echo is awaited."""
    if lease.held_until(state, broker) <= state.now:
        claimable_at = lease.claimable_view(state, broker)[0]
        return max(lease.renewal_due_at(state, broker), claimable_at)
    is_awaited = lease.idle_view(state, broker) is None
    return inf if is_awaited else lease.renewal_due_at(state, broker)
