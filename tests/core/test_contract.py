"""docs/protocol.md, The core: deterministic, total, clock first, hashable, bounded."""

from collections.abc import Iterable
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import events, lease
from edge.core.effects import Effect, Persist, Publish
from edge.core.model import Kind, Link, Pause, Policy, Record, RecordId, Role, Saved
from edge.core.state import State
from edge.core.step import start, step
from tests.core.lab import (
    BEGIN,
    CLAIM_AFTER,
    SAME,
    Lab,
    hot_lab,
    pair_group,
    standby_lab,
    three_group,
    witness_group,
)

# Three brokers over two paths: claim, release and renewal everywhere, answers, reports.
EFFECTS_MAX = 40

names = st.sampled_from(["white", "black", "green"])
links = st.builds(Link, st.sampled_from(["white", "black", "router", "green"]), st.integers(0, 1))
sessions = st.sampled_from(["1-1", "1-2", "9-1", "9-2", "9-3"])
counters = st.integers(0, 40)
terms = st.integers(0, 12)
ids = st.builds(RecordId, names, sessions, counters)
records = st.builds(Record, ids, st.none() | ids, st.sampled_from(Kind), terms, st.none() | names)
pauses = st.builds(Pause, st.integers(0, 5), st.booleans())
boots = st.sampled_from(["1", "2"])
orders = st.one_of(
    st.builds(events.SwitchoverOrder, st.none() | names),
    st.builds(events.PromoteOrder, st.booleans()),
    st.builds(events.PauseOrder, st.booleans()),
    st.just(events.StopOrder()),
)
happenings = st.one_of(
    st.just(events.Woke()),
    st.builds(events.LinkUp, links, sessions),
    st.builds(events.Subscribed, links),
    st.builds(events.LinkLost, links),
    st.builds(events.LinkDenied, links),
    st.builds(events.RecordSeen, links, records, st.booleans()),
    st.builds(events.StrangerSeen, links),
    st.builds(
        events.PeerSeen,
        links,
        names,
        sessions,
        boots,
        counters,
        st.sampled_from(Role),
        terms,
        st.booleans(),
        st.integers(0, 255),
        st.booleans(),
    ),
    st.builds(
        events.HeartbeatSeen,
        links,
        names,
        sessions,
        boots,
        counters,
        st.sampled_from([SAME, "other"]),
        pauses,
        st.booleans(),
    ),
    st.builds(events.WillSeen, links, names, sessions, st.booleans(), st.booleans()),
    st.builds(events.NetworkChecked, st.booleans()),
    st.builds(events.DutyStarted, terms),
    st.builds(events.DutyStopped, terms),
    st.builds(events.FitnessChanged, st.sampled_from(["", "nodered keeps ending"])),
    st.builds(events.SwitchJudged, terms, st.sampled_from(["", "the tank is filling"])),
    st.builds(events.Ordered, orders, st.integers(0, 3)),
)
pauses_between = st.sampled_from([0.0, 0.001, 0.1, 0.25, 0.6, 1.2, 5.0])
# "echo" brings the oldest record that this node sent back to it.
scripts = st.lists(st.tuples(happenings | st.just("echo"), pauses_between), max_size=40)


def fresh(policy: Policy) -> State:
    if policy in {Policy.AVAILABILITY, Policy.SAFETY}:
        return Lab(pair_group(policy)).state
    return Lab(three_group() if policy is Policy.MAJORITY else witness_group()).state


def claiming() -> State:
    lab = standby_lab()
    lab.echoes = False
    lab.wait(CLAIM_AFTER + 0.01)
    assert lab.state.attempt is not None
    return lab.state


def handing_over() -> State:
    lab = hot_lab()
    lab.beat()
    lab.word()
    lab.order(events.SwitchoverOrder("black"))
    assert lab.state.handover is not None
    return lab.state


BEGINNINGS = [
    *(fresh(policy) for policy in Policy),
    hot_lab().state,
    hot_lab(pair_group(Policy.AVAILABILITY)).state,
    hot_lab(witness_group(preempt=True), me="black").state,
    standby_lab().state,
    standby_lab(three_group()).state,
    claiming(),
    handing_over(),
]


def play(state: State, script: Iterable[tuple[object, float]]) -> tuple[State, list[Effect]]:
    """Run a script, checking after each step what must hold after every step."""
    sent: list[Publish] = []
    done: list[Effect] = []
    now = state.now
    for happening, pause in script:
        now += pause
        event = happening
        if happening == "echo":
            echo = sent.pop(0) if sent else None
            event = events.RecordSeen(echo.link, echo.record) if echo else events.Woke()
        before = state
        state, effects = step(state, event, now, 0.5)  # type: ignore[arg-type]
        check(before, state, effects)
        sent += [each for each in effects if isinstance(each, Publish)]
        done += effects
    return state, done


def check(before: State, after: State, effects: list[Effect]) -> None:
    assert len(effects) <= EFFECTS_MAX
    assert hash(after) == hash(after)
    assert after.now <= after.wakeup_at < inf
    persisted = [index for index, each in enumerate(effects) if isinstance(each, Persist)]
    assert persisted == ([0] if before.saved != after.saved else [])
    assert not any(
        isinstance(each, Publish) and each.record.term > after.saved.term for each in effects
    )


@pytest.mark.parametrize("beginning", BEGINNINGS, ids=range(len(BEGINNINGS)))
@settings(max_examples=60, deadline=None, derandomize=True)
@given(script=scripts)
def test_every_event_in_every_state_has_an_answer(
    beginning: State, script: list[tuple[object, float]]
) -> None:
    """Total: it raises for nothing that anybody sends, in whatever order."""
    play(beginning, script)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(script=scripts)
def test_the_same_inputs_give_the_same_state_and_effects(
    script: list[tuple[object, float]],
) -> None:
    assert play(hot_lab().state, script) == play(hot_lab().state, script)


def test_time_never_runs_backwards() -> None:
    lab = hot_lab()
    state, _ = step(lab.state, events.Woke(), lab.now - 50, 0.5)
    assert state.now == lab.state.now


def test_a_node_that_just_began_wants_to_be_woken_at_once() -> None:
    state = start("white", witness_group(), SAME, Saved(), BEGIN, 0.5)
    assert state.wakeup_at == BEGIN


def test_the_core_lets_its_node_rest() -> None:
    """In ten quiet seconds it asks to be woken some hundred times, not without end."""
    for lab in (hot_lab(), standby_lab(), Lab()):
        wakings, end = 0, lab.now + 10
        while lab.state.wakeup_at <= end:
            lab.now = max(lab.now, lab.state.wakeup_at)
            lab.tell(events.Woke())
            wakings += 1
        assert wakings < 300


def test_a_link_to_a_broker_that_has_no_vote_counts_for_nothing() -> None:
    lab = hot_lab()
    until = lease.lease_until(lab.state)
    lab.connect("elsewhere")
    assert lease.lease_until(lab.state) == until
