"""What people order, and what a hot node does by itself to hand over in peace."""

from math import inf

from edge.core import claims, lease, peers
from edge.core.effects import Answer, AskToSwitch, Effect, Leave, Report, StopDuty
from edge.core.events import (
    Ordered,
    PauseOrder,
    PromoteOrder,
    StopOrder,
    SwitchJudged,
    SwitchoverOrder,
)
from edge.core.lease import Step
from edge.core.model import Pause, Policy, Record
from edge.core.state import Handover, Peer, Promotion, State, Tenure, peer_of
from edge.core.values import replace

# The duty did not start within `starting_to_hot`.
TOO_LATE = "duty_did_not_start"
# After a duty that did not start a node stands back, longer each time in a row, seconds.
STAND_BACK = 1.0
STAND_BACK_MAX = 60.0
MOST_DOUBLINGS = 6  # by then the longest time is reached


def obey(state: State, event: Ordered) -> Step:
    match event.order:
        case SwitchoverOrder(to):
            return _switch_over(state, to, event.ticket)
        case PromoteOrder(force):
            return _promote(state, event.ticket, force=force)
        case PauseOrder(is_on):
            return _pause(state, event.ticket, is_on=is_on)
        case StopOrder():
            return _stop(state)


def _refuse(state: State, ticket: int, code: str, text: str) -> Step:
    return state, (Answer(ticket, code, text),)


def _switch_over(state: State, to: str | None, ticket: int) -> Step:
    if state.tenure is None:
        return _refuse(state, ticket, "not_hot", f"{state.me.name} is not hot")
    if state.handover is not None:
        return _refuse(state, ticket, "busy", "a switchover is already under way")
    if to == state.me.name:
        return _refuse(state, ticket, "already_hot", f"{to} is hot already")
    target, problem = _target(state, to)
    if target is None:
        return _refuse(state, ticket, "not_ready", problem)
    return _ask_and_hand_over(state, target.name, ticket)


def _target(state: State, to: str | None) -> tuple[Peer | None, str]:
    """The peer that shall take over, or why there is none."""
    if to is None:
        ready = peers.ready_peers(state, is_ordered=True)
        return (ready[0], "") if ready else (None, "no standby is ready to take over")
    peer = peer_of(state, to)
    if peer is None:
        return None, f"{to} is not a node of this group"
    problem = peers.why_not_ready(state, peer, is_ordered=True)
    return (None, f"{to} cannot take over: {problem}") if problem else (peer, "")


def begin_handover(state: State, to: str | None, ticket: int | None, reason: str) -> Step:
    """First the outputs stop; the lease is kept until they have."""
    tenure = state.tenure
    assert tenure is not None, "only a hot node hands over"
    if ticket is None and state.handover is not None:
        ticket = state.handover.ticket  # what was still being asked about happens now
    state = replace(state, handover=Handover(to, ticket, state.now))
    return state, (StopDuty(tenure.term, reason),)


def _is_handing_over(state: State) -> bool:
    return state.handover is not None and not state.handover.is_asking


def _ask_and_hand_over(state: State, to: str, ticket: int | None) -> Step:
    """A switchover that nobody needs at once: whoever may object is asked first."""
    if not state.asks_before_switch:
        return begin_handover(state, to, ticket, "switchover")
    tenure = state.tenure
    assert tenure is not None, "only a hot node hands over"
    state = replace(state, handover=Handover(to, ticket, state.now, is_asking=True))
    return state, (AskToSwitch(tenure.term, to),)


def switch_judged(state: State, event: SwitchJudged) -> Step:
    handover, tenure = state.handover, state.tenure
    if tenure is None or tenure.term != event.term or handover is None or not handover.is_asking:
        return state, ()
    if not event.why_not:
        return begin_handover(state, handover.to, handover.ticket, "switchover")
    again_at = state.now + state.group.timing.preempt_delay
    state = replace(state, preempts_not_before=again_at)
    return _end_handover(state, "vetoed", event.why_not, state.now - handover.began_at)


def duty_stopped(state: State, term: int) -> Step:
    """The outputs are off: now the lease is given up, to the target by name."""
    handover = state.handover
    if state.tenure is None or state.tenure.term != term:
        return state, ()
    if handover is None or handover.is_asking:
        return _duty_lost(state, state.tenure)
    is_failed_start = state.tenure.duty_started_at is None and _is_given_up(state, handover)
    state, effects = lease.release(state, term=term, to=handover.to)
    state = replace(
        claims.end_tenure(state),
        handover=replace(handover, released_at=state.now),
        yields_until=state.now + state.group.timing.claim_after,
    )
    state = _after_failed_start(state) if is_failed_start else state
    if not state.is_leaving:
        return state, effects
    return state, (*effects, *_last_answer(state, handover), Leave())


def _last_answer(state: State, handover: Handover) -> tuple[Answer, ...]:
    """Who was ordered to hand over and to stop is gone before he sees the other one hot."""
    if handover.ticket is None:
        return ()
    took = state.now - handover.began_at
    if handover.to is None:
        return (Answer(handover.ticket, "failed", f"{state.me.name} was stopped", took),)
    return (Answer(handover.ticket, "", handover.to, took),)


def _is_given_up(state: State, handover: Handover) -> bool:
    """Not because somebody else shall be hot, but because this node cannot, or not in time."""
    return state.unfit != "" or handover.to is None


def _after_failed_start(state: State) -> State:
    """Where nobody can do the duty, nobody needs to find that out again and again at full speed:
    each attempt costs a term, a write to every disk and a line in every history."""
    count = state.failed_starts + 1
    until = max(state.yields_until, state.now + stand_back(count))
    return replace(state, failed_starts=count, yields_until=until)


def stand_back(failed_starts: int) -> float:
    """How long this node leaves it to others after so many duties that did not start."""
    return min(STAND_BACK * 2.0 ** min(failed_starts - 1, MOST_DOUBLINGS), STAND_BACK_MAX)


def _duty_lost(state: State, tenure: Tenure) -> Step:
    """A duty that did not start, or that the guard withdrew: who is hot does the work, so the
    lease goes to whoever comes first, and this node lets the others try before it tries again."""
    is_failed_start = tenure.duty_started_at is None
    reason = "duty_failed" if is_failed_start else "duty_lost"
    state, effects = lease.release(state, term=tenure.term)
    state = replace(
        claims.end_tenure(state), yields_until=state.now + 2 * state.group.timing.claim_after
    )
    state = _after_failed_start(state) if is_failed_start else state
    return state, (*effects, Report("demoted", reason, tenure.term, state.me.name))


def relieve(state: State) -> Step:
    """A hot node that cannot do its duty hands over to a standby that can, if there is one."""
    is_busy = _is_handing_over(state) or state.pause.is_on
    if not state.unfit or state.tenure is None or is_busy:
        return state, ()
    ready = peers.ready_peers(state)
    return begin_handover(state, ready[0].name, None, "unfit") if ready else (state, ())


def follow_handover(state: State) -> Step:
    """After the release: the target is hot, or somebody else, or nobody in time."""
    handover = state.handover
    if handover is None:
        return state, ()
    took = state.now - handover.began_at
    if handover.released_at is None:
        if state.tenure is not None:
            return state, ()
        text = "the lease was lost before the duty had stopped"
        return _end_handover(state, "failed", text, took)
    hot = peers.hot_peer(state)
    if hot is not None and hot.term > state.term - 1 and hot.name == handover.to:
        return _end_handover(state, "", hot.name, took)
    if state.now < _handover_deadline(state, handover):
        return state, ()
    text = f"{handover.to or 'nobody'} did not become hot in time"
    return _end_handover(state, "failed", text, took)


def _handover_deadline(state: State, handover: Handover) -> float:
    assert handover.released_at is not None, "before the release there is no deadline"
    return handover.released_at + 2 * state.group.timing.claim_after + 1.0


def _end_handover(state: State, code: str, text: str, took: float) -> Step:
    handover = state.handover
    assert handover is not None, "it was there a moment ago"
    state = replace(state, handover=None)
    leave = (Leave(),) if state.is_leaving else ()
    if handover.ticket is None:
        return state, leave
    return state, (Answer(handover.ticket, code, text, took), *leave)


def _promote(state: State, ticket: int, *, force: bool) -> Step:
    problem = _why_not_promote(state, force=force)
    if problem is not None:
        return _refuse(state, ticket, *problem)
    state = replace(state, promotion=Promotion(ticket, force, state.now), claims_not_before=-inf)
    return state, ()


def _why_not_promote(state: State, *, force: bool) -> tuple[str, str] | None:
    """A refusal as code and sentence. No force makes two nodes hot in a group with a majority."""
    name, hot, faulty = state.me.name, peers.hot_peer(state), peers.why_faulty(state)
    rival = "" if hot is None else hot.name
    is_behind = not state.saved.was_synchronised and not force
    reasons = (
        (state.tenure is not None, "already_hot", f"{name} is hot already"),
        (not state.me.can_be_hot, "not_ready", f"{name} is a witness and can never be hot"),
        (rival != "", "hot_exists", f"{rival} is hot; order a switchover to {name} instead"),
        (faulty != "", "faulty", faulty),
        (state.promotion is not None, "busy", "a promotion is already under way"),
        (is_behind, "not_ready", f"{name} was not synchronised when it stopped; use force"),
    )
    return next(((code, text) for applies, code, text in reasons if applies), None)


def follow_promotion(state: State) -> Step:
    promotion = state.promotion
    if promotion is None:
        return state, ()
    took = state.now - promotion.began_at
    if state.tenure is not None:
        done = Answer(promotion.ticket, "", state.me.name, took)
        return replace(state, promotion=None), (done,)
    if state.now < promotion.began_at + state.group.timing.election:
        return state, ()
    text = "no majority of the brokers could be claimed"
    if state.group.policy in {Policy.AVAILABILITY, Policy.SAFETY} and not promotion.force:
        text += "; make sure that the other node is off, then promote with force"
    return replace(state, promotion=None), (Answer(promotion.ticket, "no_majority", text, took),)


def _pause(state: State, ticket: int, *, is_on: bool) -> Step:
    """The order travels with the heartbeats; the higher counter is the newer one."""
    pause = Pause(state.pause.counter + 1, is_on)
    state = replace(state, saved=replace(state.saved, pause=pause))
    return state, (Answer(ticket, "", "paused" if is_on else "resumed"),)


def _stop(state: State) -> Step:
    """SIGTERM: hand over in order, then leave."""
    if state.is_leaving:
        return state, ()
    state = replace(state, is_leaving=True)
    if state.tenure is None:
        state, effects = lease.release(state, term=state.term)
        return replace(state, attempt=None), (*effects, Leave())
    ready = peers.ready_peers(state)
    if _is_handing_over(state):
        return state, ()
    return begin_handover(state, ready[0].name if ready else None, None, "stopped")


def preempt(state: State) -> Step:
    """No fail-back, unless `preempt`: then a better node that has been ready for a while gets it.

    The hot node decides, because it alone can hand over.
    """
    at, peer = _preemption(state)
    if peer is None or state.now < at:
        return state, ()
    return _ask_and_hand_over(state, peer.name, None)


def _preemption(state: State) -> tuple[float, Peer | None]:
    is_settled = state.tenure is not None and state.handover is None and not state.pause.is_on
    if not state.group.preempt or not is_settled:
        return inf, None
    better = [
        peer
        for peer in peers.ready_peers(state)
        if state.group.member(peer.name).priority > state.me.priority
    ]
    best = better[0] if better else None
    if best is None:
        return inf, None
    settled_at = best.ready_since + state.group.timing.preempt_delay
    return max(settled_at, state.preempts_not_before), best


def meet(state: State, record: Record) -> Step:
    """Two hot nodes meet, which only policy availability can bring about: the lower term yields,
    then the lower priority, then the greater name."""
    tenure = state.tenure
    if state.group.policy is not Policy.AVAILABILITY or tenure is None:
        return state, ()
    if _is_handing_over(state):
        return state, ()
    term, me, other = tenure.term, state.me.name, record.id.node
    if not _yields(state, tenure, other, record.term):
        return state, (Report("conflict", "lower_term_yields", term, other, me),)
    return _yield_to(state, other, record.term)


def meet_by_word(state: State) -> Step:
    """A hot node that is heard, over any broker, although its register is not seen yet: the
    connection to its broker may take seconds to come back after a cut."""
    tenure = state.tenure
    if state.group.policy is not Policy.AVAILABILITY or tenure is None or _is_handing_over(state):
        return state, ()
    hot = peers.hot_peer(state)
    if hot is None or not _yields(state, tenure, hot.name, hot.term):
        return state, ()
    return _yield_to(state, hot.name, hot.term)


def _yields(state: State, tenure: Tenure, other: str, term: int) -> bool:
    ours = (tenure.term, state.me.priority)
    theirs = (term, state.group.member(other).priority)
    return theirs > ours or (theirs == ours and other < state.me.name)


def _yield_to(state: State, other: str, term: int) -> Step:
    state, effects = begin_handover(state, other, None, "higher_term_met")
    return state, (Report("yielded", "higher_term_met", term, state.me.name, other), *effects)


def limit_duty(state: State) -> Step:
    """A duty that does not start in time: give the lease back and let the next one try."""
    tenure = state.tenure
    if tenure is None or state.now < _duty_deadline(state, tenure):
        return state, ()
    effects: tuple[Effect, ...]
    state, effects = begin_handover(state, None, None, TOO_LATE)
    return state, (Report("failed", TOO_LATE, tenure.term, state.me.name), *effects)


def deadline(state: State) -> float:
    """When the first of the orders under way has taken too long, or infinity."""
    instants = [inf]
    if state.handover is not None and state.handover.released_at is not None:
        instants.append(_handover_deadline(state, state.handover))
    if state.promotion is not None:
        instants.append(state.promotion.began_at + state.group.timing.election)
    if state.tenure is not None:
        instants += [_duty_deadline(state, state.tenure), _preemption(state)[0]]
    return min(instants)


def _duty_deadline(state: State, tenure: Tenure) -> float:
    if tenure.duty_started_at is not None or state.handover is not None:
        return inf
    return tenure.since + state.group.timing.starting_to_hot
