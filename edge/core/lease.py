"""Holding: votes, renewals, claims on single registers (docs/protocol.md, Holding and Claiming)."""

from collections.abc import Callable, Iterable
from functools import partial
from math import inf

from edge.core import death, register
from edge.core.effects import Effect, Publish
from edge.core.model import Kind, Policy, Record, RecordId
from edge.core.state import (
    Outstanding,
    State,
    View,
    earliest,
    sent_at,
    views_of,
    with_sent,
    with_view,
)
from edge.core.values import replace

Step = tuple[State, tuple[Effect, ...]]


def held_until(state: State, broker: str) -> float:
    """The latest instant to which any of our sessions holds this broker."""
    return max([view.held_until for view in views_of(state, broker)], default=-inf)


def majority_until(state: State) -> float:
    """*Hot* = now < the Q-th latest of the expiry times."""
    return _majority_of(state, _expiries(state))


def lease_until(state: State) -> float:
    """The majority's instant, or a later one that the policy of two brokers allows.

    Policy availability: one of the two is enough while a reference answers. An operator's forced
    promotion says the same until the majority is back.
    """
    expiries = _expiries(state)
    longest = max(expiries)
    if state.is_forced:
        return longest
    alone = -inf
    if state.group.policy is Policy.AVAILABILITY:
        alone = min(longest, state.reference_until)
    return max(_majority_of(state, expiries), alone)


def _expiries(state: State) -> list[float]:
    """`held_until` of every broker of the group, in one pass."""
    latest = dict.fromkeys(state.group.brokers, -inf)
    for view in state.views:
        if view.subscribed_at < inf and view.held_until > latest.get(view.link.broker, inf):
            latest[view.link.broker] = view.held_until
    return list(latest.values())


def _majority_of(state: State, expiries: list[float]) -> float:
    return sorted(expiries, reverse=True)[state.group.quorum - 1]


def acts_until(state: State) -> float:
    """Until when outputs are allowed: the lease, but after a stall only once it was renewed."""
    if state.tenure is None:
        return -inf
    until = lease_until(state)
    return until if until >= state.stalled_at + state.group.timing.lease else -inf


def votes_held(state: State) -> int:
    return sum(held_until(state, each) > state.now for each in state.group.brokers)


def claimable_at(state: State, view: View) -> float:
    """The earliest instant at which rules 1 to 3 of *Claiming* allow a claim here."""
    if not view.is_subscribed or view.outstanding is not None or is_deaf(state, view):
        return inf
    if view.tail is None:
        return inf  # an empty register is seeded first: a term must never be forgotten
    return min(_silent_at(state, view), _freed_at(state, view), death.freed_at(state, view))


def is_deaf(state: State, view: View) -> bool:
    """Silence proves something only on a session that lets our own heartbeats through."""
    heard_at = max(register.heard_at(view), view.subscribed_at)
    return state.now > heard_at + state.group.timing.deaf_after


def _silent_at(state: State, view: View) -> float:
    """Rule 1: no record of another node since `claim_after`, and subscribed for as long.

    What was heard over any path counts: a path that went deaf is not a silent register.
    """
    heard = [each.heard_other_at for each in views_of(state, view.link.broker)]
    return max(view.subscribed_at, *heard) + state.group.timing.claim_after


def _freed_at(state: State, view: View) -> float:
    """Rule 2: the tail is an effective release, to us or to anybody.

    A session that is younger than `claim_after`, or had a gap since, does not use this rule:
    somebody could replay an old release before the living holder's next record has been heard.
    """
    if not view.is_free or view.free_for not in {None, state.me.name}:
        return inf
    unsure_at = max(view.subscribed_at, view.gap_at)
    is_settled = view.freed_at >= unsure_at + state.group.timing.claim_after
    return view.freed_at if is_settled else inf


def majority_claimable_at(state: State) -> float:
    """When a majority of the brokers can be claimed."""
    times = earliest(state, partial(claimable_at, state))
    return sorted(times)[state.group.quorum - 1]


def claimable_view(state: State, broker: str) -> tuple[float, View | None]:
    """The path over which this broker can be claimed first, and when."""
    best_at, best = inf, None
    for view in views_of(state, broker):
        at = claimable_at(state, view)
        if at < best_at:
            best_at, best = at, view
    return best_at, best


def publish(state: State, view: View, kind: Kind, *, term: int, to: str | None = None) -> Step:
    """Send one record whose basis is the tail that we see; its echo decides.

    Only a release is sent while another record of ours is under way: it follows that one.
    """
    counter = state.counter + 1
    record_id = RecordId(state.me.name, view.session, counter)
    basis = view.tail if view.outstanding is None else view.outstanding.id
    record = Record(record_id, basis, kind, term, to)
    is_counted = kind is not Kind.RELEASE
    view = replace(view, outstanding=Outstanding(record_id, state.now) if is_counted else None)
    state = with_sent(with_view(replace(state, counter=counter), view), view.link.broker)
    return state, (Publish(view.link, record),)


def renew(state: State, term: int) -> Step:
    """Keep what is held, and claim every further broker as soon as one may."""
    return for_each(state, state.group.brokers, partial(_renew_broker, term=term))


def _renew_broker(state: State, broker: str, *, term: int) -> Step:
    if state.now < renewal_due_at(state, broker):
        return state, ()
    if held_until(state, broker) > state.now:
        view = idle_view(state, broker)
        return (state, ()) if view is None else publish(state, view, Kind.RENEW, term=term)
    at, view = claimable_view(state, broker)
    if view is None or at > state.now:
        return state, ()
    return publish(state, view, Kind.CLAIM, term=term)


def renewal_due_at(state: State, broker: str) -> float:
    """One record each heartbeat and path, so that each path's holding is renewed in turn.

    But one at a time for each broker: records on two paths would take each other's basis away.
    A path that is silent for half a lease does not hold up the other one any longer.
    """
    timing, views = state.group.timing, views_of(state, broker)
    waits = [view.outstanding.sent_at + timing.lease / 2 for view in views if view.outstanding]
    return max(sent_at(state, broker) + timing.heartbeat / max(1, len(views)), *waits, -inf)


def idle_view(state: State, broker: str) -> View | None:
    """The path whose holding ends first and that awaits no echo; None if all are busy."""
    idle = [
        view
        for view in views_of(state, broker)
        if view.outstanding is None
        and view.holder is not None
        and view.holder.node == state.me.name
    ]
    return min(idle, key=lambda view: view.held_until, default=None)


def release(state: State, *, term: int, to: str | None = None) -> Step:
    """Give everything up: first drop all holdings, then say so on every register that we hold."""
    ours = [each for each in state.group.brokers if _is_ours(state, each)]
    if state.is_leaving:
        ours = [each for each in ours if _outlives_us(state, each)]
    state = drop(state)
    return for_each(state, ours, partial(_release_broker, term=term, to=to))


def drop(state: State) -> State:
    """Stop counting on anything that is held; say nothing."""
    views = (replace(view, held_until=-inf) for view in state.views)
    return replace(state, views=tuple(views), is_forced=False)


def forget(state: State) -> State:
    """Count on nothing from before, not on what is held and not on what is under way."""
    views = (replace(view, outstanding=None) for view in state.views)
    return drop(replace(state, views=tuple(views)))


def _is_ours(state: State, broker: str) -> bool:
    """We hold it, or a claim of ours that may yet take effect is on its way."""
    return any(
        view.held_until > state.now or view.outstanding is not None
        for view in views_of(state, broker)
    )


def _outlives_us(state: State, broker: str) -> bool:
    """Our own broker ends with us: who counted on it would be hot for a moment only. Without a
    majority beside it, it is what lets a successor begin at all."""
    others = len(state.group.brokers) - 1
    return broker != state.me.name or others < state.group.quorum


def _release_broker(state: State, broker: str, *, term: int, to: str | None) -> Step:
    """Over the path that awaits an echo, if one does: the release then follows that record."""
    views = sorted(views_of(state, broker), key=lambda view: view.outstanding is None)
    return publish(state, views[0], Kind.RELEASE, term=term, to=to) if views else (state, ())


def seed(state: State) -> Step:
    """Put the highest known term on an empty register: our own broker's, or a witness's."""
    due = [each for each in _perhaps_empty(state) if state.now >= _seed_at(state, each)]
    return for_each(state, due, partial(_release_broker, term=state.term, to=None))


def next_seed_at(state: State) -> float:
    """When the next register gets its seed, or infinity."""
    return min([_seed_at(state, each) for each in _perhaps_empty(state)], default=inf)


def _perhaps_empty(state: State) -> list[str]:
    """The brokers of which one of our sessions has seen no record: mostly none."""
    empty = [view.link.broker for view in state.views if view.tail is None]
    return [each for each in state.group.brokers if each in empty] if empty else []


def _seed_at(state: State, broker: str) -> float:
    """When this broker's register gets its seed, or infinity: not ours to seed, or not empty."""
    if broker != state.me.name and broker not in state.group.witnesses:
        return inf
    views = views_of(state, broker)
    if not views or any(view.tail is not None for view in views):
        return inf
    return sent_at(state, broker) + state.group.timing.lease


def for_each(state: State, brokers: Iterable[str], rule: Callable[[State, str], Step]) -> Step:
    """Apply a rule to one broker after another and collect what it wants done."""
    effects: tuple[Effect, ...] = ()
    for broker in brokers:
        state, more = rule(state, broker)
        effects += more
    return state, effects
