"""The guard and the hardware watchdog: armed before the first thing is held, fed with each new
deadline, disarmed when nothing is held, and left to bite when something cannot be ended."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from edge.duty.guard.guard import Guard
from edge.duty.guard.loop import Loop
from edge.duty.guard.watchdog import Watchdog
from tests.duty.test_watchdog import Driver

LEASE = 0.5
ARMED, FED, DISARMED = b"\0", b"\0", b"V"


class Bench:
    """A guard in this process; its device is a file, the driver behind it answers as asked."""

    def __init__(self, device: Path, driver: Driver | None = None) -> None:
        self.device = device
        self.loop = Loop()
        self.said: list[dict[str, object]] = []
        begin = {
            "group": "g",
            "node": "white",
            "boot": "b1",
            "lease": LEASE,
            "gone_grace": 0.05,
            "addresses": [],
            "probes": 2,
            "probe_wait": 0.01,
            "probe_patience": 1.0,
            "with_cgroups": False,
        }
        self.guard = Guard(self.loop, begin, self.hear, "")
        self.guard.watchdog = Watchdog(str(device), 1, driver or Driver())

    def extend(self, deadline: float) -> None:
        self.guard.carry_out({"do": "extend", "term": 1, "deadline": deadline, "n": 1})

    def hold(self, *argv: str) -> None:
        self.guard.carry_out(
            {
                "do": "farewell",
                "id": 1,
                "name": "hook",
                "argv": argv or ("true",),
                "env": {},
                "limit": 5.0,
            }
        )

    def drop(self) -> None:
        self.guard.carry_out({"do": "drop_farewell", "id": 2, "name": "hook"})

    def run_until_withdrawn(self) -> None:
        self.loop.after(10.0, self.loop.stop)
        self._reap()
        self.loop.run()

    def _reap(self) -> None:
        """What the guard's process does when it is told of the end of a child."""
        self.guard.reap()
        self.loop.after(0.01, self._reap)

    def close(self) -> None:
        """A guard's sockets end with its process."""
        self.guard._addresses._kernel.close()
        self.guard._addresses._changes._socket.close()

    def hear(self, **news: object) -> None:
        self.said.append(news)
        if news["is"] == "withdrawn":
            self.loop.stop()

    @property
    def written(self) -> bytes:
        return self.device.read_bytes()


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    device = tmp_path / "watchdog"
    device.touch()
    with ExitStack() as stack:
        yield lambda *driver: stack.enter_context(closing(Bench(device, *driver)))


def test_a_standby_leaves_it_alone(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.extend(time.monotonic() + LEASE)
    assert bench.written == b""


def test_it_is_armed_before_the_first_thing_is_held_and_fed_with_each_deadline(
    make_bench: MakeBench,
) -> None:
    bench = make_bench()
    bench.extend(time.monotonic() + LEASE)
    bench.hold()
    assert bench.said[-1]["is"] == "done"
    assert bench.written == ARMED
    bench.extend(time.monotonic() + LEASE)
    assert bench.written == ARMED + FED


def test_it_is_disarmed_when_nothing_is_held_any_more(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.extend(time.monotonic() + LEASE)
    bench.hold()
    bench.drop()
    assert bench.written == ARMED + DISARMED


def test_it_is_not_fed_without_a_new_deadline_and_disarmed_after_the_withdrawal(
    make_bench: MakeBench,
) -> None:
    bench = make_bench()
    bench.extend(time.monotonic() + LEASE)
    bench.hold()
    bench.run_until_withdrawn()
    assert bench.written == ARMED + DISARMED


def test_what_cannot_be_armed_holds_nothing(make_bench: MakeBench) -> None:
    """Required or not was decided at the start; a device that fails later may not be trusted."""
    bench = make_bench(Driver(shortest=60))
    bench.extend(time.monotonic() + LEASE)
    bench.hold()
    assert bench.said[-1]["is"] == "failed"
    assert "takes 60 s for 1 s" in str(bench.said[-1]["why"])


def test_one_that_goes_away_is_told_once_and_what_is_held_goes_on(tmp_path: Path) -> None:
    device = tmp_path / "pipe"
    os.mkfifo(device)
    reader = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    with closing(Bench(device)) as bench:
        bench.extend(time.monotonic() + LEASE)
        bench.hold()
        os.close(reader)
        for _ in range(4):
            bench.extend(time.monotonic() + LEASE)
        told = [str(each["why"]) for each in bench.said if each["is"] == "problem"]
        assert ["cannot be fed" in each for each in told] == [True, False]
        assert "cannot open" in told[1]
        assert not [each for each in bench.said if each["is"] == "withdrawn"]
        bench.drop()
        assert bench.said[-1]["is"] == "done"
