"""The keeper with a real guard: hooks and processes that do their worst, leases that end."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.duty.keeping import SCALE, guarding, process, until

# Leaves a child in a session of its own that nobody waits for, and ends well.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        os.closerange(0, 3)
        time.sleep(1000)
    os._exit(0)
while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
    time.sleep(0.01)
"""
CLOSES = "import os; os.closerange(0, 3)"
FLOOD = "import sys\nfor _ in range(100): sys.stdout.write('x' * 1_000_000 + '\\n')"
NEEDS_TERMINAL = "open('/dev/tty')"
READS = "import sys; sys.exit(0 if sys.stdin.read() == '' else 1)"


def python(code: str, *more: str) -> list[str]:
    return [sys.executable, "-c", code, *more]


def lives(pid: int) -> bool:
    """A zombie is as good as gone."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("code", [CLOSES, READS], ids=["closes its pipes", "reads its input"])
async def test_odd_hooks_that_end_well(code: str) -> None:
    async with guarding(hook=[{"on_hot": python(code), "timeout": 20 * SCALE}]) as kept:
        kept.extend()
        await kept.hot()


async def test_a_hook_that_prints_100_mb(caplog: pytest.LogCaptureFixture) -> None:
    """It waits for its pipe, as for a slow terminal, and so runs into its limit."""
    caplog.set_level("INFO")
    hook = {"on_hot": python(FLOOD), "timeout": 1.0}
    async with guarding(hook=[hook]) as kept:
        kept.extend()
        kept.keeper.start(7, "")
        await until(lambda: bool(kept.reports))
        (report,) = kept.reports
        assert "did not end within 1 s: xxxx" in report
        assert len(report) < 1000
    assert sum(map(len, caplog.messages)) < 200_000


async def test_what_a_hook_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    hook = {"on_hot": python(DAEMON, str(tmp_path / "pid")), "timeout": 20 * SCALE}
    async with guarding(hook=[hook]) as kept:
        kept.extend()
        await kept.hot()
        assert not lives(int((tmp_path / "pid").read_text()))


WITHOUT_TRACE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid()));"
        code += "os.rename(sys.argv[1], sys.argv[1] + '.there'); time.sleep(1000)"
        os.execve(sys.executable, [sys.executable, "-c", code, sys.argv[1]], {})
    os._exit(0)
os.wait()
time.sleep(1000)
"""


async def test_a_daemon_without_a_trace_ends_in_order_as_well(tmp_path: Path) -> None:
    """It left its session, its parent and its environment, and there is no control group."""
    daemon = process("daemon", python(WITHOUT_TRACE, str(tmp_path / "pid")))
    async with guarding(process=[daemon], with_cgroups=False) as kept:
        kept.extend()
        await kept.hot()
        await until((tmp_path / "pid.there").exists)
        pid = int((tmp_path / "pid.there").read_text())
        assert lives(pid)
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert not lives(pid), "before anybody else begins"


def unusable(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Hooks that cannot work, and the one line that says why."""
    plain, textual = folder / "plain", folder / "text"
    plain.write_text("#!/bin/sh\n")
    textual.write_text("echo hello\n")
    textual.chmod(0o755)
    return {
        "missing": (["/no/such/hook"], "cannot run: /no/such/hook does not exist"),
        "plain": ([str(plain)], f"cannot run: {plain} is not executable"),
        "text": ([str(textual)], f"cannot run: {textual} is not a program"),
        "folder": ([str(folder)], f"cannot run: {folder} is not executable"),
        "hangs": (["sleep", "1000"], "did not end within 0.5 s"),
        "terminal": (python(NEEDS_TERMINAL), "ended with status 1: Traceback"),
    }


@pytest.mark.parametrize("kind", ["missing", "plain", "text", "folder", "hangs", "terminal"])
async def test_a_hook_that_cannot_work_is_one_line(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    command, words = unusable(tmp_path)[kind]
    limit = 0.5 if kind == "hangs" else 20 * SCALE
    async with guarding(hook=[{"on_hot": command, "timeout": limit}]) as kept:
        kept.extend()
        kept.keeper.start(7, "")
        await until(lambda: bool(kept.reports))
        (report,) = kept.reports
        assert report.startswith(f"failed 7: on_hot hook {command[0]} {words}")
        assert "\n" not in report
    assert not [each for each in caplog.records if each.exc_info]


async def test_processes_start_end_and_are_started_again() -> None:
    async with guarding(process=[process("a"), process("b", run_on="always")]) as kept:
        kept.extend()
        await kept.hot()
        guard = psutil.Process(kept.guard.pid)
        first = {each.pid for each in guard.children()}
        assert len(first) == 2
        for each in guard.children():
            each.kill()
        await until(lambda: len({each.pid for each in guard.children()} - first) == 2)
        await kept.stop()
        assert len(guard.children()) == 1


async def test_a_deadline_that_passes_ends_the_duty(tmp_path: Path) -> None:
    """Farewell, processes and the active instance; the instance comes back as a standby one."""
    note = tmp_path / "note"
    script = 'echo "$EDGE_ROLE $EDGE_TERM" >> "$0"'
    driver = process(
        "driver",
        ["sh", "-c", 'echo "driver $EDGE_ROLE" >> "$0"; exec cat', str(note)],
        run_on="always",
        instance=True,
    )
    hook = {"on_standby": ["sh", "-c", script, str(note)], "timeout": 20 * SCALE}

    def lines() -> list[str]:
        return note.read_text().splitlines() if note.exists() else []

    async with guarding(lease=1.0, process=[process("a"), driver], hook=[hook]) as kept:
        await until(lambda: lines() == ["standby 0", "driver starting"])
        kept.extend(7, 1.0 * SCALE)
        kept.keeper.start(7, "")
        await until(lambda: len(kept.reports) == 2)
        assert kept.reports == ["started 7", "failed 7: the guard withdrew the duty (deadline)"]
        await until(lambda: len(lines()) == 4)
        assert sorted(lines()[2:]) == ["driver standby", "standby 7"]
        kept.reports.clear()
        kept.extend(8)
        await kept.hot(8)


async def test_an_instance_whose_lease_ends_while_it_should_leave_comes_back(
    tmp_path: Path,
) -> None:
    note = tmp_path / "note"
    command = ["sh", "-c", 'echo "$EDGE_ROLE" >> "$0"; exec cat', str(note)]
    driver = process("driver", command, run_on="always", instance=True, max_restarts=0)
    slow = {"on_standby": ["sleep", "2"], "timeout": 20 * SCALE}
    async with guarding(lease=1.0, process=[driver], hook=[slow]) as kept:
        kept.extend()
        await kept.hot()
        kept.keeper.stop(7)
        kept.extend(8, 1.0)  # sooner than the hook ends
        await until(lambda: kept.withdrawals[:1] == ["deadline"])
        await until(lambda: note.read_text().split() == ["starting", "standby"])
        assert kept.fitness == []


async def test_a_guard_that_is_killed_ends_the_duty() -> None:
    async with guarding(process=[process("a"), process("b", run_on="always")]) as kept:
        kept.extend()
        await kept.hot()
        assert kept.guard.pid is not None
        children = [each.pid for each in psutil.Process(kept.guard.pid).children()]
        os.kill(kept.guard.pid, 9)
        await until(lambda: bool(kept.reports))
        (report,) = kept.reports
        assert report.startswith("failed 7: the guard was lost (")
        assert not [each for each in children if lives(each)]


STUBBORN = ["sh", "-c", "trap '' TERM; while true; do sleep 1000; done"]


@pytest.mark.parametrize("end", ["deadline", "stop at once", "guard killed"])
async def test_what_the_guard_ends_has_not_failed(end: str) -> None:
    """Not even once may this process fail; the stubborn one leaves time to take note of it."""
    pump = process("pump", max_restarts=0)
    async with guarding(lease=1.0, process=[pump, process("b", STUBBORN)]) as kept:
        kept.extend()
        await kept.hot()
        match end:
            case "deadline":
                kept.extend(8, 1.0)
            case "stop at once":
                kept.keeper.stop(7, at_once=True)
            case "guard killed":
                assert kept.guard.pid is not None
                os.kill(kept.guard.pid, signal.SIGKILL)
        await until(lambda: bool(kept.reports))
    assert kept.fitness == []
    assert kept.alerts == []


async def test_without_a_lease_nothing_starts() -> None:
    async with guarding(process=[process("a")]) as kept:
        kept.keeper.start(7, "")
        await until(lambda: bool(kept.reports))
        assert kept.reports[0].startswith("failed 7: process a cannot be started: the lease")


async def test_a_stop_at_once() -> None:
    async with guarding(process=[process("a")], hook=[{"on_standby": ["true"]}]) as kept:
        kept.extend()
        await kept.hot()
        kept.keeper.stop(7, at_once=True)
        await kept.reported("stopped 7")
        assert set(kept.withdrawals) == {"asked"}
        assert kept.guard.pid is not None
        assert not psutil.Process(kept.guard.pid).children()
        kept.extend(8)
        await kept.hot(8)


async def test_a_veto_in_its_own_words() -> None:
    hook = {"may_switch": ["sh", "-c", "echo a batch is running; exit 1"], "timeout": 20 * SCALE}
    async with guarding(hook=[hook]) as kept:
        assert await kept.keeper.may_switch("black") == "a batch is running"
