"""What operators order with a plain MQTT client, and what they are refused."""

import json

import pytest

from broker.admission.access import hash_password_for_mosquitto
from tests.lan.conftest import MakeGroup
from tests.lan.deadline import holds_for
from tests.lan.group import Group
from tests.lan.groupfile import GroupFile, Witness
from tests.lan.mqtt import ANONYMOUS, Login

pytestmark = pytest.mark.lan

OPERATOR = Login("operator", "correct horse")
GUEST = Login("guest", "battery staple")


def users() -> str:
    rows = [
        f'[[access.user]]\nname = "{login.name}"\nrole = "{role}"\n'
        f'password_hash = "{hash_password_for_mosquitto(login.password)}"\n'
        for login, role in ((OPERATOR, "operate"), (GUEST, "read"))
    ]
    return "\n".join(rows)


def started(make_group: MakeGroup, *, anonymous: str = "read", more: str = "") -> Group:
    group = make_group(GroupFile(anonymous=anonymous, more=more))
    group.start_redundant()
    return group


def responses(group: Group, via: str, command: str) -> list[dict[str, object]]:
    return group.messages(via, f"response/{command}")


@pytest.mark.parametrize("asked", ["white", "black"])
def test_anyone_may_order_a_switchover_where_anonymous_may_operate(
    make_group: MakeGroup, asked: str
) -> None:
    """At the broker of either node; a bare word is enough."""
    group = started(make_group, anonymous="operate")
    assert group.publish(asked, "request/switchover", "black") == 0
    group.wait_redundant("black", "white")
    group.wait_for(lambda: responses(group, asked, "switchover"), "a response")
    assert [body["status"] for body in responses(group, asked, "switchover")] == ["ok"]
    assert len(group.claims("white")) == len(group.claims("black")) == 1


def test_user_with_the_role_may_order_a_switchover_and_hears_the_transaction(
    make_group: MakeGroup,
) -> None:
    group = started(make_group, more=users())
    order = json.dumps({"to": "black", "transaction": "t-1"})
    assert group.publish("black", "request/switchover", order, login=OPERATOR) == 0
    group.wait_redundant("black", "white")
    group.wait_for(lambda: responses(group, "black", "switchover"), "a response")
    answer = responses(group, "black", "switchover")[0]
    assert (answer["status"], answer["transaction"]) == ("ok", "t-1")


@pytest.mark.parametrize("login", [ANONYMOUS, GUEST], ids=["anonymous", "guest"])
def test_who_may_only_read_orders_nothing(make_group: MakeGroup, login: Login) -> None:
    group = started(make_group, anonymous="read", more=users())
    group.publish("white", "request/switchover", "black", login=login)
    group.publish("black", "request/switchover", "black", login=login)
    holds_for(2, lambda: group.role("white") == "hot", "white stays hot", group.explain)
    group.assert_undisturbed("white")


def test_wrong_password_is_refused(make_group: MakeGroup) -> None:
    group = started(make_group, anonymous="operate", more=users())
    wrong = Login(OPERATOR.name, "wrong")
    assert group.publish("white", "request/switchover", "black", login=wrong) != 0
    group.assert_undisturbed("white")


def test_order_to_an_unknown_node_is_answered_and_changes_nothing(make_group: MakeGroup) -> None:
    group = started(make_group, anonymous="operate")
    group.publish("white", "request/switchover", "nobody")
    group.wait_for(lambda: responses(group, "white", "switchover"), "a response")
    assert responses(group, "white", "switchover")[0]["status"] == "error"
    group.assert_undisturbed("white")


@pytest.mark.parametrize("asked", ["white", "black"])
def test_retained_order_is_refused_and_cleared(make_group: MakeGroup, asked: str) -> None:
    """It would act again at every start; that it is live for once does not help it."""
    group = started(make_group, anonymous="operate")
    assert group.publish(asked, "request/switchover", "black", "-r") == 0
    group.wait_for(lambda: responses(group, asked, "switchover"), "a response")
    assert {body["status"] for body in responses(group, asked, "switchover")} == {"error"}
    request = group.topic("request/switchover")
    group.wait_for(lambda: not group.observer.value(asked, request), "the order is cleared")
    group.assert_undisturbed("white")


def test_pause_stops_automatic_failover_until_resume(make_group: MakeGroup) -> None:
    group = started(make_group, anonymous="operate")
    group.publish("white", "request/pause", "")
    group.wait_for(lambda: group.own_state("black").get("paused") is True, "black knows")
    group.kill("white")
    holds_for(2.5, lambda: group.role("black") != "hot", "black waits", group.explain)
    group.publish("black", "request/resume", "")
    group.wait_hot("black")


def test_policy_safety_leaves_the_decision_to_an_operator(make_group: MakeGroup) -> None:
    group = make_group(GroupFile(witness=Witness.NONE, policy="safety", anonymous="operate"))
    hot, standby = group.start_pair()
    group.kill(hot)
    holds_for(3, lambda: group.role(standby) != "hot", "nobody becomes hot", group.explain)
    group.publish(standby, "request/promote", json.dumps({"to": standby, "force": True}))
    group.wait_hot(standby)
