"""The checker of "never two hot", on made-up stories: it must find what is wrong, and only that."""

import json
import math

from tests.lan.checker import (
    Claim,
    Ended,
    Mark,
    Resumed,
    Started,
    claims_of,
    overlaps,
    slowest,
)
from tests.lan.observer import Attached, Delivered, Detached, Entry


def says(
    at: float, role: str, *, via: str = "white", state: str = "online", retained: bool = False
) -> Delivered:
    """White's own word, as the broker `via` delivered it; `since` is its own clock, as text."""
    body = {"state": state, "role": role, "term": 3, "since": f"{at:09.3f}"}
    return Delivered(at, via, "edge/g/node/white/state", json.dumps(body).encode(), retained)


def intervals(entries: list[Entry], marks: list[Mark] | None = None) -> list[tuple[float, float]]:
    started: list[Mark] = [Started(0.0, "white")]
    claims = claims_of("white", "g", [Attached(0.0, "white"), *entries], started + (marks or []))
    return [(claim.start, claim.end) for claim in claims]


def claim(node: str, start: float, end: float) -> Claim:
    return Claim(node, start, end, 1, "")


def test_claim_lasts_from_hot_to_not_hot() -> None:
    assert intervals([says(1, "hot"), says(2, "hot"), says(3, "standby")]) == [(1, 3)]


def test_claim_without_an_end_is_open() -> None:
    assert intervals([says(1, "hot")]) == [(1, math.inf)]


def test_clean_stop_ends_a_claim() -> None:
    assert intervals([says(1, "hot"), says(2, "", state="stopped")]) == [(1, 2)]


def test_will_is_not_the_node_s_own_word() -> None:
    assert intervals([says(1, "hot"), says(2, "", state="lost")]) == [(1, math.inf)]


def test_kill_ends_a_claim_and_what_is_left_is_stale() -> None:
    story: list[Entry] = [says(1, "hot"), says(2.5, "hot", retained=True)]
    assert intervals(story, [Ended(2, "white")]) == [(1, 2)]


def test_another_node_s_death_changes_nothing() -> None:
    assert intervals([says(1, "hot")], [Ended(2, "black")]) == [(1, math.inf)]


def test_frozen_node_claims_again_only_by_a_live_word() -> None:
    marks: list[Mark] = [Ended(2, "white"), Resumed(4, "white")]
    stale = [says(1, "hot"), says(5, "hot", retained=True)]
    assert intervals([*stale], marks) == [(1, 2)]
    assert intervals([*stale, says(6, "hot")], marks) == [(1, 2), (6, math.inf)]


def test_word_interrupted_by_a_freeze_is_no_claim_if_it_is_taken_back_at_once() -> None:
    marks: list[Mark] = [Ended(2, "white"), Resumed(4, "white")]
    said_late = [says(4.01, "hot"), says(4.05, "standby")]
    assert intervals([*said_late], marks) == []
    assert intervals([says(4.01, "hot"), says(4.2, "standby")], marks) == [(4.01, 4.2)]
    assert intervals([says(4.01, "hot")], marks) == [(4.01, math.inf)]
    again = [says(4.06, "hot"), says(4.08, "standby")]
    assert intervals([*said_late, *again], marks) == [(4.06, 4.08)]
    assert intervals([*said_late], []) == [(4.01, 4.05)]


def test_retained_word_of_a_fresh_start_counts() -> None:
    assert intervals([says(1, "hot", retained=True)]) == [(1, math.inf)]


def test_other_broker_s_copy_never_begins_a_claim() -> None:
    assert intervals([says(1, "hot", via="black")]) == []


def test_other_broker_s_copy_ends_a_claim_only_while_the_own_broker_is_down() -> None:
    elsewhere = says(3, "standby", via="black")
    assert intervals([says(1, "hot"), elsewhere]) == [(1, math.inf)]
    assert intervals([says(1, "hot"), Detached(2, "white"), elsewhere]) == [(1, 3)]


def test_late_copy_from_before_the_claim_does_not_end_it() -> None:
    late = Delivered(3, "black", "edge/g/node/white/state", says(0.5, "standby").payload, False)
    assert intervals([says(1, "hot"), Detached(2, "white"), late]) == [(1, math.inf)]


def test_nonsense_on_the_topic_is_no_claim() -> None:
    nonsense = Delivered(1, "white", "edge/g/node/white/state", b"\xff[1,2", False)
    assert intervals([nonsense]) == []


def test_overlap_beyond_the_precision_is_found() -> None:
    found = overlaps([claim("white", 0, 5), claim("black", 4.9, 9)], {})
    assert [round(each.seconds, 3) for each in found] == [0.1]


def test_open_claims_of_two_nodes_overlap() -> None:
    assert overlaps([claim("white", 0, math.inf), claim("black", 4, math.inf)], {})


def test_overlap_within_the_precision_is_not_proven() -> None:
    late_observer = {"white": [(4.95, 0.2)]}
    assert not overlaps([claim("white", 0, 5), claim("black", 4.99, 9)], {})
    assert not overlaps([claim("white", 0, 5), claim("black", 4.9, 9)], late_observer)


def test_one_node_after_the_other_is_fine() -> None:
    assert not overlaps(
        [claim("white", 0, 5), claim("black", 5.1, 9), claim("white", 9.1, 9.5)], {}
    )


def test_only_pings_around_the_moment_count() -> None:
    assert slowest([(1.0, 0.5), (10.0, 0.01)], 10.2) == 0.01
    assert slowest([], 3.0) == 0.0
