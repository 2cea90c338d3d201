"""What comes over two addresses of one broker counts once."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from edge.client.copies import Copies
from edge.ports import Message

ONE, TWO = "10.0.0.1:1883", "10.1.0.1:1883"


def message(text: str) -> Message:
    return Message("a/b", text.encode())


def test_the_second_copy_does_not_count_and_the_next_of_the_same_content_does() -> None:
    box = Copies(patience=5.0, limit=10)
    assert box.is_first(ONE, [TWO], message("on"), 1.0)
    assert not box.is_first(TWO, [ONE], message("on"), 1.1)
    assert box.is_first(TWO, [ONE], message("on"), 1.2)
    assert not box.is_first(ONE, [TWO], message("on"), 1.3)


def test_alone_everything_counts() -> None:
    box = Copies(patience=5.0, limit=10)
    assert all(box.is_first(ONE, [], message("on"), at) for at in (1.0, 1.0, 2.0))


def test_a_copy_that_comes_too_late_or_after_a_reconnect_counts() -> None:
    box = Copies(patience=5.0, limit=10)
    box.is_first(ONE, [TWO], message("on"), 1.0)
    assert box.is_first(TWO, [ONE], message("on"), 6.5)
    box.is_first(ONE, [TWO], message("off"), 7.0)
    box.forget(TWO)
    assert box.is_first(TWO, [ONE], message("off"), 7.1)


def test_what_is_expected_is_bounded() -> None:
    box = Copies(patience=5.0, limit=3)
    for number in range(10):
        box.is_first(ONE, [TWO], message(str(number)), 1.0)
    found = [box.is_first(TWO, [ONE], message(str(number)), 1.0) for number in range(10)]
    assert found == [True] * 7 + [False] * 3


@given(st.lists(st.sampled_from("ab"), max_size=30), st.lists(st.booleans(), max_size=60))
def test_each_comes_as_often_as_it_was_sent_whichever_path_is_ahead(
    sent: Sequence[str], turns: Sequence[bool]
) -> None:
    box, found = Copies(patience=5.0, limit=100), Counter[str]()
    paths = {ONE: list(sent), TWO: list(sent)}
    for is_one in [*turns, *[True] * len(sent), *[False] * len(sent)]:
        address, other = (ONE, TWO) if is_one else (TWO, ONE)
        if paths[address]:
            text = paths[address].pop(0)
            found[text] += box.is_first(address, [other], message(text), 1.0)
    assert found == Counter(sent) | Counter()
