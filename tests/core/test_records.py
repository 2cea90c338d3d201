"""docs/protocol.md, Records: what one record does to one subscriber's view of a register."""

from dataclasses import replace
from math import inf

from edge.core.model import Kind, Link, RecordId
from edge.core.register import Verdict, judge, with_presence, with_record
from edge.core.state import Holder, Outstanding, View
from tests.core.lab import record

NOW = 50.0


def fresh() -> View:
    return View(Link("router"), "9-1", subscribed_at=10.0)


def after(view: View, *records: tuple[str, int, int | None, Kind]) -> View:
    """The view after records given as (node, counter, counter of the basis, kind)."""
    ids: dict[int, RecordId] = {}
    for node, counter, basis, kind in records:
        seen = record(node, counter, None if basis is None else ids[basis], kind)
        ids[counter] = seen.id
        view, _ = with_record(view, seen, me="white", now=NOW, lease=1.0)
    return view


def held_by_black() -> View:
    return after(fresh(), ("black", 1, None, Kind.CLAIM))


def tail_of(view: View) -> RecordId:
    assert view.tail is not None, "something was seen"
    return view.tail


def test_a_claim_on_the_tail_takes_effect_and_makes_its_sender_the_holder() -> None:
    view = fresh()
    claim = record("black", 1, None, Kind.CLAIM)
    view, verdict = with_record(view, claim, me="white", now=NOW, lease=1.0)
    assert verdict is Verdict.EFFECTIVE
    assert view.holder == Holder("black", "1-1")
    assert view.tail == claim.id


def test_a_renewal_takes_effect_only_from_the_holder() -> None:
    view = held_by_black()
    assert judge(view, record("black", 2, view.tail)) is Verdict.EFFECTIVE
    assert judge(view, record("green", 2, view.tail)) is Verdict.INEFFECTIVE


def test_a_release_takes_effect_only_from_the_holder() -> None:
    view = held_by_black()
    assert judge(view, record("black", 2, view.tail, Kind.RELEASE)) is Verdict.EFFECTIVE
    assert judge(view, record("green", 2, view.tail, Kind.RELEASE)) is Verdict.INEFFECTIVE


def test_an_effective_release_frees_the_register() -> None:
    view = held_by_black()
    release = record("black", 2, view.tail, Kind.RELEASE, to="white")
    view, _ = with_record(view, release, me="white", now=NOW, lease=1.0)
    assert view.is_free
    assert view.free_for == "white"
    assert view.holder is None


def test_a_record_on_an_older_one_is_ineffective_and_still_the_tail() -> None:
    """A compare-and-set that lost."""
    view = held_by_black()
    first = tail_of(view)
    view, _ = with_record(view, record("black", 2, first), me="white", now=NOW, lease=1.0)
    late = record("green", 1, first, Kind.CLAIM)
    view, verdict = with_record(view, late, me="white", now=NOW + 1, lease=1.0)
    assert verdict is Verdict.INEFFECTIVE
    assert view.holder == Holder("black", "1-1")
    assert view.tail == late.id


def test_an_ineffective_record_of_another_node_restarts_the_wait() -> None:
    view = held_by_black()
    late = record("green", 1, None, Kind.CLAIM)
    view, verdict = with_record(view, late, me="white", now=NOW + 7, lease=1.0)
    assert verdict is Verdict.INEFFECTIVE
    assert view.heard_other_at == NOW + 7


def test_the_tail_itself_seen_again_is_a_duplicate() -> None:
    """The snapshot and the live copy of one record."""
    view = held_by_black()
    same = record("black", 1, None, Kind.CLAIM)
    again, verdict = with_record(view, same, me="white", now=NOW + 9, lease=1.0)
    assert verdict is Verdict.DUPLICATE
    assert again == view


def test_an_id_that_was_seen_before_did_not_happen() -> None:
    """A replayed record is no tail, no gap and no sign of life."""
    view = after(held_by_black(), ("black", 2, None, Kind.RENEW))
    old = record("black", 1, None, Kind.CLAIM)
    again, verdict = with_record(view, old, me="white", now=NOW + 9, lease=1.0)
    assert verdict is Verdict.DUPLICATE
    assert again == view


def test_a_late_snapshot_does_not_turn_the_order_back() -> None:
    """A retained copy that arrives behind a live record is not newer than it."""
    view = held_by_black()
    old = record("green", 9, None, Kind.CLAIM)
    again, verdict = with_record(view, old, me="white", now=NOW, lease=1.0, retained=True)
    assert verdict is Verdict.DUPLICATE
    assert again == view


def test_a_basis_never_seen_is_a_gap_and_drops_what_was_held() -> None:
    view = replace(held_by_black(), held_until=NOW + 1)
    missed = RecordId("green", "4-4", 7)
    view, verdict = with_record(
        view, record("green", 8, missed, session="4-4"), me="white", now=NOW, lease=1.0
    )
    assert verdict is Verdict.GAP
    assert view.held_until == -inf
    assert view.holder == Holder("green", "4-4", is_assumed=True)
    assert view.heard_other_at == NOW
    assert view.gap_at == NOW


def test_nothing_counts_after_a_gap_until_a_later_effective_record() -> None:
    view = fresh()
    view, _ = with_record(
        view, record("green", 8, RecordId("green", "4-4", 7)), me="white", now=NOW, lease=1.0
    )
    mine = record("white", 3, view.tail, Kind.CLAIM, session="9-1")
    waiting = replace(view, outstanding=Outstanding(mine.id, NOW - 0.2))
    view, verdict = with_record(waiting, mine, me="white", now=NOW, lease=1.0)
    assert verdict is Verdict.EFFECTIVE
    assert view.held_until == NOW - 0.2 + 1.0


def test_a_snapshot_is_the_tail_and_its_sender_the_assumed_holder_heard_now() -> None:
    retained = record("black", 5, RecordId("black", "1-1", 4))
    view, _ = with_record(fresh(), retained, me="white", now=NOW, lease=1.0, retained=True)
    assert view.tail == retained.id
    assert view.holder == Holder("black", "1-1", is_assumed=True)
    assert view.heard_other_at == NOW


def test_the_true_holder_is_learnt_from_his_renewal_behind_a_lost_claim() -> None:
    """The snapshot was an ineffective claim of green; black, who holds, renews behind it."""
    retained = record("green", 5, RecordId("black", "1-1", 4), Kind.CLAIM)
    view, _ = with_record(fresh(), retained, me="white", now=NOW, lease=1.0, retained=True)
    renewal = record("black", 5, retained.id)
    view, verdict = with_record(view, renewal, me="white", now=NOW, lease=1.0)
    assert verdict is Verdict.EFFECTIVE
    assert view.holder == Holder("black", "1-1")


def test_the_holding_is_counted_from_before_the_record_was_sent() -> None:
    mine = record("white", 1, None, Kind.CLAIM, session="9-1")
    waiting = replace(fresh(), outstanding=Outstanding(mine.id, NOW - 0.4))
    view, _ = with_record(waiting, mine, me="white", now=NOW, lease=1.0)
    assert view.held_until == NOW - 0.4 + 1.0
    assert view.outstanding is None


def test_a_claim_that_was_given_up_holds_nothing_when_its_echo_comes() -> None:
    mine = record("white", 1, None, Kind.CLAIM, session="9-1")
    view, _ = with_record(fresh(), mine, me="white", now=NOW, lease=1.0)
    assert view.held_until == -inf


def test_somebody_elses_effective_record_ends_our_holding() -> None:
    mine = record("white", 1, None, Kind.CLAIM, session="9-1")
    waiting = replace(fresh(), outstanding=Outstanding(mine.id, NOW))
    view, _ = with_record(waiting, mine, me="white", now=NOW, lease=1.0)
    theirs = record("black", 1, mine.id, Kind.CLAIM)
    view, verdict = with_record(view, theirs, me="white", now=NOW, lease=1.0)
    assert verdict is Verdict.EFFECTIVE
    assert view.held_until == -inf


def test_somebody_elses_lost_claim_leaves_our_holding_alone() -> None:
    mine = record("white", 1, None, Kind.CLAIM, session="9-1")
    waiting = replace(fresh(), outstanding=Outstanding(mine.id, NOW))
    view, _ = with_record(waiting, mine, me="white", now=NOW, lease=1.0)
    theirs = record("black", 1, None, Kind.CLAIM)
    view, _ = with_record(view, theirs, me="white", now=NOW, lease=1.0)
    assert view.held_until == NOW + 1.0


def test_a_node_renews_over_either_path() -> None:
    """A renewal is the holder's if it comes from the holder's node."""
    view = held_by_black()
    other_path = record("black", 2, view.tail, session="1-2")
    assert judge(view, other_path) is Verdict.EFFECTIVE


def test_the_seed_of_an_empty_register_is_ineffective_and_frees_nothing() -> None:
    seed = record("black", 1, None, Kind.RELEASE)
    view, verdict = with_record(fresh(), seed, me="white", now=NOW, lease=1.0)
    assert verdict is Verdict.INEFFECTIVE
    assert not view.is_free
    assert view.tail == seed.id


def test_a_record_behind_a_release_takes_the_freedom_away() -> None:
    """Rule 2 asks that the release itself is the tail."""
    view = after(held_by_black(), ("black", 2, None, Kind.RENEW), ("green", 3, None, Kind.CLAIM))
    view = replace(view, holder=Holder("green", "1-1"))
    release = record("green", 4, view.tail, Kind.RELEASE)
    view, _ = with_record(view, release, me="white", now=NOW, lease=1.0)
    assert view.is_free
    late = record("black", 9, None, Kind.CLAIM)
    view, _ = with_record(view, late, me="white", now=NOW, lease=1.0)
    assert not view.is_free


def test_only_so_many_sessions_are_remembered() -> None:
    view = fresh()
    for number in range(100):
        view = with_presence(view, "black", f"1-{number}", now=NOW)
    assert len(view.presences) == 32


def test_a_clones_claim_ends_our_holding() -> None:
    """Another machine under our name is another node: its sessions are of another life."""
    mine = record("white", 1, None, Kind.CLAIM, session="9-1")
    view = replace(fresh(), outstanding=Outstanding(mine.id, NOW))
    view, _ = with_record(view, mine, me="white", now=NOW, lease=1.0)
    assert view.held_until == NOW + 1.0
    clone = record("white", 1, mine.id, Kind.CLAIM, session="7-1")
    view, verdict = with_record(view, clone, me="white", now=NOW, lease=1.0)
    assert verdict is Verdict.EFFECTIVE
    assert view.held_until == -inf


def test_a_clones_record_restarts_the_wait_for_a_claim() -> None:
    own = record("white", 1, None, Kind.CLAIM, session="9-2")
    view, _ = with_record(fresh(), own, me="white", now=NOW, lease=1.0)
    assert view.heard_other_at == -inf
    clone = record("white", 1, own.id, session="7-1")
    view, _ = with_record(view, clone, me="white", now=NOW, lease=1.0)
    assert view.heard_other_at == NOW
