"""What is due when: order, replacement, and no leak."""

import math

from hypothesis import given
from hypothesis import strategies as st

from broker.routing.agenda import FEW, Agenda


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20), st.booleans()), max_size=40))
def test_what_is_due_is_done_once_and_in_order(script: list[tuple[int, int, bool]]) -> None:
    agenda = Agenda()
    done: list[tuple[int, int]] = []
    model: dict[int, int] = {}
    for key, at, is_set in script:
        if is_set:
            agenda.set(key, at, lambda key=key, at=at: done.append((at, key)))  # type: ignore[misc]
            model[key] = at
        else:
            agenda.cancel(key)
            model.pop(key, None)
    assert agenda.next_at == min(model.values(), default=math.inf)
    agenda.run(10)
    assert sorted(done) == sorted((at, key) for key, at in model.items() if at <= 10)
    assert [at for at, _ in done] == sorted(at for at, _ in done)
    assert len(agenda) == sum(at > 10 for at in model.values())


def nothing() -> None:
    """What is due and changes nothing."""


def test_the_shell_hears_of_what_is_earlier_only() -> None:
    agenda = Agenda()
    heard: list[float] = []
    agenda.on_earlier = lambda: heard.append(agenda.next_at)
    for at in (10, 20, 5, 7, 5):
        agenda.set(at, at, nothing)
    assert heard == [10, 5]


def test_entries_that_are_replaced_for_ever_leave_nothing() -> None:
    agenda = Agenda()
    for number in range(10_000):
        agenda.set("one", 1e9 + number, nothing)
        agenda.set("other", 1e9 + number, nothing)
        agenda.cancel("other")
    assert len(agenda._heap) <= 3 * FEW


def test_an_action_may_set_and_cancel() -> None:
    agenda = Agenda()
    done: list[str] = []

    def first() -> None:
        done.append("first")
        agenda.cancel("second")
        agenda.set("third", 1, lambda: done.append("third"))

    agenda.set("first", 1, first)
    agenda.set("second", 2, lambda: done.append("second"))
    agenda.run(3)
    assert done == ["first", "third"]
