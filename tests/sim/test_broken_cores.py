"""The tests of the tests: cores with one broken rule, each of which must be noticed.

By the random worlds, or, where a rule guards against something that they hardly ever bring about,
by the test of that rule. docs/proof.md has the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from edge.core.model import Policy
from edge.sim.batch import run_one
from edge.sim.plan import Wishes
from tests.core import (
    test_claiming,
    test_holding,
    test_orders,
    test_policies,
    test_records,
    test_wills,
)
from tests.sim.broken import VARIANTS, break_core

# How many seeds are tried before a broken core counts as unnoticed.
SEARCH = 60
TRIO = Wishes(nodes=2, witnesses=1)
THREE = Wishes(nodes=3, witnesses=0)
AVAILABILITY = Wishes(policy=Policy.AVAILABILITY)
ANY = Wishes()


@dataclass(frozen=True, slots=True)
class Seeds:
    """`first` only saves time: a seed known to notice when this was written, and what did."""

    first: int
    wishes: Wishes
    check: str


BY_SEEDS: dict[str, Seeds] = {
    "the_basis_is_not_checked": Seeds(18, ANY, "TermsGrow, OneHot"),
    "the_lease_counts_from_the_receipt": Seeds(5, ANY, "StopsWhenCutOff, OneHot"),
    "a_hot_node_does_not_stop_at_the_end_of_its_lease": Seeds(1, ANY, "the core's invariant"),
    "a_missed_deadline_releases": Seeds(23, ANY, "OneHot"),
    "no_margin_for_clocks": Seeds(1, ANY, "OneHot"),
    "a_deaf_session_is_a_silent_register": Seeds(9, ANY, "RecoversInTime"),
    "the_will_of_one_broker_is_trusted": Seeds(13, TRIO, "OneHot"),
    "a_dead_nodes_guard_gets_no_time": Seeds(0, TRIO, "OneHot"),
    "a_switchover_releases_before_the_outputs_stop": Seeds(13, TRIO, "OneHot"),
    "a_better_node_takes_the_role_back": Seeds(9, TRIO, "NoNeedlessChange"),
    "alone_without_a_reference": Seeds(3, AVAILABILITY, "StopsWhenCutOff"),
    "of_two_hot_nodes_none_yields": Seeds(4, AVAILABILITY, "OneHot"),
}
BY_TEST: dict[str, Callable[[], None]] = {
    "a_lost_session_keeps_its_holding": (
        test_holding.test_a_lost_connection_ends_what_was_held_through_it_at_once
    ),
    "a_paused_group_is_not_resumed": (
        test_orders.test_the_newer_pause_order_stands_wherever_it_was_given
    ),
    "a_gap_is_ignored": test_records.test_a_basis_never_seen_is_a_gap_and_drops_what_was_held,
    "a_lost_claim_does_not_restart_the_wait": (
        test_records.test_an_ineffective_record_of_another_node_restarts_the_wait
    ),
    "no_wait_after_the_subscription": (
        test_claiming.test_the_silence_is_counted_from_the_subscription
    ),
    "the_silence_of_one_path_is_enough": test_claiming.test_what_any_path_heard_is_no_silence,
    "no_stall_rule": test_holding.test_silence_that_was_slept_through_proves_nothing,
    "the_stagger_is_ignored": (
        test_claiming.test_a_better_living_candidate_goes_first_by_one_stagger
    ),
    "the_term_is_not_stored": test_claiming.test_the_term_is_on_disk_before_the_claim_goes_out,
    "the_term_is_stored_after_the_claim": (
        test_claiming.test_the_term_is_on_disk_before_the_claim_goes_out
    ),
    "an_attempt_stays_open_to_old_terms": partial(
        test_claiming.test_an_attempt_claims_nothing_further_where_its_term_is_no_longer_new, 5
    ),
    "what_an_earlier_tenure_holds_counts": (
        test_claiming.test_an_attempt_counts_on_nothing_that_an_older_term_still_holds
    ),
    "alone_beside_a_hot_node_that_is_heard": (
        test_policies.test_availability_never_starts_alone_while_it_hears_a_hot_node
    ),
    "an_empty_register_is_claimed": test_claiming.test_an_empty_register_is_never_claimed,
    "a_sign_of_life_after_the_wills_is_ignored": (
        test_wills.test_a_sign_of_life_after_the_wills_makes_them_void
    ),
}


def test_every_variant_has_what_notices_it() -> None:
    assert BY_SEEDS.keys() | BY_TEST.keys() == VARIANTS.keys()
    assert not BY_SEEDS.keys() & BY_TEST.keys()


@pytest.mark.parametrize("name", BY_SEEDS)
@pytest.mark.timeout(300)
def test_a_random_world_notices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    how = BY_SEEDS[name]
    break_core(name, monkeypatch)
    seeds = range(how.first, how.first + SEARCH)
    assert any(run_one(seed, how.wishes).violation for seed in seeds)


@pytest.mark.parametrize("name", BY_TEST)
def test_the_test_of_the_rule_notices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BY_TEST[name]()
    break_core(name, monkeypatch)
    with pytest.raises((AssertionError, IndexError)):
        BY_TEST[name]()


def test_the_core_itself_is_not_noticed() -> None:
    """The pinned seeds notice the break, not something else."""
    pinned = {(how.first, how.wishes) for how in BY_SEEDS.values()}
    broken = {each for each in pinned if run_one(*each).violation}
    assert not broken
