"""What the terminal shows: made from topics that anybody may have written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edge.console.table import event_line, group_table, history_table
from edge.console.view import (
    FILTERS,
    GroupView,
    absorb,
    hot_node,
    is_redundant,
    recent_events,
)
from tests.shell.fake_group import STATE

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
PLACES = [each.replace("+", "white") for each in (*FILTERS, "state")]
KEYS = st.sampled_from(
    [
        "hot",
        "votes",
        "nodes",
        "outlook",
        "witnesses",
        "since",
        "at",
        "role",
        "total_ms",
        "redundant",
    ]
)


def view_of(**topics: object) -> GroupView:
    view = GroupView()
    for place, content in topics.items():
        payload = content if isinstance(content, str) else json.dumps(content)
        view = absorb(view, place, payload.encode())
    return view


def shown(view: GroupView) -> str:
    console = Console(width=150, markup=False)
    with console.capture() as captured:
        console.print(group_table("RPI", ("white", "black"), view, "black"))
        console.print(history_table(view.history))
    return captured.get()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(PLACES),
            st.binary()
            | (JSON | st.dictionaries(KEYS, JSON)).map(lambda each: json.dumps(each).encode()),
        )
    )
)
def test_no_payload_is_an_error(messages: list[tuple[str, bytes]]) -> None:
    view = GroupView()
    for place, payload in messages:
        view = absorb(view, place, payload)
    shown(view)


@pytest.mark.parametrize(("word", "hot"), [("black", "black"), ("none", None), ("", None)])
def test_the_one_word_wins_over_the_state(word: str, hot: str | None) -> None:
    view = view_of(state=STATE, hot=word)
    assert hot_node(view) == hot
    assert not is_redundant(view), "the state is about white"


def test_an_alert_goes_when_its_topic_is_cleared() -> None:
    view = absorb(GroupView(), "alert/lost", b"white is gone")
    assert "white is gone" in shown(view)
    assert absorb(view, "alert/lost", b"").alerts == {}


def test_events_missed_are_taken_from_the_history() -> None:
    old = {"event": "failover", "at": "2026-05-01T10:00:00Z"}
    both = {"event": "switchover", "at": "2026-05-01T11:00:00Z"}
    new = {"event": "joined", "at": "2026-05-01T12:00:00Z"}
    view = view_of(history=[old, both], event=both)
    view = absorb(view, "event", json.dumps(new).encode())
    assert recent_events(view) == (old, both, new)


def test_an_event_is_a_sentence() -> None:
    event = {"event": "failover", "from": "white", "to": None, "reason": "died", "total_ms": 96.4}
    assert event_line({**event, "elect_ms": 4}) == "failover white -> none (died) 96 ms [elect 4]"


def test_a_foreign_witness_has_its_role() -> None:
    view = view_of(state={**STATE, "witnesses": {"black": "witness"}, "nodes": {}})
    assert "witness" in shown(view)
