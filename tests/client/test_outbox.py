"""The order of publications, what goes out again, and the bounds."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from edge.client.outbox import Outbox


def send_all(box: Outbox[int], first_number: int = 1) -> list[int]:
    sent: list[int] = []
    while (letter := box.next()) is not None:
        box.sent(first_number + len(sent))
        sent.append(letter)
    return sent


def acknowledge(box: Outbox[int], number: int, now: float = 0.0) -> int | None:
    letter = box.acknowledged(number)
    if letter is not None:
        box.remember(letter, now)
    return letter


def filled(count: int, *, window: int = 10, hold: float = 1.0) -> Outbox[int]:
    box: Outbox[int] = Outbox(limit=100, window=window, hold=hold)
    for letter in range(count):
        box.put(letter)
    return box


def test_no_more_than_the_window_is_on_its_way() -> None:
    box = filled(5, window=3)
    assert send_all(box) == [0, 1, 2]
    assert acknowledge(box, 2, 0.0) == 1
    assert send_all(box, first_number=4) == [3]


def test_an_unknown_or_repeated_acknowledgement_is_nobodys() -> None:
    box = filled(2)
    send_all(box)
    assert acknowledge(box, 9, 0.0) is None
    assert acknowledge(box, 1, 0.0) == 0
    assert acknowledge(box, 1, 0.0) is None
    assert box.unacknowledged == 1


def test_what_is_not_acknowledged_goes_out_again_before_what_is_newer() -> None:
    box = filled(4, window=3)
    send_all(box)
    box.acknowledged(2)
    assert box.begin_again() == 2
    assert send_all(box) == [0, 2, 3]


def test_what_was_acknowledged_just_before_goes_out_again_after_a_loss() -> None:
    box = filled(3, hold=1.0)
    send_all(box)
    acknowledge(box, 1, 10.0)
    acknowledge(box, 2, 11.5)
    assert box.begin_again() == 2
    assert send_all(box) == [1, 2]
    assert box.begin_again() == 2


def test_the_moment_is_counted_from_the_last_acknowledgement() -> None:
    """However long it takes until the loss is noticed."""
    box = filled(1)
    send_all(box)
    acknowledge(box, 1, 10.0)
    assert box.begin_again() == 1


def test_it_is_full_until_something_is_acknowledged() -> None:
    box = filled(100)
    assert box.is_full
    send_all(box)
    assert box.is_full
    acknowledge(box, 1, 0.0)
    assert not box.is_full


@given(st.lists(st.integers(0, 3), max_size=200))
def test_nothing_is_lost_and_first_copies_keep_their_order(steps: Sequence[int]) -> None:
    """Put, send, acknowledge the oldest, begin again, in any sequence."""
    box: Outbox[int] = Outbox(limit=20, window=5, hold=0.5)
    put, number, delivered, flying = 0, 0, [], []
    for now, step in enumerate([*steps, 3, *[1, 1, 1, 1, 1, 2, 2, 2, 2, 2] * 20]):
        if step == 0 and not box.is_full:
            box.put(put)
            put += 1
        if step == 1 and (letter := box.next()) is not None:
            number += 1
            box.sent(number)
            delivered.append(letter)
            flying.append(number)
        if step == 2 and flying:
            acknowledge(box, flying.pop(0), now)
        if step == 3:
            box.begin_again()
            flying.clear()
    assert list(dict.fromkeys(delivered)) == list(range(put))
    assert box.unacknowledged == 0
