"""`edge sim` as it is typed: what it refuses, what it prints, how it ends."""

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.commands import sim
from edge.errors import SettingsError
from edge.sim.batch import Tally
from edge.sim.plan import Wishes, draw_plan
from edge.sim.run import Outcome, run_seed
from tests.sim.broken import break_core

# A seed at which a core that does not stop is caught within its first elections.
CAUGHT = 1


def request(**typed: object) -> sim.Request:
    given: dict[str, object] = dict.fromkeys(
        ("seed", "seeds", "nodes", "witnesses", "policy", "minutes")
    )
    return sim.read_request(**{**given, "jobs": 1, "beyond": [], **typed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "typed",
    [
        {"seeds": 0},
        {"seed": -1},
        {"jobs": 0},
        {"minutes": 0.0},
        {"nodes": 1},
        {"policy": "best"},
        {"policy": "safety", "nodes": 3},
        {"beyond": ["everything"]},
    ],
)
def test_bad_arguments_are_one_line(typed: dict[str, object]) -> None:
    with pytest.raises(SettingsError) as refused:
        request(**typed)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
    assert "--" in str(refused.value)


def test_one_seed_or_many() -> None:
    assert request(seed=7).seeds == range(7, 8)
    assert request(seed=7, seeds=3).seeds == range(7, 10)
    assert len(request().seeds) == sim.SEEDS


def test_a_run_in_which_everything_holds() -> None:
    done = CliRunner().invoke(app, ["sim", "--seeds", "2", "--nodes", "2", "--witnesses", "1"])
    assert done.exit_code == 0, done.output
    assert "2 seeds" in done.stdout
    assert "0 violations" in done.stdout


def test_a_trace_shows_boots_and_steps() -> None:
    done = CliRunner().invoke(app, ["sim", "--seed", "1", "--trace"])
    assert done.exit_code == 0, done.output
    assert "boots, life 1" in done.stdout
    assert "Publish(" in done.stdout
    assert "is HOT, term 1" in done.stdout


def test_a_trace_is_of_one_seed() -> None:
    with pytest.raises(SettingsError):
        sim.show_trace(request(seed=1, seeds=2))


def test_a_violation_says_all_that_is_needed_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_core("a_hot_node_does_not_stop_at_the_end_of_its_lease", monkeypatch)
    assert sim.run_all(request(seed=CAUGHT, nodes=3)) == 1
    report = capsys.readouterr().out
    assert f"seed {CAUGHT}: " in report
    assert f"commit {sim.commit()}" in report
    assert "policy majority" in report
    assert "faults " in report
    assert "VIOLATION" in report
    assert f"again: edge sim --seed {CAUGHT} --nodes 3 --trace" in report


def test_more_processes_bring_the_same_outcomes(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.run_all(request(seed=0, seeds=3, jobs=2)) == 0
    several = capsys.readouterr().out.split(" times")[0].rpartition(",")[0]
    assert sim.run_all(request(seed=0, seeds=3)) == 0
    assert several == capsys.readouterr().out.split(" times")[0].rpartition(",")[0]


def test_ctrl_c_says_what_was_done_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(seeds: range, wishes: Wishes, _jobs: int) -> Iterator[Outcome]:
        yield run_seed(draw_plan(seeds[0], wishes))
        raise KeyboardInterrupt

    monkeypatch.setattr(sim, "run_seeds", interrupted)
    assert sim.run_all(request(seed=1, seeds=50)) == 1
    report = capsys.readouterr().out
    assert "stopped after 1 of 50 seeds" in report
    assert "1 seeds" in report


def test_the_tally_adds_up() -> None:
    tally = Tally()
    tally.add(Outcome(1, "", 2, 1800.0, 10, 0.5))
    tally.add(Outcome(2, "broken", 3, 1800.0, 10, 0.25))
    words = tally.words(1.0)
    assert "2 seeds, 5 elections, 1.00 simulated hours, 20 steps" in words
    assert "3600 times real time, 1 violations" in words
    assert tally.longest_recovery == 0.5
