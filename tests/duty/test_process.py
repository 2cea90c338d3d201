"""One process of the duty: restarts, back-off, when the node is unfit, output, health."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from edge.duty.lives import LINE_LENGTH, printable
from tests.duty.keeping import SCALE, keeping, process, until
from tests.engines.tools import free_port

FAILS = ["sh", "-c", "echo no device; exit 3"]
HOPELESS = {"restart_delay": 0.01, "restart_delay_max": 0.02, "max_restarts": 2}


async def test_a_process_that_ends_is_started_again() -> None:
    async with keeping(process=[process("a")]) as kept:
        await kept.hot()
        first = kept.guard.pid("a")
        os.kill(first, signal.SIGKILL)
        await until(lambda: kept.guard.running == ["a"] and kept.guard.pid("a") != first)
        assert kept.guard.guarded["a"]
        assert kept.fitness == []


async def test_each_restart_waits_longer(caplog: pytest.LogCaptureFixture) -> None:
    plan = process("a", FAILS, restart_delay=0.01, restart_delay_max=0.05, max_restarts=100)
    async with keeping(process=[plan]) as kept:
        await kept.hot()
        await until(lambda: len(kept.guard.spawned) >= 6)
    waits = [each.rpartition("again in ")[2] for each in caplog.messages if "again in" in each]
    assert waits[:5] == ["0.01 s", "0.02 s", "0.04 s", "0.05 s", "0.05 s"]
    assert "process a ended with status 3; again in 0.01 s" in caplog.messages


async def test_too_many_restarts_make_the_node_unfit_and_are_gone_on_with() -> None:
    async with keeping(process=[process("a", FAILS, **HOPELESS)]) as kept:
        await kept.hot()
        await until(lambda: bool(kept.fitness))
        sentence = "process a failed 3 times within 60 s, at last it ended with status 3"
        assert kept.fitness == [sentence]
        assert kept.alerts == [f"P{sentence[1:]}."]
        tried = len(kept.guard.spawned)
        await until(lambda: len(kept.guard.spawned) > tried)
        assert len(kept.fitness) == 1


async def test_max_restarts_of_zero_means_not_even_once() -> None:
    async with keeping(process=[process("a", FAILS, max_restarts=0)]) as kept:
        kept.keeper.start(7, "")
        await until(lambda: bool(kept.fitness))


async def test_a_start_that_the_guard_withholds_is_no_failure() -> None:
    """The lease was over, or nearly: the next one that lasts long enough starts it."""
    async with keeping(process=[process("a", max_restarts=1)]) as kept:
        await kept.hot()
        kept.guard.withheld.add("spawn a")
        os.kill(kept.guard.pid("a"), signal.SIGKILL)
        await until(lambda: len(kept.guard.spawned) >= 5)
        kept.guard.withheld.clear()
        await until(lambda: kept.guard.running == ["a"])
        assert kept.fitness == []


async def test_an_unfit_node_is_fit_again_when_the_process_has_run_long_enough() -> None:
    plan = {**HOPELESS, "restart_window": 2.0 * SCALE}
    async with keeping(process=[process("a", ["sleep", "1000"], **plan)]) as kept:
        await kept.hot()
        for _ in range(3):
            await until(lambda: kept.guard.running == ["a"])
            await kept.guard.end("a", 0.0)
        await until(lambda: len(kept.fitness) == 2)
        assert kept.fitness[0].startswith("process a failed 3 times within")
        assert kept.fitness[1] == ""
        assert kept.alerts[1] is None


async def test_after_the_duty_an_unfit_node_is_fit_again_in_time() -> None:
    plan = {**HOPELESS, "restart_window": 1.0 * SCALE}
    async with keeping(process=[process("a", FAILS, **plan)]) as kept:
        await kept.hot()
        await until(lambda: len(kept.fitness) == 1)
        kept.keeper.stop(7)
        await until(lambda: len(kept.fitness) == 2)
        assert kept.fitness[1] == ""
        assert len(kept.alerts) == 1  # it has not been seen to work since


async def test_a_process_that_fails_now_and_then_does_no_harm() -> None:
    plan = process("a", restart_delay=0.01, max_restarts=1, restart_window=0.05)
    async with keeping(process=[plan]) as kept:
        await kept.hot()
        for number in range(2, 6):
            await asyncio.sleep(0.1)  # longer than the window: what happens then does not matter
            await kept.guard.end("a", 0.0)
            await kept.spawned(number)
            await until(lambda: kept.guard.running == ["a"])
        assert kept.fitness == []


async def test_output_goes_to_the_log_under_the_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    loud = ["sh", "-c", r"printf 'ready \033[31mred\033[0m\n'; exec sleep 1000"]
    async with keeping(process=[process("a", loud)]) as kept:
        await kept.hot()
        await until(lambda: "a: ready  [31mred [0m" in caplog.messages)


def test_a_line_is_cut_and_cannot_steer_a_terminal() -> None:
    assert printable("x" * 10_000) == "x" * LINE_LENGTH
    assert printable("\x1b]0;title\x07 a\tb\u202e\r\n") == "]0;title  a b"


async def test_a_process_is_up_when_its_health_check_says_so(tmp_path: Path) -> None:
    health = {"command": ["test", "-e", str(tmp_path / "up")], "interval": 0.01}
    async with keeping(process=[process("a", health=health), process("b")]) as kept:
        kept.keeper.start(7, "")
        await until(lambda: kept.guard.calls.count("spawn check.a") == 3)
        assert "spawn b" not in kept.guard.calls
        (tmp_path / "up").touch()
        await kept.reported("started 7")


async def test_a_process_that_is_not_healthy_in_time_ends_the_start() -> None:
    """The check needs no process: a busy machine would not have started one in this time."""
    health = {"tcp": f"127.0.0.1:{free_port()}", "interval": 0.02}
    async with keeping(process=[process("a", health=health, start_timeout=0.3)]) as kept:
        kept.keeper.start(7, "")
        await until(lambda: bool(kept.reports))
        (report,) = kept.reports
        assert report.startswith("failed 7: process a was not ")
        assert "within 0.3 s: " in report
        assert "connect" in report
        assert not kept.guard.running


async def test_a_process_that_is_no_longer_healthy_is_started_again() -> None:
    health = {"topic": "t", "max_age": 0.05, "interval": 0.01, "failures": 2}
    async with keeping(process=[process("a", health=health)]) as kept:
        loop = asyncio.get_running_loop()
        kept.keeper.start(7, "")
        await until(lambda: kept.guard.running == ["a"])
        kept.changed_at["t"] = loop.time()
        await kept.reported("started 7")
        await until(lambda: len(kept.guard.spawned) == 2)
        kept.changed_at["t"] = loop.time() + 1000
        await until(lambda: kept.guard.running == ["a"])


async def test_one_bad_answer_is_not_enough(tmp_path: Path) -> None:
    """The check fails every second time it is asked."""
    script = "if [ -e $0 ]; then rm $0; exit 1; else touch $0; fi"
    health = {
        "command": ["sh", "-c", script, str(tmp_path / "bad")],
        "interval": 0.01,
        "failures": 2,
    }
    async with keeping(process=[process("a", health=health)]) as kept:
        await kept.hot()
        await until(lambda: kept.guard.calls.count("spawn check.a") > 8)
        assert kept.guard.calls.count("spawn a") == 1


STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(1000)
"""


async def test_a_process_that_ignores_sigterm_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    plan = process("a", [sys.executable, "-c", STUBBORN], stop_timeout=0.1)
    async with keeping(process=[plan]) as kept:
        await kept.hot()
        await until(lambda: "a: deaf" in caplog.messages)
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert not kept.guard.running
