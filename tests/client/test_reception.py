"""Which messages count around a move."""

from edge.client.reception import Reception
from edge.ports import Message

WHITE, BLACK = "white:1883", "black:1883"


def message(text: str, *, retained: bool = False) -> Message:
    return Message("a/b", text.encode(), retained)


def reception(*, limit: int = 10) -> Reception:
    found = Reception(overlap=5.0, limit=limit)
    found.follow("white", 100.0)
    return found


def test_the_followed_node_counts_and_another_does_not() -> None:
    box = reception()
    assert box.counts(WHITE, "white", message("1"), 101.0)
    assert not box.counts(BLACK, "black", message("2"), 101.0)
    assert not box.counts(BLACK, None, message("3"), 101.0)


def test_before_anybody_is_followed_nothing_counts_and_all_is_kept() -> None:
    box = Reception(overlap=5.0, limit=10)
    assert not box.counts(WHITE, None, message("1"), 1.0)
    assert box.taken_up(WHITE, 2.0) == [message("1")]


def test_what_came_shortly_before_the_move_is_taken_up_once_in_order() -> None:
    box = reception()
    for at, text in ((100.0, "old"), (104.0, "1"), (105.0, "2")):
        assert not box.counts(BLACK, "black", message(text), at)
    box.follow("black", 106.0)
    assert box.taken_up(BLACK, 106.0) == [message("1"), message("2")]
    assert box.taken_up(BLACK, 106.0) == []


def test_the_last_hot_nodes_broker_counts_for_a_while() -> None:
    box = reception()
    box.follow("black", 106.0)
    assert box.counts(WHITE, "white", message("1"), 111.0)
    assert not box.counts(WHITE, "white", message("2"), 111.5)


def test_what_a_broker_retains_comes_again_and_is_not_kept() -> None:
    box = reception()
    assert not box.counts(BLACK, "black", message("1", retained=True), 101.0)
    assert box.taken_up(BLACK, 101.0) == []


def test_what_is_kept_is_bounded_and_the_oldest_goes() -> None:
    box = reception(limit=3)
    for number in range(10):
        box.counts(BLACK, "black", message(str(number)), 101.0)
    assert [each.payload for each in box.taken_up(BLACK, 101.0)] == [b"7", b"8", b"9"]
