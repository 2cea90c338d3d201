"""Processes that run on every node and are told which of them is the active one."""

import sys
from pathlib import Path

import pytest

from edge.core.model import Role
from tests.duty.keeping import keeping, process, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "instance.py"
DRIVER = process("driver", [sys.executable, str(EXAMPLE)], run_on="always", instance=True)


def test_the_example_is_ten_lines_long() -> None:
    code = EXAMPLE.read_text().partition('"""\n\n')[2]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 10


async def test_the_example_hears_each_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def said(text: str) -> bool:
        return f"driver: {text}" in caplog.messages

    async with keeping(process=[DRIVER]) as kept:
        await until(lambda: said("waiting in term 0"))
        first = kept.guard.pid("driver")
        await kept.hot(7)
        await until(lambda: said("active in term 7"))
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        await until(lambda: said("waiting in term 7"))
        await kept.hot(9)
        await until(lambda: said("active in term 9"))
        assert kept.guard.pid("driver") == first


async def test_the_active_one_is_put_under_the_deadline_before_it_is_told() -> None:
    async with keeping(process=[DRIVER]) as kept:
        await until(lambda: kept.guard.running == ["driver"])
        await kept.hot(7)
        assert kept.guard.guarded == {"driver": True}
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert kept.guard.guarded == {"driver": False}
        assert [each for each in kept.guard.calls if "driver" in each] == [
            "spawn driver",
            "guard driver",
            'say driver {"role":"hot","term":7}',
            'say driver {"role":"standby","term":7}',
            "unguard driver",
        ]


async def test_a_restarted_one_learns_its_role_from_the_environment() -> None:
    async with keeping(process=[DRIVER]) as kept:
        await kept.hot(7)
        await kept.guard.end("driver", 0.0)
        await until(lambda: len(kept.guard.spawned) == 2)
        assert kept.guard.spawned[1].env["EDGE_ROLE"] == "hot"
        assert kept.guard.spawned[1].guarded
        await until(lambda: kept.guard.running == ["driver"])


async def test_a_withdrawn_one_comes_back_as_standby() -> None:
    """At once and without a mark against it: it was no fault of its own."""
    plan = {**DRIVER, "restart_delay": 20.0, "max_restarts": 0}
    async with keeping(process=[plan]) as kept:
        await kept.hot(7)
        await kept.guard.end("driver", 0.0)
        await until(lambda: bool(kept.fitness))
        kept.keeper.withdrawn("deadline")
        await kept.reported("failed 7: the guard withdrew the duty (deadline)")
        await until(lambda: kept.guard.running == ["driver"])
        assert kept.guard.spawned[1].env["EDGE_ROLE"] != "hot"
        assert not kept.guard.guarded["driver"]
        assert kept.fitness[-1] == ""


async def test_one_that_is_not_up_ends_the_start() -> None:
    broken = {**DRIVER, "command": ["/no/such/driver"]}
    async with keeping(process=[broken]) as kept:
        kept.keeper.start(7, "")
        why = "process driver cannot be started: /no/such/driver: No such file or directory"
        await kept.reported(f"failed 7: {why}")


async def test_one_that_cannot_be_guarded_is_not_told() -> None:
    async with keeping(process=[DRIVER]) as kept:
        await until(lambda: kept.guard.running == ["driver"])
        kept.guard.refused["guard driver"] = "the lease does not last long enough"
        kept.keeper.start(7, "")
        why = "process driver cannot be told: the lease does not last long enough"
        await kept.reported(f"failed 7: {why}")
        assert 'say driver {"role":"hot","term":7}' not in kept.guard.calls


async def test_other_roles_are_told_too() -> None:
    async with keeping(process=[DRIVER]) as kept:
        await until(lambda: kept.guard.running == ["driver"])
        kept.keeper.set_role(Role.STANDBY, 4, "")
        await until(lambda: 'say driver {"role":"standby","term":4}' in kept.guard.calls)
        kept.keeper.set_role(Role.STANDBY, 4, "another reason")
        kept.keeper.set_role(Role.HOT, 5, "told by the start")
        await kept.hot(5)
        says = [each for each in kept.guard.calls if each.startswith("say")]
        assert says == [
            'say driver {"role":"standby","term":4}',
            'say driver {"role":"hot","term":5}',
        ]
