"""Who is hot, out of several views; and what changes nothing."""

import json

import pytest

from edge.client.beliefs import CLAIMS_MAX, Hot, View, absorb, believed, named_hot
from tests.client.brokers import gone, online


def view(*messages: tuple[str, bytes], start: View | None = None) -> View:
    found = start or View()
    for place, payload in messages:
        found = absorb(found, place, payload)
    return found


def naming(node: str, term: int, reason: str = "died") -> View:
    return view(("hot", node.encode()), (f"node/{node}/state", online(term, reason=reason)))


def test_a_view_names_whom_both_words_name() -> None:
    assert named_hot(naming("white", 5)) == Hot("white", 5, "died")


@pytest.mark.parametrize(
    "messages",
    [
        (("hot", b"white"),),
        (("node/white/state", online(5)),),
        (("hot", b"black"), ("node/white/state", online(5))),
        (("hot", b"white"), ("node/white/state", online(5, role="standby"))),
        (("hot", b"white"), ("node/white/state", online(5)), ("node/white/state", gone())),
        (("hot", b"white"), ("node/white/state", online(5)), ("node/white/state", gone("stopped"))),
        (("hot", b"white"), ("node/white/state", online(5)), ("hot", b"none")),
        (
            ("hot", b"white"),
            ("node/white/state", online(5)),
            ("node/white/state", online(6, role="standby")),
        ),
    ],
)
def test_one_word_alone_names_nobody(messages: tuple[tuple[str, bytes], ...]) -> None:
    assert named_hot(view(*messages)) is None


def test_a_late_will_of_another_session_does_not_take_back_the_word() -> None:
    late = absorb(naming("white", 5), "node/white/state", gone(session="0-7"))
    assert named_hot(late) == Hot("white", 5, "died")


def test_the_highest_term_is_believed_and_none_below_the_floor() -> None:
    views = [naming("white", 5), naming("black", 6), View(hot=None)]
    assert believed(views, 0) == Hot("black", 6, "died")
    assert believed(views, 6) == Hot("black", 6, "died")
    assert believed(views, 7) is None
    assert believed([], 0) is None


HOSTILE_STATES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"hot"',
    b"\xff\xfe",
    b"[" * 10_000,
    b" " * 20_000 + online(9),
    online(-1),
    online(2**53 + 1),
    online(2**80),
    online(1e300),
    online(True),
    online("9"),
    online(None),
    online(9, session="")[:-1],
    json.dumps({"state": "online", "role": "hot", "term": 9}).encode(),
    json.dumps({"state": "online", "role": ["hot"], "term": 9, "session": "1-1"}).encode(),
    json.dumps({"state": "online", "role": "hot", "term": 9, "session": 1}).encode(),
    json.dumps({"state": "dead", "session": "1-1"}).encode(),
    json.dumps({"state": ["lost"], "session": "1-1"}).encode(),
    json.dumps({"state": {}, "session": "1-1"}).encode(),
]


@pytest.mark.parametrize("payload", HOSTILE_STATES)
def test_a_state_that_cannot_be_read_changes_nothing(payload: bytes) -> None:
    before = naming("white", 5)
    assert absorb(before, "node/white/state", payload) == before


@pytest.mark.parametrize(
    "payload", [b"", b"white\n", b" ", b"a b", b"#", b"\xff", b"x" * 65, b"w" * 10**6, b"{}"]
)
@pytest.mark.parametrize("place", ["hot", "broker"])
def test_a_word_that_is_no_name_changes_nothing(place: str, payload: bytes) -> None:
    before = view(("broker", b"white"), start=naming("white", 5))
    assert absorb(before, place, payload) == before


@pytest.mark.parametrize(
    "place", ["", "node", "node/white", "node/a b/state", "node/x/y/state", "node//state", "lease"]
)
def test_a_place_that_means_nothing_here_changes_nothing(place: str) -> None:
    before = naming("white", 5)
    assert absorb(before, place, online(9)) == before


def test_a_flood_of_names_is_bounded_and_keeps_who_is_known() -> None:
    found = naming("white", 5)
    for number in range(10 * CLAIMS_MAX):
        found = absorb(found, f"node/n{number}/state", online(7))
    assert len(found.claims) == CLAIMS_MAX
    assert named_hot(absorb(found, "node/white/state", online(8))) == Hot("white", 8, "died")
