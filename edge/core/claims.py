"""Becoming hot: when to claim, what an attempt needs, how it ends (docs/protocol.md, Claiming)."""

from functools import partial
from math import inf
from typing import NamedTuple

from edge.core import death, lease, peers
from edge.core.effects import Beat, Report, StartDuty, StopDuty
from edge.core.lease import Step
from edge.core.model import Kind, Policy
from edge.core.state import Attempt, Peer, State, Tenure, peer_of, views_of, with_own_term
from edge.core.values import replace


class Prospect(NamedTuple):
    """When the next attempt starts, if nothing changes; and when that may become earlier."""

    claim_at: float = inf
    reconsider_at: float = inf


NO_PROSPECT = Prospect()


def prospect(state: State) -> Prospect:
    """`NO_PROSPECT` if no attempt may start, whatever time passes."""
    if state.is_hot or state.attempt is not None or not may_claim(state):
        return NO_PROSPECT
    opportunity = max(_claimable_at(state), state.claims_not_before, _gate_at(state))
    if opportunity == inf:
        return NO_PROSPECT
    betters = peers.betters(state)
    return Prospect(opportunity + _stagger(state, len(betters)), _reconsider_at(state, betters))


def _reconsider_at(state: State, betters: list[Peer]) -> float:
    """A better candidate is silent for too long, or we have been here for long enough to be no
    worse than him."""
    claim_after, settled_at = state.group.timing.claim_after, peers.settled_at(state)
    instants = [peer.heard_at + claim_after for peer in betters]
    if settled_at > state.now:
        instants.append(settled_at)
    return min(instants, default=inf)


def _stagger(state: State, rank: int) -> float:
    """An order names who shall be hot; without one the better candidates go first."""
    is_called = state.promotion is not None or _is_called(state)
    return 0.0 if is_called else rank * state.group.timing.stagger


def _is_called(state: State) -> bool:
    """A hot node released its registers to us by name, less than one `claim_after` ago."""
    return any(
        view.is_free
        and view.free_for == state.me.name
        and state.now - view.freed_at <= state.group.timing.claim_after
        for view in state.views
    )


def may_claim(state: State) -> bool:
    """Whether this node may become hot at all, now."""
    if not state.me.can_be_hot or state.is_leaving or peers.why_faulty(state):
        return False
    if state.promotion is not None:
        return state.saved.was_synchronised or state.promotion.force
    if _is_called(state):
        return True
    return state.me.priority > 0 and not state.pause.is_on and state.saved.was_synchronised


def _gate_at(state: State) -> float:
    """Cold start: `wait_for_all` waits until every node was seen once, or `waiting_hot`.

    And who has handed over leaves the target one `claim_after`, unless he is called back.
    """
    if state.promotion is not None or _is_called(state):
        return -inf
    is_waiting = (
        state.group.wait_for_all and not state.has_joined and not peers.everybody_was_seen(state)
    )
    opens_at = state.started_at + state.group.timing.waiting_hot if is_waiting else -inf
    return max(opens_at, state.yields_until)


def _claimable_at(state: State) -> float:
    """When a majority of the brokers can be claimed, or one alone where the policy says so."""
    return min(lease.majority_claimable_at(state), _alone_at(state))


def _alone_at(state: State) -> float:
    """Two brokers: our own register alone, silent for `claim_after`, the other one unreachable.

    Policy availability asks for a reference that answers; an operator's force for nothing.
    """
    if state.group.policy not in {Policy.AVAILABILITY, Policy.SAFETY}:
        return inf
    if any(_is_reachable(state, each) for each in state.group.brokers if each != state.me.name):
        return inf
    own_at = lease.claimable_view(state, state.me.name)[0]
    if state.promotion is not None and state.promotion.force:
        return own_at
    if state.group.policy is Policy.SAFETY or state.reference_until <= state.now:
        return inf
    # Whose cable has just come back meets the router before the peer: that is no proof.
    settled_at = state.reference_since + state.group.timing.reconnect
    return max(own_at, settled_at, _unheard_at(state))


def _unheard_at(state: State) -> float:
    """When nothing will have told of another hot node for `claim_after`, on any broker.

    Its records may be missing: it has no holding on a register for `claim_after` after it
    connected there anew. So every other sign counts too. Its heartbeats while its last word is
    that it is hot; what it or its will says afterwards shortens nothing, its outputs may still be
    stopping. A new term: somebody has just claimed. And our own connection to its broker: one that
    has just ended may be back at once, and the other node be in the same doubt about us.
    """
    said_hot = (peer.hot_heard_at for peer in state.peers)
    heard_at = max(state.term_heard_at, state.parted_at, *said_hot)
    return heard_at + state.group.timing.claim_after


def _is_reachable(state: State, broker: str) -> bool:
    return any(not lease.is_deaf(state, view) for view in views_of(state, broker))


def begin(state: State) -> Step:
    """Start an attempt: a new term, a claim on every broker that can be claimed now.

    What an earlier tenure still holds does not count: a majority must have seen the new term.
    """
    origin, noticed_at, reason = _cause(state)
    is_called = _is_called(state)
    is_alone = lease.majority_claimable_at(state) > state.now
    is_forced = is_alone and state.promotion is not None and state.promotion.force
    state = with_own_term(lease.forget(state), state.term + 1)
    attempt = Attempt(state.term, state.now, reason, origin, noticed_at, is_alone, is_called)
    state = replace(state, attempt=attempt, is_forced=is_forced, beat_at=state.now)
    state, effects = lease.for_each(state, state.group.brokers, partial(_claim, term=state.term))
    # The heartbeat goes first: a broker that has the claim has its term in two places (R19).
    return state, (Beat(), *effects)


def close_attempt(state: State, term: int) -> State:
    """A foreign record with our new term, or a higher one: no further claims with that term.

    Whoever was hot with the record's term must be followed by a higher one (docs/protocol.md,
    Terms). The claims that are out had older records as their basis and may still win.
    """
    if state.attempt is None or term < state.attempt.term:
        return state
    return replace(state, attempt=replace(state.attempt, is_open=False))


def _claim(state: State, broker: str, *, term: int) -> Step:
    at, view = lease.claimable_view(state, broker)
    if view is None or at > state.now:
        return state, ()
    return lease.publish(state, view, Kind.CLAIM, term=term)


def _cause(state: State) -> tuple[str | None, float, str]:
    """Whom we replace, when the fault showed, and why: for the report, decides nothing."""
    last = state.last_hot
    freed = [view.freed_at for view in state.views if view.is_free]
    if state.promotion is not None:
        return last, state.promotion.began_at, "promoted"
    former = state.given_up
    if former is not None and _only_tries_again(state, former):
        return former.origin, former.noticed_at, former.reason
    if freed:
        return last, min(freed), "switchover" if _is_called(state) else "released"
    if last is None or last == state.me.name:
        return last, state.now, "cold_start" if last is None else "returned"
    died_at = death.dead_since(state, last)
    if died_at is not None:
        return last, died_at, "died"
    heard = [view.heard_other_at for view in state.views if view.heard_other_at > -inf]
    return last, max(heard, default=state.now), "silent"


def _only_tries_again(state: State, former: Attempt) -> bool:
    """Nobody has tried or become hot since, and whom we replace was not heard as hot again."""
    if (former.origin, former.term) != (state.last_hot, state.term):
        return False
    peer = peer_of(state, former.origin or "")
    return peer is None or peer.hot_heard_at <= former.started_at


def conclude(state: State) -> Step:
    """Hot when a majority was effective; given up when that can no longer be, or too late."""
    attempt = state.attempt
    if attempt is None:
        return state, ()
    until = lease.lease_until(state) if attempt.is_alone else lease.majority_until(state)
    if state.now < until:
        return _succeed(state, attempt)
    is_late = state.now >= attempt.started_at + state.group.timing.claim_timeout
    return _give_up(state, attempt) if is_late or _is_hopeless(state, attempt) else (state, ())


def _is_hopeless(state: State, attempt: Attempt) -> bool:
    """Every claim is answered, and it was not enough.

    Who was called by name waits on: the releases of the other registers are under way, and nobody
    else may claim meanwhile. A node that stops takes a vote with it, its own broker's.
    """
    is_answered = all(view.outstanding is None for view in state.views)
    return is_answered and not attempt.is_called


def _succeed(state: State, attempt: Attempt) -> Step:
    tenure = Tenure(
        term=attempt.term,
        since=state.now,
        reason=attempt.reason,
        origin=attempt.origin,
        noticed_at=attempt.noticed_at,
        claimed_at=attempt.started_at,
    )
    state = replace(state, attempt=None, tenure=tenure, has_joined=True, stalled_at=-inf)
    return state, (StartDuty(attempt.term),)


def _give_up(state: State, attempt: Attempt) -> Step:
    """Release what we got, and leave the others a random time to be first."""
    state, effects = lease.release(state, term=attempt.term)
    again_at = _back_off_until(state)
    return replace(state, attempt=None, given_up=attempt, claims_not_before=again_at), effects


def _back_off_until(state: State) -> float:
    timing = state.group.timing
    return state.now + timing.backoff_min + state.jitter * (timing.backoff_max - timing.backoff_min)


def duty_started(state: State, term: int) -> Step:
    """The outputs are on: the change is over, and its times are known."""
    tenure = state.tenure
    if tenure is None or tenure.term != term or tenure.duty_started_at is not None:
        return state, ()
    tenure_now = replace(tenure, duty_started_at=state.now)
    state = replace(state, tenure=tenure_now, failed_starts=0)
    return state, (_report(state, tenure),)


EVENT_OF_REASON = {
    "switchover": "switchover",
    "promoted": "promoted",
    "cold_start": "elected",
    "returned": "elected",
}


def _report(state: State, tenure: Tenure) -> Report:
    return Report(
        event=EVENT_OF_REASON.get(tenure.reason, "failover"),
        reason=tenure.reason,
        term=tenure.term,
        origin=tenure.origin,
        target=state.me.name,
        detect=max(0.0, tenure.claimed_at - tenure.noticed_at),
        elect=tenure.since - tenure.claimed_at,
        duty=state.now - tenure.since,
    )


def expire(state: State) -> Step:
    """A missed deadline demotes at once. Nothing is released: our outputs may still be stopping,
    so whoever comes next waits for the whole lease and the guard."""
    if state.tenure is None or state.now < lease.lease_until(state):
        return state, ()
    term, name = state.tenure.term, state.me.name
    state = replace(lease.drop(state), claims_not_before=_back_off_until(state))
    return end_tenure(state), (
        StopDuty(term, "lease_lost"),
        Report("demoted", "lease_lost", term, name),
    )


def end_tenure(state: State) -> State:
    return replace(state, tenure=None, last_hot=state.me.name)
