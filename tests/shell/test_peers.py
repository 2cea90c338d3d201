"""The judgements of the benchmark beside keepalived, on histories made by hand."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import peers_report
from benchmarks.contenders import EdgeBy
from benchmarks.peers_costs import Idle
from benchmarks.peers_drawing import Row, drawing
from benchmarks.peers_report import (
    Results,
    Run,
    Split,
    picture,
    read,
    remarks,
    tables,
    write,
    write_docs,
)
from benchmarks.peers_stress import Stress
from benchmarks.probe import (
    Answer,
    changes,
    longest_pause,
    longest_silence,
    takeover_at,
    time_with_two,
)

# The client is answered by white, then by nobody, then by black.
HISTORY = (
    Answer(1.0, 1, "client", "white"),
    Answer(1.1, 2, "client", "white"),
    Answer(1.2, 3, "black", "white"),
    Answer(1.3, 4, "black", "black"),
    Answer(1.9, 9, "client", "black"),
    Answer(2.0, 10, "client", "black"),
)
RESULTS = Results(
    EdgeBy.ROLE,
    [
        Run("keepalived 1 s", "kill", 2.0, 0.0, 1.0, 0.004),
        Run("keepalived 1 s", "kill", 4.0, 0.0, 0.0, 0.008),
        Run("edge fast", "kill", 0.1, 0.1, 0.0, 0.004),
    ],
    [Split("keepalived 1 s", 6.0, 3.0), Split("edge fast", 6.0, 0.0)],
    [Idle("edge fast", "standby", 1.0, 60.0, 40.0, 100.0, 9000.0)],
    [Stress("edge fast", "busy cores", 10.0, 2, 0.0)],
    ["edge fast: not within 20 s: white answers"],
)


def test_the_takeover_is_the_survivor_s_first_answer_to_the_client() -> None:
    assert takeover_at(HISTORY, "client", "black", 1.05) == 1.9
    assert takeover_at(HISTORY, "client", "black", 1.95) == 2.0
    assert takeover_at(HISTORY, "client", "white", 1.5) is None


def test_the_silence_begins_with_the_last_answer_before_the_fault() -> None:
    assert longest_silence(HISTORY, "client", 1.05, 1.9) == pytest.approx(0.8)
    assert longest_silence(HISTORY, "client", 1.5, 1.9) == pytest.approx(0.8)
    assert longest_silence(HISTORY[4:], "client", 1.5, 2.0) == pytest.approx(0.4)
    assert longest_silence((), "client", 1.5, 1.9) == 0


def test_two_hold_the_role_only_if_both_say_so_of_themselves_in_one_tick() -> None:
    asked_at = {1: 1.0, 2: 1.1, 3: 1.2, 4: 1.5}
    assert time_with_two(HISTORY, asked_at) == 0
    also = (Answer(1.21, 3, "white", "white"), Answer(1.31, 3, "black", "black"))
    assert time_with_two((*HISTORY, *also), asked_at) == pytest.approx(0.3)
    assert time_with_two((*HISTORY, *also), {3: 1.2}) == 0, "a tick that has not ended"


def test_changes_and_pauses_are_counted() -> None:
    assert changes(HISTORY, "client") == 1
    assert changes(HISTORY, "nobody") == 0
    assert longest_pause({1: 1.0, 2: 1.1, 3: 1.4}) == pytest.approx(0.3)


def test_results_survive_their_file(tmp_path: Path) -> None:
    write(RESULTS, tmp_path / "results.json")
    assert read(tmp_path / "results.json") == RESULTS


def test_the_table_compares_with_keepalived_as_it_comes() -> None:
    takeovers, splits, stresses, idle = tables(RESULTS)
    assert takeovers.rows == [
        ["kill", "keepalived 1 s, by address", "2", "3000", "4000", "1.0", "0", "500 (in 1 of 2)"],
        ["kill", "edge fast, by role topic", "1", "100", "100", "30.0", "100", "0 (in 0 of 1)"],
    ]
    later, *_ = tables(replace(RESULTS, edge_by=EdgeBy.ADDRESS))
    assert later.rows[1][1] == "edge fast, by address"
    assert [row[-1] for row in splits.rows] == ["50 %", "0 %"]
    assert [row[3] for row in stresses.rows] == ["2"]
    assert remarks(RESULTS) == [
        "The probe's own longest pause was 8 ms.",
        "Did not come to its end: edge fast: not within 20 s: white answers.",
    ]
    assert idle.rows[0][2:] == ["1.00", "60", "40", "100", "9.0"]
    assert takeovers.markdown().count("\n") == 4


def test_the_picture_has_a_dot_for_each_run() -> None:
    root = ET.fromstring(picture(RESULTS))
    dots = [float(each.get("cx", "nan")) for each in root.iter() if each.tag.endswith("circle")]
    assert len(dots) == 3
    assert dots == sorted(dots[:2]) + dots[2:]
    assert dots[2] < dots[0]
    odd = drawing("<&>", [Row("<", "&", (0.00001, 1000.0))])
    assert ET.fromstring(odd) is not None


def test_the_documents_are_written_between_their_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers_report, "DOCS", tmp_path)
    page = tmp_path / "benchmarks.md"
    page.write_text("before\n<!-- peers: begin -->\nstale words\n<!-- peers: end -->\nafter\n")
    write_docs(RESULTS)
    once = page.read_text()
    write_docs(replace(RESULTS))
    assert page.read_text() == once
    assert once.startswith("before\n<!-- peers: begin -->\n![")
    assert once.endswith("<!-- peers: end -->\nafter\n")
    assert "stale words" not in once
    assert (tmp_path / "peers.svg").read_text() == picture(RESULTS)


def test_the_page_has_its_marks() -> None:
    text = (peers_report.DOCS / "benchmarks.md").read_text()
    assert len(peers_report.BLOCK.findall(text)) == 1
