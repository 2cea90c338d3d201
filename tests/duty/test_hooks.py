"""Hooks: when they run, with what, who may say no, and what becomes of those that misbehave."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.duty.keeping import Kept, keeping, process, until

# Notes the moment, the environment and the words in a file.
NOTE = """
import os, sys
names = ("ROLE", "TERM", "REASON", "GROUP", "NODE", "ALERT", "TARGET")
known = [each for each in names if "EDGE_" + each in os.environ]
words = [f"{each.lower()}={os.environ['EDGE_' + each]}" for each in known]
with open(sys.argv[1], "a") as file:
    print(*sys.argv[2:], *words, file=file)
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes"
    path.touch()
    return path


def note(notes: Path, word: str) -> list[str]:
    return [sys.executable, "-c", NOTE, str(notes), word]


def lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines()


async def test_the_moments_and_their_variables(notes: Path) -> None:
    hook = {"on_hot": note(notes, "hot"), "on_standby": note(notes, "standby")}
    async with keeping(hook=[hook]) as kept:
        await kept.hot(7, "failover")
        kept.keeper.stop(7, "switchover")
        await kept.reported("stopped 7")
    assert lines(notes) == [
        "standby role=standby term=0 reason= group=RPI node=white",  # what an earlier life left
        "hot role=hot term=7 reason=failover group=RPI node=white",
        "standby role=standby term=7 reason=switchover group=RPI node=white",
    ]


async def test_the_order_of_the_file_and_its_reverse(notes: Path) -> None:
    hooks = [{"on_hot": note(notes, n), "on_standby": note(notes, n)} for n in ("one", "two")]
    async with keeping(hook=hooks) as kept:
        await kept.hot()
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
    assert [each.split()[0] for each in lines(notes)] == ["two", "one", "one", "two", "two", "one"]


async def test_the_guard_has_on_standby_ready_while_hot(notes: Path) -> None:
    command = note(notes, "standby")
    async with keeping(hook=[{"on_standby": command}]) as kept:
        await kept.hot()
        assert kept.guard.farewells == {"hook.1.on_standby": tuple(command)}
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert kept.guard.farewells == {}


async def test_after_a_withdrawal_it_does_not_run_again(notes: Path) -> None:
    """The guard ran it, as its farewell."""
    async with keeping(hook=[{"on_standby": note(notes, "standby")}]) as kept:
        await kept.hot()
        kept.keeper.withdrawn("deadline")
        await kept.reported("failed 7: the guard withdrew the duty (deadline)")
        assert len(lines(notes)) == 1


async def test_an_on_hot_that_fails_ends_the_start() -> None:
    command = ["sh", "-c", "echo no relay; exit 3"]
    async with keeping(process=[process("a")], hook=[{"on_hot": command}]) as kept:
        kept.keeper.start(7, "")
        await kept.reported("failed 7: on_hot hook sh ended with status 3: no relay")
        assert not kept.guard.running


async def test_one_that_is_not_required_only_raises_an_alert() -> None:
    command = ["sh", "-c", "echo no relay; exit 3"]
    async with keeping(hook=[{"on_hot": command, "required": False}]) as kept:
        await kept.hot()
        assert kept.alerts == ["On_hot hook sh ended with status 3: no relay."]
        assert kept.fitness == []


async def test_an_on_standby_that_fails_stops_nothing_else(tmp_path: Path) -> None:
    """It is told by an alert, until it succeeds."""
    command = ["test", "-e", str(tmp_path / "relay")]
    async with keeping(process=[process("a")], hook=[{"on_standby": command}]) as kept:
        await kept.hot()
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert not kept.guard.running
        assert kept.alerts == ["On_standby hook test ended with status 1."]
        (tmp_path / "relay").touch()
        await kept.hot(8)
        kept.keeper.stop(8)
        await kept.reported("stopped 8")
        assert kept.alerts[-1] is None


async def test_without_an_objection_a_switchover_may_be(notes: Path) -> None:
    async with keeping(hook=[{"may_switch": note(notes, "may")}]) as kept:
        await kept.hot(7, "failover")
        assert await kept.keeper.may_switch("black") == ""
    may = "may role=hot term=7 reason=failover group=RPI node=white target=black"
    assert lines(notes) == [may]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["sh", "-c", "echo; echo a batch is running; echo more; exit 1"], "a batch is running"),
        (["sh", "-c", "echo to standard error >&2; exit 1"], "to standard error"),
        (["false"], "may_switch hook false ended with status 1"),
        (["sh", "-c", "kill -9 $$"], "may_switch hook sh was ended by SIGKILL"),
        (["sleep", "1000"], "may_switch hook sleep did not end within 0.2 s"),
        (
            ["/no/such/hook"],
            "may_switch hook /no/such/hook cannot run: /no/such/hook: No such file or directory",
        ),
    ],
)
async def test_an_objection_and_its_reason(command: list[str], reason: str) -> None:
    limit = 0.2 if command[0] == "sleep" else 10.0
    hooks = [{"may_switch": ["true"]}, {"may_switch": command, "timeout": limit}]
    async with keeping(hook=hooks) as kept:
        assert await kept.keeper.may_switch("black") == reason


async def test_two_who_ask_at_once_are_both_answered(notes: Path) -> None:
    async with keeping(hook=[{"may_switch": note(notes, "may")}]) as kept:
        both = await asyncio.gather(kept.keeper.may_switch("a"), kept.keeper.may_switch("b"))
        assert list(both) == ["", ""]
    assert [each.rpartition(" ")[2] for each in lines(notes)] == ["target=a", "target=b"]


async def test_alerts_are_told_one_after_the_other(notes: Path) -> None:
    async with keeping(hook=[{"on_alert": note(notes, "alert")}]) as kept:
        kept.keeper.set_role(kept.keeper._situation.role, 3, "")
        kept.keeper.on_alert("no_hot", "Nobody is hot.")
        kept.keeper.on_alert("lost", "black is lost.")
        kept.keeper.on_alert("no_hot", None)
        await until(lambda: len(lines(notes)) == 2)
    where = "group=RPI node=white"
    assert lines(notes) == [
        f"alert role=starting term=3 reason=black is lost. {where} alert=lost",
        f"alert role=starting term=3 reason= {where} alert=no_hot",
    ]


async def test_an_alert_is_told_with_the_role_of_its_time(notes: Path) -> None:
    async with keeping(hook=[{"on_alert": note(notes, "alert")}]) as kept:
        await kept.hot(7, "failover")
        kept.keeper.on_alert("lost", "black is lost.")
        await until(lambda: len(lines(notes)) == 1)
    assert lines(notes)[0].startswith("alert role=hot term=7 reason=black is lost.")


async def test_a_flood_of_alerts_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async with keeping(hook=[{"on_alert": ["true"]}]) as kept:
        for number in range(200):
            kept.keeper.on_alert(f"id{number}", "x")
        assert len(kept.keeper._hooks._waiting) == 64
    assert "too many alerts at once: no on_alert for id0" in caplog.messages


async def test_an_on_alert_that_fails_raises_no_alert(caplog: pytest.LogCaptureFixture) -> None:
    async with keeping(hook=[{"on_alert": ["false"]}]) as kept:
        kept.keeper.on_alert("lost", "black is lost.")
        await until(lambda: "on_alert hook false ended with status 1" in caplog.messages)
        assert kept.alerts == []


@pytest.mark.parametrize("moment", ["on_hot", "on_standby", "on_alert", "may_switch"])
async def test_a_hook_at_work_does_not_outlive_the_keeper(moment: str) -> None:
    async with keeping(hook=[{moment: ["sleep", "1000"], "timeout": 60}]) as kept:
        await _set_off(kept, moment)
        await until(lambda: f"hook.1.{moment}" in kept.guard.running)
        pid = kept.guard.pid(f"hook.1.{moment}")
        await kept.keeper.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def _set_off(kept: Kept, moment: str) -> None:
    match moment:
        case "on_hot":
            kept.keeper.start(7, "")
        case "on_alert":
            kept.keeper.on_alert("lost", "x")
        case "may_switch":
            kept.keeper._tasks.start(_ask(kept), "ask")


async def _ask(kept: Kept) -> None:
    await kept.keeper.may_switch("black")
