"""From each numbered rule of docs/protocol.md to the tests that hold it; no rule without one."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROTOCOL = HERE.parents[1] / "docs" / "protocol.md"

# Rules that are not the core's; where each is held.
ELSEWHERE = {"R20": "tests/duty/test_guard_faults.py and tests/lan/test_duty.py"}
TESTS = {
    "R1": "the_tail_itself_seen_again_is_a_duplicate an_id_that_was_seen_before_did_not_happen",
    "R2": "a_renewal_takes_effect_only_from_the_holder a_node_renews_over_either_path",
    "R3": "a_basis_never_seen_is_a_gap_and_drops_what_was_held",
    "R4": "a_record_on_an_older_one_is_ineffective_and_still_the_tail",
    "R5": "a_snapshot_is_the_tail_and_its_sender_the_assumed_holder_heard_now",
    "R6": "an_ineffective_record_of_another_node_restarts_the_wait",
    "R7": "an_empty_register_is_never_claimed the_seed_of_an_empty_register_is_ineffective_and_"
    "frees_nothing",
    "R8": "the_holding_is_counted_from_before_the_record_was_sent",
    "R9": "hot_lasts_to_the_quorums_expiry_and_not_to_the_last_one an_involuntary_demotion_"
    "releases_nothing",
    "R10": "a_node_claims_after_claim_after_of_silence_and_not_before the_silence_is_counted_"
    "from_the_subscription a_deaf_session_is_not_a_silent_register",
    "R11": "a_release_may_be_claimed_at_once a_release_seen_by_a_young_session_may_be_a_replay",
    "R12": "the_claim_waits_for_fence_delay",
    "R13": "an_attempt_needs_a_majority_of_the_brokers a_better_living_candidate_goes_first_by_"
    "one_stagger an_attempt_without_a_majority_is_given_up_and_released",
    "R14": "one_reset_connection_frees_nothing the_wills_must_come_within_one_fence_delay",
    "R15": "another_living_session_of_the_node_speaks_for_its_life",
    "R16": "a_sign_of_life_after_the_wills_makes_them_void",
    "R17": "a_holder_that_was_only_assumed_is_not_replaced_by_its_death a_retained_will_tells_"
    "of_the_past",
    "R18": "the_term_is_on_disk_before_the_claim_goes_out",
    "R19": "the_new_term_is_one_above_the_highest_ever_seen an_attempt_claims_nothing_further_"
    "where_its_term_is_no_longer_new a_heartbeat_tells_the_term_before_the_claim_goes_out "
    "a_heartbeat_tells_the_term_also_where_the_register_has_an_older_one",
    "R21": "a_switchover_stops_the_outputs_before_it_releases only_the_target_claims_for_one_"
    "claim_after",
    "R22": "a_returning_node_stays_standby preempt_hands_over_to_a_better_node_that_was_ready_"
    "for_its_delay",
    "R23": "wait_for_all_waits_until_every_node_was_seen a_node_with_priority_zero_never_claims_"
    "by_itself",
    "R24": "a_promoted_node_becomes_hot_although_it_would_not_by_itself no_force_makes_a_second_"
    "hot_node_where_a_majority_decides",
    "R25": "after_a_stall_no_output_until_the_lease_was_renewed silence_that_was_slept_through_"
    "proves_nothing",
    "R26": "paused_nobody_claims_by_itself a_paused_hot_node_keeps_renewing "
    "an_order_switches_over_in_a_paused_group "
    "of_two_orders_with_one_number_the_pause_stands",
    "R27": "a_clean_stop_hands_over_and_leaves a_clean_stop_does_not_release_the_broker_that_ends_"
    "with_it",
    "R28": "a_duty_that_does_not_start_in_time_gives_the_lease_back",
    "R29": "a_retained_heartbeat_is_no_sign_of_life an_older_word_of_the_same_life_is_ignored",
    "R30": "a_file_that_differs_from_the_hot_nodes_makes_this_node_faulty",
    "R31": "a_node_with_a_wrong_secret_does_not_claim_beside_the_group",
    "R32": "availability_takes_over_alone_with_a_reference availability_stops_within_the_lease_"
    "when_no_reference_answers",
    "R33": "safety_never_takes_over_by_itself safety_lets_an_operator_promote_with_force",
    "R34": "of_two_hot_nodes_the_lower_term_yields with_equal_terms_priority_and_then_the_name_"
    "decide",
    "R35": "the_same_inputs_give_the_same_state_and_effects",
    "R36": "every_event_in_every_state_has_an_answer",
    "R37": "time_never_runs_backwards the_deadline_takes_effect_before_the_event_is_looked_at",
    "R38": "the_term_is_on_disk_before_the_claim_goes_out",
    "R39": "the_core_lets_its_node_rest",
    "R40": "a_duty_that_ends_by_itself_gives_the_lease_to_anybody",
    "R41": "an_unfit_node_claims_after_the_fit_ones_whatever_its_priority",
    "R42": "whoever_may_object_is_asked_before_anything_stops",
}


def written_tests() -> set[str]:
    trees = (ast.parse(path.read_text()) for path in HERE.glob("test_*.py"))
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_rule_of_the_specification_is_in_the_table() -> None:
    rules = set(re.findall(r"\*\*(R\d+)\*\*", PROTOCOL.read_text()))
    assert rules == TESTS.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("rule", TESTS)
def test_the_tests_of_a_rule_exist(rule: str) -> None:
    assert {f"test_{name}" for name in TESTS[rule].split()} <= written_tests()
