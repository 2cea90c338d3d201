"""Two nodes alone, policy availability: cut from each other, from the router, from both."""

from contextlib import ExitStack

import pytest

from tests.lan.conftest import MakeGroup
from tests.lan.deadline import holds_for
from tests.lan.group import Group
from tests.lan.groupfile import ROUTER, GroupFile, Witness
from tests.lan.harness import CutKind

pytestmark = pytest.mark.lan

LONG_ENOUGH = 3.0


@pytest.fixture
def group(make_group: MakeGroup) -> Group:
    return make_group(GroupFile(witness=Witness.NONE, policy="availability"))


def test_crash_of_the_hot_node_and_its_return(group: Group) -> None:
    hot, standby = group.start_pair()
    group.kill(hot)
    group.wait_hot(standby)
    group.start(hot)
    group.wait_redundant(standby, hot)


def test_isolated_hot_node_stops_and_the_other_takes_over(group: Group) -> None:
    hot, standby = group.start_pair()
    group.lan.unplug(hot)
    group.wait_for(lambda: group.role(hot) != "hot", "the isolated node stops")
    group.wait_hot(standby)
    group.lan.plug(hot)
    group.wait_redundant(standby, hot)


def test_isolated_standby_does_not_start(group: Group) -> None:
    hot, standby = group.start_pair()
    group.lan.unplug(standby)
    group.wait_for(lambda: group.view(hot).get("redundant") is False, "the loss is noticed")
    holds_for(LONG_ENOUGH, lambda: group.role(standby) != "hot", "the standby waits", group.explain)
    group.lan.plug(standby)
    group.wait_redundant(hot, standby)
    group.assert_undisturbed(hot)


@pytest.mark.parametrize("kind", ["drop", "reject"])
def test_cut_from_each_other_both_are_hot_and_the_lower_term_yields(
    group: Group, kind: CutKind
) -> None:
    """The price of this policy, named in its description; it ends when they meet again."""
    group.two_hot_allowed = True
    hot, standby = group.start_pair()
    with group.lan.cut(hot, standby, kind):
        group.wait_hot(standby)
    group.wait_redundant(standby, hot)
    assert group.claims(standby)[0].term > group.claims(hot)[0].term


def test_cut_from_the_router_nothing_changes(group: Group) -> None:
    hot, standby = group.start_pair()
    with group.lan.cut(hot, ROUTER), group.lan.cut(standby, ROUTER):
        holds_for(LONG_ENOUGH, lambda: group.role(hot) == "hot", "it stays hot", group.explain)
    group.wait_redundant(hot, standby)
    group.assert_undisturbed(hot)


def test_cut_from_both_nobody_is_hot(group: Group) -> None:
    hot, standby = group.start_pair()
    with ExitStack() as cuts:
        for one, other in ((hot, standby), (hot, ROUTER), (standby, ROUTER)):
            cuts.enter_context(group.lan.cut(one, other))
        group.wait_for(lambda: group.role(hot) != "hot", "the hot node stops")
        holds_for(
            LONG_ENOUGH, lambda: group.role(standby) != "hot", "the standby waits", group.explain
        )
    group.wait_for(
        lambda: group.is_redundant(hot, [standby]) or group.is_redundant(standby, [hot]),
        "one is hot again",
        30,
    )
