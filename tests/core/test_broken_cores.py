"""The tests of the tests: cores with one broken rule, each of which a world must catch."""

from math import inf

import pytest

from edge.core import claims, death, lease, register
from edge.core import step as turns
from edge.core.model import Kind, Record, Timing
from edge.core.register import Verdict
from edge.core.state import State, View, views_of
from tests.core.faults import trouble
from tests.core.lab import hot_lab, record
from tests.core.plan import draw_plan
from tests.core.world import World

SEEDS = 60
LEASES = 25.0

judge = register.judge
holding_until = register._holding_until


def assert_caught(first: int) -> None:
    """Some world must notice, by its own checks or by the core's invariants.

    `first` only saves time: a seed known to notice when this was written.
    """
    for seed in range(first, first + SEEDS):
        try:
            trouble(World(draw_plan(seed)), LEASES)
        except AssertionError:
            return
    pytest.fail(f"{SEEDS} worlds did not notice")


def miss_a_claim() -> None:
    """A broker that swallows a record: black's claim is never seen, its renewal is."""
    lab = hot_lab()
    swallowed = record("black", 50, lab.tails["router"], Kind.CLAIM)
    lab.foreign("router", basis=swallowed.id)
    assert lab.votes() == 2


def test_no_margin_for_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timing, "claim_after", property(lambda timing: timing.lease))
    assert_caught(42)


def test_a_lease_counted_from_later_than_the_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    def later(view: View, record: Record, me: str, lease: float) -> float:
        return holding_until(view, record, me, 1.15 * lease)

    monkeypatch.setattr(register, "_holding_until", later)
    assert_caught(4)


def test_the_basis_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(view: View, record: Record) -> Verdict:
        verdict = judge(view, record)
        is_lost_claim = verdict is Verdict.INEFFECTIVE and record.kind is Kind.CLAIM
        return Verdict.EFFECTIVE if is_lost_claim else verdict

    monkeypatch.setattr(register, "judge", careless)
    assert_caught(25)


def test_one_will_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(state: State, node: str) -> float | None:
        wills = (death._willed_by(state, each, node) for each in state.group.brokers)
        return min((at for at in wills if at is not None), default=None)

    monkeypatch.setattr(death, "dead_since", hasty)
    assert_caught(1)


def test_no_wait_after_the_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(state: State, view: View) -> float:
        heard = max(each.heard_other_at for each in views_of(state, view.link.broker))
        return state.now if heard == -inf else heard + state.group.timing.claim_after

    monkeypatch.setattr(lease, "_silent_at", impatient)
    assert_caught(22)


def test_a_hot_node_that_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = tuple(each for each in turns.RULES if each is not claims.expire)
    monkeypatch.setattr(turns, "RULES", rules)
    assert_caught(0)


def test_a_gap_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker of a world swallows a record, so here one does."""

    def blind(view: View, seen: Record) -> Verdict:
        verdict = judge(view, seen)
        return Verdict.INEFFECTIVE if verdict is Verdict.GAP else verdict

    miss_a_claim()
    monkeypatch.setattr(register, "judge", blind)
    with pytest.raises(AssertionError):
        miss_a_claim()
