"""Hot intervals out of what a core allowed."""

from pathlib import Path

from tests.campaign.hand_made import Note, hot, says
from tests.campaign.ledger import Ledger, Life, hot_intervals, value_at


def intervals(notes: list[Note], *deaths: float) -> list[tuple[float, float, int]]:
    return [(each.start, each.end, each.term) for each in hot_intervals("white", notes, deaths)]


def test_renewals_make_one_interval_and_the_cores_word_ends_it() -> None:
    assert intervals(hot(1, 3, 7)) == [(1, 3, 7)]


def test_without_a_word_the_deadline_ends_it() -> None:
    """A frozen agent writes nothing: it is hot until its deadline, not until it is frozen."""
    assert intervals([says(1, 2, 7), says(1.5, 2.5, 7)]) == [(1, 2.5, 7)]


def test_death_ends_it() -> None:
    assert intervals([says(1, 2, 7)], 1.25) == [(1, 1.25, 7)]


def test_death_before_it_began_does_not_count() -> None:
    assert intervals([Life(0), Life(0.75), says(1, 2, 7)], 0.5) == [(1, 2, 7)]


def test_new_life_ends_what_the_old_one_said() -> None:
    assert intervals([says(1, 2, 7), Life(1.5)]) == [(1, 1.5, 7)]


def test_renewal_after_the_deadline_is_another_interval() -> None:
    assert intervals([says(1, 2, 7), says(3, 4, 7)]) == [(1, 2, 7), (3, 4, 7)]


def test_new_term_is_another_interval() -> None:
    assert intervals([says(1, 2, 7), says(1.5, 2.5, 8)]) == [(1, 1.5, 7), (1.5, 2.5, 8)]


def test_shorter_deadline_replaces_a_longer_one() -> None:
    assert intervals([says(1, 2, 7), says(1.25, 1.75, 7)]) == [(1, 1.75, 7)]


def test_value_at_a_moment_is_the_last_entry_of_that_life() -> None:
    notes: list[Note] = [Life(0), says(1), says(2), Life(3)]
    assert value_at(notes, 0.5) is None
    assert value_at(notes, 1.5) == says(1)
    assert value_at(notes, 2) == says(2)
    assert value_at(notes, 3.5) is None


def test_file_is_read_on_while_it_grows(tmp_path: Path) -> None:
    entry = (
        b'{"at":2.0,"until":3.0,"term":1,"reason":"silent","pause":0,"paused":false,'
        b'"connected":3,"late":0.0}\n'
    )
    ledger = Ledger("white", tmp_path / "white.ledger")
    ledger.read_on()
    assert ledger.notes == []
    ledger.path.write_bytes(b'{"life":1,"at":1.5}\n' + entry[:20])
    ledger.read_on()
    assert ledger.notes == [Life(1.5)]
    ledger.path.write_bytes(b'{"life":1,"at":1.5}\n' + entry)
    ledger.read_on()
    assert ledger.notes == [Life(1.5), says(2.0, 3.0, 1, "silent")]
