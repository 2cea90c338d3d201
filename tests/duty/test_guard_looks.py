"""How often the guard looks for the processes that are ending: it runs ahead of all others."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from edge.duty.guard import processes
from edge.duty.guard.loop import Loop
from edge.duty.guard.processes import LONGEST_REST, POLL_INTERVAL, REST, Process, Processes
from edge.duty.guard.spawning import Plan


class Clock:
    """Stands still but for what takes its time."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Family(Processes):
    """One process that has exited and left children, whom to look at takes a while."""

    def __init__(self, clock: Clock, took: float) -> None:
        super().__init__(Loop(), "group/node/boot/")
        self.clock, self.took, self.children = clock, took, [1]
        plan = Plan(["pump"], {}, None, None, None, "0")
        self.pump = Process("pump", plan, 0.0, is_guarded=True, keeps_stdin=False)
        self._held["pump"] = self.pump

    def _members(self, *, surely_all: bool = False) -> dict[str, list[int]]:
        del surely_all
        self.clock.now += self.took
        return {"pump": self.children} if self.children else {}

    def next_look_in(self) -> float:
        assert self._timer is not None
        return self._timer.at - self.clock.now


@pytest.fixture
def make_family(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Family]:
    clock = Clock()
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(processes, "_send", lambda _pid, _number: True)
    monkeypatch.setattr(processes, "_ended_children", list)
    return lambda took: Family(clock, took)


def end(family: Family, after: float) -> None:
    """The order to end it, and the first look, in which it is due if `after` is 0."""
    family.end(family.pump, family.clock.now + after, lambda: None)
    timer = family._timer
    assert timer is not None
    assert timer.call is not None
    call, timer.call = timer.call, None
    call()


@pytest.mark.parametrize(
    ("took", "rest"),
    [(0.001, POLL_INTERVAL), (0.05, REST * 0.05), (20.0, LONGEST_REST)],
    ids=["a few", "a thousand", "frozen meanwhile"],
)
def test_who_dies_has_the_processor_meanwhile(
    make_family: Callable[[float], Family], took: float, rest: float
) -> None:
    family = make_family(took)
    end(family, after=0.0)
    assert family.next_look_in() == pytest.approx(rest)


def test_an_end_that_is_heard_of_waits_for_the_rest(
    make_family: Callable[[float], Family],
) -> None:
    family = make_family(0.05)
    end(family, after=0.0)
    family.reap()
    assert family.next_look_in() == pytest.approx(REST * 0.05)


def test_who_is_due_is_killed_in_time(make_family: Callable[[float], Family]) -> None:
    """Whom to tell is looked up, who has left the session, and who is there: three looks."""
    family = make_family(0.1)
    end(family, after=0.45)
    assert family.next_look_in() == pytest.approx(0.45 - 3 * 0.1)


def test_another_end_is_begun_at_once(make_family: Callable[[float], Family]) -> None:
    family = make_family(0.1)
    end(family, after=0.0)
    family.end_all([], lambda _: 0.0)
    assert family.next_look_in() == 0.0
