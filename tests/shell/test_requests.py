"""Requests on a node's broker: who answers, what is refused, and that nothing sent does harm."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.effects import Answer
from edge.core.events import Ordered, PauseOrder, PromoteOrder, SwitchoverOrder
from edge.core.model import Link, Role
from edge.core.state import State
from edge.ports import Message
from edge.requests import CLEARING, CLEARING_TIMEOUT, COMMANDS, SCHEDULED_MAX, Desk, Office
from edge.wire import Payload, Topics
from tests.core.lab import Lab, hot_lab, standby_lab

TOPICS = Topics("group")
NODES = frozenset({"white", "black"})


@dataclass(eq=False)
class FakePath:
    """A path that keeps what is published; its broker retains nothing unless told; `events`
    come before it answers a question."""

    link: Link
    session: str | None = "9-1"
    is_subscribed: bool = True
    published: list[Message] = field(default_factory=list)
    retains: list[Message] = field(default_factory=list)
    events: list[Message] = field(default_factory=list)
    show: Callable[[Message], object] = lambda _message: None

    def publish(self, message: Message) -> None:
        self.published.append(message)

    def give_up(self, reason: str) -> None:
        raise AssertionError(reason)

    def ask_again(self, topic_filter: str, then: Callable[[], None]) -> None:
        assert topic_filter == TOPICS.requests
        for message in (*self.events, *self.retains):
            self.show(message)
        then()


class Counter:
    """A node's desk with everything around it recorded."""

    def __init__(self, state: State, broker: str = "white") -> None:
        self.state = state
        self.orders: list[Ordered] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.refusals: list[tuple[str, str, str]] = []
        self.time = 0.0
        self.path = FakePath(Link(broker))
        office = Office(
            state=lambda: self.state,
            order=self.orders.append,
            now=lambda: self.time,
            later=lambda delay, call: self.later.append((delay, call)),
            describe=lambda: {"hot": "white"},
            history=lambda: [{"term": 1}],
            refused=lambda *refusal: self.refusals.append(refusal),
            steps=lambda: {"steps": [{"step": "stop nodered", "ms": 12.5}]},
        )
        self.desk = Desk(state.me.name, NODES, TOPICS, office)
        self.path.show = lambda message: self.desk.take(self.path, message)

    def ask(self, command: str, raw: bytes = b"", *, retained: bool = False) -> list[Payload]:
        """The responses that come at once."""
        done = len(self.path.published)
        self.path.is_subscribed = not retained  # what is retained comes with the subscription
        self.desk.take(self.path, Message(TOPICS.request(command), raw, retained))
        self.path.is_subscribed = True
        topic = TOPICS.response(command)
        new = self.path.published[done:]
        return [orjson.loads(each.payload) for each in new if each.topic == topic]

    def only(self, command: str, raw: bytes = b"") -> Payload:
        (response,) = self.ask(command, raw)
        return response


def owner() -> Counter:
    """White's desk at its own broker; white is hot."""
    return Counter(hot_lab().state)


def standby() -> Counter:
    """White's desk at its own broker; black is hot."""
    return Counter(standby_lab().state)


def body(**fields: Any) -> bytes:
    return orjson.dumps(fields)


def test_ping_state_and_history_are_answered_by_the_brokers_own_node() -> None:
    assert owner().only("ping")["data"] == {"node": "white"}
    assert owner().only("state")["data"] == {"hot": "white"}
    assert owner().only("history")["data"] == {"history": [{"term": 1}]}
    for command in ("ping", "state", "history", "pause", "resume"):
        elsewhere = Counter(hot_lab().state, broker="black")
        assert elsewhere.ask(command) == []
        assert not elsewhere.orders


def test_the_transaction_comes_back_whatever_it_is() -> None:
    for transaction in (5, "x", [1], {"a": None}):
        assert owner().only("ping", body(transaction=transaction))["transaction"] == transaction
    assert "transaction" not in owner().only("ping")


@pytest.mark.parametrize(
    ("command", "raw", "order"),
    [
        ("pause", b"", PauseOrder(is_on=True)),
        ("resume", b"", PauseOrder(is_on=False)),
        ("switchover", b"", SwitchoverOrder(None)),
        ("switchover", b"black", SwitchoverOrder("black")),
        ("switchover", b'{"to":"black","at":"now"}', SwitchoverOrder("black")),
        ("promote", b"", PromoteOrder(force=False)),
        ("promote", b'{"force":true}', PromoteOrder(force=True)),
    ],
)
def test_an_order_goes_to_the_core(command: str, raw: bytes, order: object) -> None:
    desk = owner()
    assert desk.ask(command, raw) == []
    assert [each.order for each in desk.orders] == [order]


def test_the_answer_of_the_core_is_the_response() -> None:
    desk = owner()
    desk.ask("switchover", b'{"to":"black","transaction":7}')
    desk.desk.answer(Answer(desk.orders[0].ticket, "", "black", took=0.0421))
    response = orjson.loads(desk.path.published[-1].payload)
    assert response == {
        "status": "ok",
        "data": {
            "hot": "black",
            "term": 1,
            "took_ms": 42.1,
            "steps": [{"step": "stop nodered", "ms": 12.5}],
        },
        "transaction": 7,
    }


def test_a_refusal_of_the_core_is_an_error_response() -> None:
    desk = owner()
    desk.ask("switchover", b"black")
    desk.desk.answer(Answer(desk.orders[0].ticket, "not_ready", "black is not ready"))
    response = orjson.loads(desk.path.published[-1].payload)
    assert (response["status"], response["code"]) == ("error", "not_ready")
    assert desk.refusals


def test_an_answer_without_a_question_is_nobodys() -> None:
    desk = owner()
    desk.desk.answer(Answer(99, "", "black"))
    assert desk.path.published == []


# Who acts


def test_the_hot_node_takes_a_switchover_from_any_broker() -> None:
    desk = Counter(hot_lab().state, broker="black")
    desk.ask("switchover", b"black")
    assert len(desk.orders) == 1


def test_a_standby_leaves_a_switchover_to_the_hot_node() -> None:
    desk = standby()
    assert desk.ask("switchover", b"white") == []
    assert not desk.orders


def test_without_a_hot_node_the_brokers_own_node_answers_a_switchover() -> None:
    lab = Lab()
    lab.connect_all()
    desk = Counter(lab.state)
    desk.ask("switchover", b"black")
    assert len(desk.orders) == 1


def test_the_named_node_takes_a_promotion_from_any_broker() -> None:
    desk = Counter(standby_lab().state, broker="black")
    desk.ask("promote", b"white")
    assert [each.order for each in desk.orders] == [PromoteOrder(force=False)]


def test_a_promotion_of_a_node_that_is_not_there_is_refused_by_the_brokers_own() -> None:
    lab = Lab()
    lab.connect_all()
    assert Counter(lab.state).only("promote", b"black")["code"] == "not_ready"


# What is refused


@pytest.mark.parametrize(
    ("command", "raw", "code"),
    [
        ("dance", b"", "unknown_command"),
        ("ping", b"\xff", "bad_request"),
        ("ping", b"{", "bad_request"),
        ("ping", b"[]", "bad_request"),
        ("switchover", b"nobody", "unknown_node"),
        ("switchover", b'{"to":5}', None),
        ("switchover", b'{"to":["black"]}', None),
        ("switchover", b'{"to":{"a":1}}', None),
        ("switchover", b'{"at":"tomorrow"}', "bad_request"),
        ("switchover", b'{"at":[]}', "bad_request"),
        ("switchover", b'{"at":"1999-01-01T00:00:00Z"}', "bad_request"),
        ("promote", b'{"force":"yes"}', "bad_request"),
        ("promote", b'{"to":["white"]}', None),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    command: str, raw: bytes, code: str | None
) -> None:
    """With a code, where the contract names one."""
    desk = owner()
    response = desk.only(command, raw)
    assert response["status"] == "error"
    assert code in {None, response["code"]}
    assert not desk.orders


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
arguments = st.dictionaries(st.sampled_from(["to", "at", "force", "transaction"]), values)


@settings(deadline=None, derandomize=True)
@given(command=st.sampled_from(COMMANDS), fields=arguments, hot=st.booleans())
def test_no_argument_does_harm(command: str, fields: dict[str, Any], hot: bool) -> None:
    desk = owner() if hot else standby()
    raw = orjson.dumps(fields)
    desk.ask(command, raw)
    for ordered in desk.orders:
        assert ordered.order is not None


@settings(deadline=None, derandomize=True)
@given(command=st.text(max_size=50), raw=st.binary(max_size=50), retained=st.booleans())
def test_no_bytes_do_harm(command: str, raw: bytes, retained: bool) -> None:
    desk = owner()
    desk.ask(command, raw, retained=retained)
    assert not desk.orders or command in COMMANDS


def test_a_retained_request_is_refused_and_cleared() -> None:
    """It would come again after every restart."""
    desk = owner()
    (response,) = desk.ask("switchover", b"black", retained=True)
    assert response["code"] == "retained"
    assert Message(TOPICS.request("switchover"), b"", retained=True) in desk.path.published
    assert not desk.orders


def test_a_live_request_that_the_broker_keeps_is_refused_and_cleared() -> None:
    """A live message does not tell whether it is retained: the broker is asked."""
    desk = owner()
    kept = Message(TOPICS.request("switchover"), b"black", retained=True)
    desk.path.retains.append(kept)
    (response,) = desk.ask("switchover", b"black")
    assert response["code"] == "retained"
    assert Message(kept.topic, b"", retained=True) in desk.path.published
    assert not desk.orders


def echo_clearing(desk: Counter, command: str) -> None:
    """What everybody gets who is subscribed while somebody clears a retained request."""
    assert desk.ask(command, CLEARING) == []
    assert desk.ask(command, b"") == []


def test_the_clearing_is_not_taken_for_a_request() -> None:
    desk = owner()
    desk.ask("switchover", b"black", retained=True)
    cleared = [each for each in desk.path.published if each.retained]
    assert [each.payload for each in cleared] == [CLEARING, b""]
    for _ in range(3):
        echo_clearing(desk, "switchover")
    assert not desk.orders


def test_the_clearing_of_another_node_is_not_taken_for_a_request_however_late_it_comes() -> None:
    """Black was to be promoted, on our broker; its answer takes its time."""
    desk = standby()
    assert desk.ask("promote", b"black") == []
    desk.time += 3600.0
    echo_clearing(desk, "promote")
    assert not desk.orders
    assert desk.ask("promote", b"") == []
    assert [each.order for each in desk.orders] == [PromoteOrder(force=False)]


def test_an_empty_request_is_one_shortly_after_another_nodes() -> None:
    desk = standby()
    assert desk.ask("promote", b"black") == []
    desk.ask("promote", b"")
    assert len(desk.orders) == 1


def test_a_clearing_that_never_came_swallows_no_request_later() -> None:
    desk = owner()
    desk.ask("switchover", CLEARING)
    desk.time += CLEARING_TIMEOUT + 1.0
    desk.ask("switchover", b"")
    assert len(desk.orders) == 1


def test_a_second_copy_of_what_was_retained_is_not_refused_and_cleared_again() -> None:
    """Its late clearing would take away the next retained request unseen, which then counts."""
    desk = owner()
    desk.path.retains.append(Message(TOPICS.request("switchover"), b"black", retained=True))
    desk.ask("switchover", b"black")
    done = len(desk.path.published)
    desk.desk.take(desk.path, Message(TOPICS.request("switchover"), b"black", retained=True))
    assert len(desk.path.published) == done


def test_what_another_node_clears_while_we_ask_is_refused() -> None:
    """It was retained when it came, and is not any more when the broker answers."""
    desk = owner()
    desk.path.events.append(Message(TOPICS.request("switchover"), CLEARING))
    desk.path.events.append(Message(TOPICS.request("switchover"), b""))
    (response,) = desk.ask("switchover", b"black")
    assert response["code"] == "retained"
    assert not desk.orders


def test_what_comes_in_the_middle_of_a_clearing_is_refused() -> None:
    """The empty message takes it away before the broker is asked."""
    desk = owner()
    assert desk.ask("switchover", CLEARING) == []
    desk.path.events.append(Message(TOPICS.request("switchover"), b""))
    (response,) = desk.ask("switchover", b"black")
    assert response["code"] == "retained"
    assert not desk.orders


def test_a_clearing_that_somebody_retains_is_no_request() -> None:
    desk = owner()
    assert desk.ask("switchover", CLEARING, retained=True) == []
    assert desk.path.published == []


# A switchover at a set time


def soon() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def test_a_scheduled_switchover_is_ordered_when_its_time_has_come() -> None:
    desk = owner()
    at = soon()
    assert desk.only("switchover", body(to="black", at=at))["data"] == {"scheduled": at}
    assert not desk.orders
    (delay, call) = desk.later[-1]
    assert 3500 < delay <= 3600
    call()
    assert [each.order for each in desk.orders] == [SwitchoverOrder("black")]


def test_only_so_many_switchovers_may_wait() -> None:
    desk = owner()
    responses = [desk.only("switchover", body(at=soon())) for _ in range(SCHEDULED_MAX + 1)]
    assert [each["status"] for each in responses] == ["ok"] * SCHEDULED_MAX + ["error"]


def test_a_node_that_stopped_being_hot_is_asked_as_what_it_is_now() -> None:
    desk = owner()
    desk.state = standby_lab().state
    assert desk.state.role is Role.STANDBY
    assert desk.ask("switchover", b"black") == []
