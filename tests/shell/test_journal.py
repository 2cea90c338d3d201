"""The history survives a restart, keeps fifty entries and each change once."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edge.adapters.history import HISTORY_LENGTH, History
from edge.core.effects import Report
from edge.journal import as_change, event_payload, now_text, readable_word

REPORT = Report("failover", "died", 5, "black", "white", detect=0.1, elect=0.02, duty=0.0304)


def test_a_report_shows_its_times_in_milliseconds() -> None:
    payload = event_payload(REPORT)
    assert payload.pop("at").endswith("Z")
    assert payload == {
        "event": "failover",
        "from": "black",
        "to": "white",
        "term": 5,
        "reason": "died",
        "detect_ms": 100.0,
        "elect_ms": 20.0,
        "duty_ms": 30.4,
        "total_ms": 150.4,
    }


def test_unknown_times_are_null() -> None:
    payload = event_payload(Report("demoted", "lease_lost", 5))
    assert payload["detect_ms"] is payload["total_ms"] is None


def test_times_of_the_day_are_utc() -> None:
    assert now_text().endswith("Z")
    assert datetime.fromisoformat(now_text()).utcoffset() == timedelta(0)


def test_the_history_survives_a_restart(tmp_path: Path) -> None:
    steps = {"steps": [{"step": "start pump", "ms": 12.5}]}
    assert History(tmp_path).add(event_payload(REPORT) | steps)
    assert [each["term"] for each in History(tmp_path).read()] == [5]


def test_each_change_is_kept_once(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.add(event_payload(REPORT))
    assert not history.add(event_payload(REPORT))
    assert len(history.read()) == 1


def test_the_oldest_entries_go(tmp_path: Path) -> None:
    history = History(tmp_path)
    for term in range(HISTORY_LENGTH + 5):
        history.add(event_payload(Report("failover", "died", term)))
    assert [history.read()[0]["term"], len(history.read())] == [5, HISTORY_LENGTH]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"5", b'[1, "x", null]'])
def test_a_damaged_history_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "history.json").write_bytes(content)
    assert History(tmp_path).read() == []


def test_what_another_node_calls_a_change_is_shown_only_if_it_is_one() -> None:
    change = event_payload(REPORT)
    assert as_change(change) == change
    with_steps = {**change, "steps": [{"step": "start pump", "ms": 12.5}]}
    assert as_change(with_steps) == with_steps
    others: list[object] = [None, "x", [], {}, {"term": "5"}, {**change, "to": ["white"]}]
    no_steps = ("x", ["x"], [{"step": "a"}], [{"step": 1, "ms": 1}], [{"step": "a", "ms": []}])
    others += [{**change, "steps": each} for each in no_steps]
    assert [as_change(each) for each in others] == [{}] * len(others)


def test_only_texts_of_another_nodes_word_are_shown() -> None:
    word = {"term": 5, "phase": "none", "reason": ["x"], "switch": 5, "other": "x"}
    assert readable_word(word) == {"term": 5, "phase": "none", "switch": {}}


def test_a_disk_that_says_no_costs_only_the_memory_of_the_next_life(tmp_path: Path) -> None:
    history = History(tmp_path / "missing")
    assert history.add(event_payload(REPORT))
    assert len(history.read()) == 1
