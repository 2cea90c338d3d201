"""Units of systemd's: a stand-in for systemctl that writes down how it was called."""

from pathlib import Path

import pytest

from edge.duty import units
from edge.duty.ports import Spawn
from tests.duty.keeping import SCALE, guarding, keeping, until

# State is a file; "broken" and "slow" are units with a will of their own.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$FAKE/calls"
for each; do unit=$each; done
case "$*" in
    *is-active*) cat "$FAKE/$unit" 2>/dev/null || { echo inactive; exit 3; }
                 grep -qx active "$FAKE/$unit" ;;
    *kill*) rm -f "$FAKE/$unit" ;;
    *stop*) [ "$unit" = slow ] && [ -e "$FAKE/slow" ] && exec sleep 1000
            rm -f "$FAKE/$unit" ;;
    *start*) [ "$unit" = broken ] && { echo "Job for broken failed."; exit 1; }
             echo active > "$FAKE/$unit" ;;
esac
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    (tmp_path / "calls").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE", str(tmp_path))
    monkeypatch.setattr(units, "QUESTION_INTERVAL", 0.02)
    return tmp_path


def unit(name: str, **more: object) -> dict[str, object]:
    fast = {"stop_timeout": 5.0 * SCALE, "restart_delay": 0.02}
    return {"name": "nodered", "unit": name, **fast, **more}


def calls(fake: Path) -> list[str]:
    found = (fake / "calls").read_text().splitlines()
    return [each.removeprefix("--no-ask-password ") for each in found if "is-active" not in each]


async def test_a_unit_is_started_and_stopped(fake: Path) -> None:
    async with keeping(process=[unit("nodered.service")]) as kept:
        await kept.hot()
        assert (fake / "nodered.service").exists()
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert not (fake / "nodered.service").exists()
    started, stopped = "start -- nodered.service", "stop -- nodered.service"
    assert calls(fake)[:3] == [stopped, started, stopped]


async def test_one_that_runs_before_the_node_is_hot_is_stopped(fake: Path) -> None:
    """systemd may have started it with the machine, or an earlier life of ours left it."""
    (fake / "nodered.service").write_text("active\n")
    async with keeping(process=[unit("nodered.service")]):
        await until(lambda: not (fake / "nodered.service").exists())


async def test_the_guard_can_stop_it_alone(fake: Path) -> None:
    async with keeping(process=[unit("nodered.service")], grace=0.02) as kept:
        await kept.hot()
        command = kept.guard.farewells["unit.nodered.farewell"]
        held = kept.guard.calls.index("farewell unit.nodered.farewell")
        assert held < kept.guard.calls.index("spawn unit.nodered.start")
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        outcome = await kept.keeper._hooks._runner.run(Spawn("farewell", command), 10.0)
        assert outcome.problem == ""
        assert calls(fake)[-2:] == [
            "--no-block stop nodered.service",
            "--signal=SIGKILL kill nodered.service",
        ]


async def test_the_guard_stops_it_when_the_lease_ends(fake: Path) -> None:
    async with guarding(lease=1.0, grace=0.02, process=[unit("nodered.service")]) as kept:
        kept.extend(7, 1.0 * SCALE)
        await kept.hot()
        assert (fake / "nodered.service").exists()
        await kept.reported("failed 7: the guard withdrew the duty (deadline)")
        assert "--no-block stop nodered.service" in calls(fake)
        assert not (fake / "nodered.service").exists()


async def test_one_that_ends_is_started_again(fake: Path) -> None:
    async with keeping(process=[unit("nodered.service")]) as kept:
        await kept.hot()
        (fake / "nodered.service").write_text("failed\n")
        await until(lambda: calls(fake).count("start -- nodered.service") == 2)


async def test_one_that_systemd_restarts_is_left_to_it(fake: Path) -> None:
    async with keeping(process=[unit("nodered.service")]) as kept:
        await kept.hot()
        (fake / "nodered.service").write_text("activating\n")
        asked = kept.guard.calls.count("spawn unit.nodered.is-active")
        await until(lambda: kept.guard.calls.count("spawn unit.nodered.is-active") > asked + 3)
        assert calls(fake).count("start -- nodered.service") == 1


@pytest.mark.usefixtures("fake")
async def test_one_that_does_not_start_is_told_in_systemds_words() -> None:
    async with keeping(process=[unit("broken")]) as kept:
        kept.keeper.start(7, "")
        await kept.reported(
            "failed 7: process nodered cannot be started: "
            "systemctl ended with status 1 (Job for broken failed.)"
        )


async def test_one_that_does_not_stop_is_killed(fake: Path) -> None:
    async with keeping(process=[unit("slow", stop_timeout=0.3)]) as kept:
        await kept.hot()
        kept.keeper.stop(7)
        await kept.reported("stopped 7")
        assert not (fake / "slow").exists()
        assert "--signal=SIGKILL kill -- slow" in calls(fake)


async def test_one_for_the_standby(fake: Path) -> None:
    async with keeping(process=[unit("mirror", run_on="standby")]) as kept:
        await until((fake / "mirror").exists)
        await kept.hot()
        assert not (fake / "mirror").exists()
        assert kept.guard.farewells == {}


NO_SYSTEMD = (
    "failed 7: process nodered cannot be started: "
    "no systemd runs on this machine; write command = [...] instead of unit"
)


async def test_a_machine_without_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    async with keeping(process=[unit("nodered.service")]) as kept:
        kept.keeper.start(7, "")
        await kept.reported(NO_SYSTEMD)


async def test_a_machine_that_systemd_did_not_boot(fake: Path) -> None:
    words = "System has not been booted with systemd as init system (PID 1). Can't operate."
    (fake / "systemctl").write_text(f'#!/bin/sh\necho "{words}" >&2; exit 1\n')
    async with keeping(process=[unit("nodered.service")]) as kept:
        kept.keeper.start(7, "")
        await kept.reported(NO_SYSTEMD)
