"""Each check finds what it is for, and nothing in a history without it."""

import math
from dataclasses import replace

import pytest

from tests.campaign.checks import (
    Finding,
    connects_and_recovers_in_time,
    events_are_true,
    never_two_hot,
    no_lease_is_longer,
    nobody_ends_by_itself,
    nothing_moves_in_calm,
    stops_when_cut_off,
    terms_grow,
    words_are_true,
)
from tests.campaign.hand_made import Note, asked, calm, hot, made, says, suffered
from tests.campaign.history import Died, Late, Told, Word
from tests.campaign.ledger import Life
from tests.campaign.plan import Fault
from tests.campaign.verdict import gaps, judge

CONNECTED: list[Note] = [Life(0), says(0)]


def violations(found: list[Finding]) -> list[str]:
    return [each.check for each in found if not each.excuse]


def test_good_history_is_acquitted() -> None:
    history = made(hot(1, 5, 1, "cold_start"), [*CONNECTED, *hot(6, 20, 2)])
    history.deaths.append(Died(5, "white"))
    history.notes["white"] = [*history.notes["white"], Life(6), says(6.5)]
    history.calms.append(calm(8, 15))
    history.words += [Word(6.1, "black", "black"), Word(6.6, "white", "black")]
    history.told.append(Told(6.1, "black", "failover", "black", 2))
    assert judge(history) == []


def test_two_hot_at_one_time() -> None:
    found = never_two_hot(made(hot(1, 5, 1), hot(4.99, 8, 2)))
    assert violations(found) == ["never two hot"]
    assert "10.0 ms" in found[0].text


def test_one_after_the_other_is_fine() -> None:
    assert never_two_hot(made(hot(1, 5, 1), hot(5, 8, 2))) == []


def test_frozen_node_is_hot_until_its_deadline() -> None:
    """Its last word was at 5, nobody may be hot before 6."""
    white = [says(5, 6, 1)]
    assert violations(never_two_hot(made(white, hot(5.5, 8, 2))))
    assert not never_two_hot(made(white, hot(6, 8, 2)))


def test_killed_node_is_hot_until_its_death() -> None:
    history = made([says(5, 6, 1)], hot(5.5, 8, 2))
    history.deaths.append(Died(5.25, "white"))
    assert not never_two_hot(history)


def test_availability_allows_two_hot_only_while_the_link_is_broken() -> None:
    history = made(hot(1, 9, 1), hot(5, 8, 2), "availability")
    assert violations(never_two_hot(history))
    broken = history.copy()
    broken.suffered.append(suffered(Fault.CUT, "white", 3, 7, "black"))
    assert not violations(never_two_hot(broken))


def test_two_hot_long_after_the_link_was_mended_are_a_violation() -> None:
    history = made(hot(1, 30, 1), hot(5, 28, 2), "availability")
    history.suffered.append(suffered(Fault.CUT, "white", 3, 7, "black"))
    assert violations(never_two_hot(history))


def test_cut_of_the_link_excuses_nothing_where_a_majority_decides() -> None:
    history = made(hot(1, 9, 1), hot(5, 8, 2))
    history.suffered.append(suffered(Fault.CUT, "white", 3, 7, "black"))
    assert violations(never_two_hot(history))


def test_frozen_node_whose_connections_were_reset_is_the_documented_case() -> None:
    history = made([says(5, 6, 1)], hot(5.5, 8, 2, "died"))
    history.suffered.append(suffered(Fault.FREEZE_AGENT, "white", 5.1, 7))
    assert violations(never_two_hot(history.copy()))
    history.suffered.append(suffered(Fault.RESET, "white", 5.2, 5.2, "black"))
    assert not violations(never_two_hot(history))


@pytest.mark.parametrize("term", [1, 2])
def test_next_hot_node_without_a_higher_term(term: int) -> None:
    assert violations(terms_grow(made(hot(1, 5, 2), hot(6, 8, term)))) == ["terms grow"]


def test_interval_of_the_same_tenure_may_be_interrupted() -> None:
    assert terms_grow(made([*hot(1, 2, 1), *hot(2.5, 4, 1)])) == []


def test_old_term_after_another_nodes_is_found() -> None:
    assert violations(terms_grow(made([*hot(1, 2, 1), *hot(6, 7, 1)], hot(3, 5, 2))))


def test_deadline_more_than_a_lease_ahead() -> None:
    assert violations(no_lease_is_longer(made([says(1, 2.1, 1)]))) == ["lease"]
    assert no_lease_is_longer(made([says(1, 2, 1)])) == []


def test_hot_without_a_cable_for_longer_than_a_lease() -> None:
    history = made(hot(1, 6, 1))
    history.suffered.append(suffered(Fault.CABLE, "white", 4, 8))
    assert violations(stops_when_cut_off(history)) == ["stops when cut off"]


def test_hot_without_a_cable_for_one_lease_is_what_is_promised() -> None:
    history = made(hot(1, 4.9, 1), hot(5, 9, 2))
    history.suffered.append(suffered(Fault.SILENCE, "white", 4, 8))
    assert stops_when_cut_off(history) == []


def test_node_that_becomes_hot_without_a_cable() -> None:
    history = made(hot(6, 7, 1))
    history.suffered.append(suffered(Fault.CABLE, "white", 4, 8))
    assert violations(stops_when_cut_off(history))


def test_nobody_hot_in_time_after_calm() -> None:
    history = made([*CONNECTED, *hot(13, 20, 1)], CONNECTED)
    history.calms.append(calm(10, 20, 14))
    assert violations(connects_and_recovers_in_time(history)) == ["recovers in time"]


def test_nobody_hot_at_all_after_calm() -> None:
    history = made(CONNECTED, CONNECTED)
    history.calms.append(calm(10, 30, math.inf))
    assert violations(connects_and_recovers_in_time(history)) == ["recovers in time"]


def test_hot_within_the_bound_after_the_last_link_stood() -> None:
    """Connected at 12.5, within 3 s; hot 1.9 s later, within 1.12 + 0.3 + 0.5."""
    white = [*CONNECTED, says(9, connected=2), says(12.5), *hot(14.4, 20, 1)]
    history = made(white, CONNECTED)
    history.calms.append(calm(10, 20, 15))
    assert connects_and_recovers_in_time(history) == []


def test_link_that_does_not_come_back_in_time() -> None:
    history = made([*CONNECTED, says(9, connected=2), says(14)], [*CONNECTED, *hot(9, 20, 1)])
    history.calms.append(calm(10, 20, 15))
    assert violations(connects_and_recovers_in_time(history)) == ["connects in time"]


def test_pause_is_no_reason_to_miss_a_hot_node() -> None:
    paused = [*CONNECTED, says(9, pause=(1, True)), says(18, pause=(2, False))]
    history = made([*paused, *hot(19, 25, 1)], CONNECTED)
    history.calms.append(calm(10, 25, 20))
    assert connects_and_recovers_in_time(history) == []


def test_machine_that_slept_for_longer_is_an_excuse_and_still_a_finding() -> None:
    history = made([*CONNECTED, *hot(12.2, 20, 1)], CONNECTED)
    history.calms.append(calm(10, 20, 14))
    assert violations(connects_and_recovers_in_time(history.copy()))
    history.late.append(Late(11, 0.3))
    found = connects_and_recovers_in_time(history)
    assert len(found) == 1
    assert not violations(found)


def test_role_that_moves_in_calm() -> None:
    history = made(hot(1, 14, 1), hot(15, 20, 2))
    history.calms.append(calm(10, 20))
    assert violations(nothing_moves_in_calm(history)) == ["nothing moves in calm"]


def test_role_that_moves_because_of_a_fault_that_has_just_ended() -> None:
    """A cable that was out for most of a lease: nobody had noticed when it was put back."""
    history = made(hot(1, 10.2, 1), hot(10.4, 20, 2))
    history.calms.append(calm(10, 20, 10))
    assert nothing_moves_in_calm(history) == []
    later = made(hot(1, 11.3, 1), hot(11.5, 20, 2))
    later.calms.append(calm(10, 20, 10))
    assert violations(nothing_moves_in_calm(later)) == ["nothing moves in calm"]


def test_role_that_moves_by_order_in_calm() -> None:
    history = made(hot(1, 14, 1), hot(14.1, 20, 2, "switchover"))
    history.calms.append(calm(10, 20))
    assert nothing_moves_in_calm(history) == []


def test_role_that_comes_back_after_a_switchover_failed() -> None:
    history = made([*hot(1, 14, 1), *hot(15.2, 20, 2, "released")])
    history.calms.append(calm(10, 20))
    assert violations(nothing_moves_in_calm(history.copy()))
    request, response = asked("switchover", "white", 14, 16.5)
    history.requests.append(request)
    history.responses.append(replace(response, is_ok=False, code="failed"))
    assert len(nothing_moves_in_calm(history)) == 1
    assert not violations(nothing_moves_in_calm(history))


def test_broker_that_names_the_wrong_node() -> None:
    history = made(hot(1, 20, 1))
    history.calms.append(calm(10, 15))
    history.words += [Word(2, "white", "white"), Word(2, "black", "none")]
    assert violations(words_are_true(history)) == ["words are true"]


def test_event_of_something_that_did_not_happen() -> None:
    history = made(hot(1, 20, 3))
    history.told.append(Told(1.1, "white", "failover", "white", 3))
    assert events_are_true(history) == []
    later = history.copy()
    later.told.append(Told(1.2, "black", "failover", "white", 4))
    assert violations(events_are_true(later)) == ["events are true"]


def test_process_that_ended_by_itself() -> None:
    history = made()
    history.deaths.append(Died(5, "white", by_itself=True, code=1))
    history.deaths.append(Died(6, "black"))
    assert violations(nobody_ends_by_itself(history.copy())) == ["nobody ends by itself"]
    for fault in (Fault.DISK_FULL, Fault.KILL_BROKER):
        explained = history.copy()
        explained.suffered = [suffered(fault, "white", 4, 4)]
        assert not violations(nobody_ends_by_itself(explained))
        explained.suffered = [suffered(fault, "black", 4, 4)]
        assert violations(nobody_ends_by_itself(explained))


def test_broken_broker_is_no_reason_to_end_once_the_node_has_begun() -> None:
    history = made([Life(1), says(2)])
    history.deaths.append(Died(5, "white", by_itself=True, code=1))
    history.suffered.append(suffered(Fault.KILL_BROKER, "white", 4, 4))
    assert violations(nobody_ends_by_itself(history))


def test_gaps_are_the_times_without_a_hot_node() -> None:
    assert gaps(made(hot(1, 5, 1), [*hot(6, 8, 2), *hot(8, 9, 3)]).hots) == (1,)


def test_time_for_which_we_froze_an_agent_is_not_the_machines_fault() -> None:
    late = says(8)
    late = type(late)(late.at, 0, 0, "", 0, False, 3, late=3.05)
    history = made([late])
    assert history.copy().lateness(7, 9, "white") == 3.05
    history.suffered.append(suffered(Fault.FREEZE_NODE, "white", 5, 7.97))
    assert round(history.lateness(7, 9, "white"), 3) == 0.03
