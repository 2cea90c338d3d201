"""What the core may take without asking its rules (edge/core/routine.py)."""

import pytest

from edge.core import routine
from edge.core.effects import Effect
from edge.core.state import State
from edge.core.step import turn
from edge.core.values import replace
from edge.sim.batch import run_one
from edge.sim.plan import Wishes

heard = routine.heard


class Referee:
    """Asks the rules as well, and compares: what they would want and what they would remember."""

    def __init__(self) -> None:
        self.routine = 0
        self.asked = 0

    def heard(self, state: State, event: routine.Signs) -> State | None:
        after = heard(state, event)
        self.asked += 1
        if after is not None:
            self.routine += 1
            self.compare(after, *turn(state, state, event))
        return after

    def compare(self, short: State, full: State, effects: list[Effect]) -> None:
        assert not effects, f"the rules want {effects}"
        assert short.wakeup_at <= full.wakeup_at, "the core would sleep too long"
        assert short == self.as_unshown(full, short)

    def as_unshown(self, full: State, short: State) -> State:
        """Role, phase and reason are what people see; they may wait for the next beat."""
        return replace(
            full,
            role=short.role,
            phase=short.phase,
            reason=short.reason,
            wakeup_at=short.wakeup_at,
        )


@pytest.mark.parametrize("nodes", [2, 3])
def test_the_rules_have_nothing_to_add_to_a_routine_message(
    nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    referee = Referee()
    monkeypatch.setattr(routine, "heard", referee.heard)
    for seed in range(8):
        assert run_one(seed, Wishes(nodes=nodes)).violation == ""
    assert referee.routine > referee.asked / 2, "most messages should be routine"
