"""Cores with one rule broken each: what the checks of the simulator are tested with.

A variant is a function that breaks the core through pytest's MonkeyPatch; its name says what.
The rules are asked about every message then: edge.core.routine only knows the good ones.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from edge.core import claims, death, lease, orders, peers, register, routine
from edge.core import step as turns
from edge.core.effects import Effect, Persist
from edge.core.model import Kind, Link, Record, RecordId, Timing
from edge.core.register import Verdict
from edge.core.state import State, View, views_of
from edge.core.values import replace

Break = Callable[[pytest.MonkeyPatch], None]
VARIANTS: dict[str, Break] = {}

judge = register.judge
holding_until = register._holding_until
heard_record = register._heard_record
durable_first = turns._durable_first
preemption = orders._preemption
expire = claims.expire
claimable_at = lease.claimable_at
begin_handover = orders.begin_handover
lease_until = lease.lease_until


def variant(change: Break) -> Break:
    """Enter a variant into the table under its function's name."""
    VARIANTS[change.__name__] = change
    return change


def break_core(name: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(routine, "heard", _always(None))
    VARIANTS[name](patch)


def _always(value: object) -> Callable[..., object]:
    return lambda *_: value


def _first(state: State, *_: object) -> State:
    return state


def _without_rule(patch: pytest.MonkeyPatch, rule: object) -> None:
    patch.setattr(turns, "RULES", tuple(each for each in turns.RULES if each is not rule))


def _with_rule(patch: pytest.MonkeyPatch, rule: object, other: Any) -> None:
    rules = tuple(other if each is rule else each for each in turns.RULES)
    patch.setattr(turns, "RULES", rules)


# Records and holding


@variant
def the_basis_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    def careless(view: View, record: Record) -> Verdict:
        verdict = judge(view, record)
        is_lost_claim = verdict is Verdict.INEFFECTIVE and record.kind is Kind.CLAIM
        return Verdict.EFFECTIVE if is_lost_claim else verdict

    patch.setattr(register, "judge", careless)


@variant
def a_gap_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def blind(view: View, record: Record) -> Verdict:
        verdict = judge(view, record)
        return Verdict.INEFFECTIVE if verdict is Verdict.GAP else verdict

    patch.setattr(register, "judge", blind)


@variant
def a_lost_claim_does_not_restart_the_wait(patch: pytest.MonkeyPatch) -> None:
    """Only effective records count as signs of somebody else."""

    def hard_of_hearing(view: View, record: Record, *, me: str, now: float) -> View:
        after = heard_record(view, record, me=me, now=now)
        is_holder = after.holder is not None and after.holder.node == record.id.node
        return after if is_holder else replace(after, heard_other_at=view.heard_other_at)

    patch.setattr(register, "_heard_record", hard_of_hearing)


@variant
def the_lease_counts_from_the_receipt(patch: pytest.MonkeyPatch) -> None:
    """As if the echo's way back and the sending's way there were no time."""

    def later(view: View, record: Record, me: str, lease_time: float) -> float:
        return holding_until(view, record, me, 1.15 * lease_time)

    patch.setattr(register, "_holding_until", later)


@variant
def a_hot_node_does_not_stop_at_the_end_of_its_lease(patch: pytest.MonkeyPatch) -> None:
    _without_rule(patch, claims.expire)


@variant
def a_lost_session_keeps_its_holding(patch: pytest.MonkeyPatch) -> None:
    """A view goes on counting until its time is over, whatever became of the connection."""

    def stubborn(state: State, link: Link) -> State:
        views = tuple(
            replace(each, outstanding=None) if each.link == link else each for each in state.views
        )
        return replace(state, views=views)

    patch.setattr(turns, "without_view", stubborn)


@variant
def a_missed_deadline_releases(patch: pytest.MonkeyPatch) -> None:
    """The lease is given to the others while the outputs may still be stopping."""

    def hasty(state: State) -> lease.Step:
        after, effects = expire(state)
        if not effects or state.tenure is None:
            return after, effects
        released, more = lease.release(state, term=state.tenure.term)
        views = {each.link: each for each in released.views}
        views_after = tuple(views.get(each.link, each) for each in after.views)
        return replace(after, views=views_after, counter=released.counter), (*effects, *more)

    _with_rule(patch, claims.expire, hasty)


# Claiming


@variant
def no_margin_for_clocks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Timing, "claim_after", property(lambda timing: timing.lease))


@variant
def no_wait_after_the_subscription(patch: pytest.MonkeyPatch) -> None:
    def impatient(state: State, view: View) -> float:
        heard = max(each.heard_other_at for each in views_of(state, view.link.broker))
        return state.now if heard == -inf else heard + state.group.timing.claim_after

    patch.setattr(lease, "_silent_at", impatient)


@variant
def the_silence_of_one_path_is_enough(patch: pytest.MonkeyPatch) -> None:
    """What was heard over the other path, or slept through, does not count."""

    def one_eared(state: State, view: View) -> float:
        return max(view.subscribed_at, view.heard_other_at) + state.group.timing.claim_after

    patch.setattr(lease, "_silent_at", one_eared)


@variant
def a_deaf_session_is_a_silent_register(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lease, "is_deaf", _always(False))


@variant
def no_stall_rule(patch: pytest.MonkeyPatch) -> None:
    """Who slept takes the silence of his sleep for that of the others."""
    patch.setattr(turns, "_distrust_silence", lambda state: state)


@variant
def the_stagger_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "_stagger", _always(0.0))


@variant
def the_term_is_not_stored(patch: pytest.MonkeyPatch) -> None:
    def forgetful(before: State, state: State, effects: tuple[Effect, ...]) -> list[Effect]:
        wanted = durable_first(before, state, effects)
        return [each for each in wanted if not isinstance(each, Persist)]

    patch.setattr(turns, "_durable_first", forgetful)


@variant
def the_term_is_stored_after_the_claim(patch: pytest.MonkeyPatch) -> None:
    def late(before: State, state: State, effects: tuple[Effect, ...]) -> list[Effect]:
        wanted = durable_first(before, state, effects)
        return sorted(wanted, key=lambda each: isinstance(each, Persist))

    patch.setattr(turns, "_durable_first", late)


@variant
def an_attempt_stays_open_to_old_terms(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "close_attempt", _first)


@variant
def what_an_earlier_tenure_holds_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lease, "forget", lambda state: state)


@variant
def an_empty_register_is_claimed(patch: pytest.MonkeyPatch) -> None:
    def greedy(state: State, view: View) -> float:
        tail = view.tail or RecordId("nobody", "0-0", 0)
        at = claimable_at(state, replace(view, tail=tail))
        return state.now if view.tail is None and at < inf else at

    patch.setattr(lease, "claimable_at", greedy)


# Wills


@variant
def the_will_of_one_broker_is_trusted(patch: pytest.MonkeyPatch) -> None:
    def hasty(state: State, node: str) -> float | None:
        wills = (death._willed_by(state, each, node) for each in state.group.brokers)
        return min((at for at in wills if at is not None), default=None)

    patch.setattr(death, "dead_since", hasty)


@variant
def a_dead_nodes_guard_gets_no_time(patch: pytest.MonkeyPatch) -> None:
    """The lease is claimed with the last will, without fence_delay."""

    def at_once(state: State, view: View) -> float:
        if view.holder is None or view.holder.is_assumed or view.holder.node == state.me.name:
            return inf
        died_at = death.dead_since(state, view.holder.node)
        return inf if died_at is None else died_at

    patch.setattr(death, "freed_at", at_once)


@variant
def a_sign_of_life_after_the_wills_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(death, "_lived_after", _always(False))


# Orders and policies


@variant
def a_switchover_releases_before_the_outputs_stop(patch: pytest.MonkeyPatch) -> None:
    def hurried(state: State, to: str | None, ticket: int | None, reason: str) -> lease.Step:
        state, effects = begin_handover(state, to, ticket, reason)
        assert state.tenure is not None, "only a hot node hands over"
        state, more = orders.duty_stopped(state, state.tenure.term)
        return state, (*effects, *more)

    patch.setattr(orders, "begin_handover", hurried)


@variant
def a_better_node_takes_the_role_back(patch: pytest.MonkeyPatch) -> None:
    """Fail-back, although nobody asked for `preempt`."""

    def eager(state: State) -> Any:
        return preemption(replace(state, group=replace(state.group, preempt=True)))

    patch.setattr(orders, "_preemption", eager)


@variant
def alone_without_a_reference(patch: pytest.MonkeyPatch) -> None:
    """Policy availability: one's own broker is enough, whether or not a reference answers."""

    def selfish(state: State) -> float:
        return lease_until(replace(state, reference_until=inf))

    patch.setattr(lease, "lease_until", selfish)


@variant
def alone_beside_a_hot_node_that_is_heard(patch: pytest.MonkeyPatch) -> None:
    """Policy availability: its heartbeats do not count, only its broker and its records."""
    patch.setattr(claims, "_unheard_at", _always(-inf))


@variant
def of_two_hot_nodes_none_yields(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(orders, "meet", lambda state, *_: (state, ()))
    _without_rule(patch, orders.meet_by_word)


@variant
def a_paused_group_is_not_resumed(patch: pytest.MonkeyPatch) -> None:
    """Liveness: an order to resume that nobody else hears of."""
    patch.setattr(peers, "with_pause", _first)
