"""Who belongs to the group: wrong secrets, differing files, three nodes, two network paths."""

import secrets
from dataclasses import replace

import pytest

from tests.lan.conftest import MakeGroup
from tests.lan.deadline import holds_for
from tests.lan.group import Group
from tests.lan.groupfile import WITNESS, GroupFile, Witness

pytestmark = pytest.mark.lan

LONG_ENOUGH = 2.5


def with_white_hot(make_group: MakeGroup) -> Group:
    group = make_group()
    group.start(WITNESS, "white")
    group.wait_hot("white")
    return group


def test_wrong_secret_makes_a_node_faulty_and_never_hot(make_group: MakeGroup) -> None:
    """It cannot disturb who is hot, and it does not take over when nobody is."""
    group = with_white_hot(make_group)
    group.start_with("black", group.file, secret=secrets.token_hex(32))
    group.wait_for(lambda: group.role("black") == "faulty", "black says it is faulty")
    holds_for(LONG_ENOUGH, lambda: group.role("white") == "hot", "white stays", group.explain)
    group.assert_undisturbed("white")
    group.kill("white")
    group.wait_for(lambda: not group.observer.is_attached("white"), "white is gone")
    holds_for(LONG_ENOUGH, lambda: group.role("black") != "hot", "black waits", group.explain)
    group.start("white")
    group.wait_hot("white")
    assert not group.claims("black")


def test_differing_file_makes_a_node_faulty_and_never_hot(make_group: MakeGroup) -> None:
    group = with_white_hot(make_group)
    group.start_with("black", replace(group.file, more="[timing]\nfence_delay = 0.11\n"))
    group.wait_for(lambda: group.role("black") == "faulty", "black says it is faulty")
    group.kill("white")
    holds_for(LONG_ENOUGH, lambda: group.role("black") != "hot", "black waits", group.explain)


def test_three_nodes_survive_one_after_another_while_two_are_left(make_group: MakeGroup) -> None:
    group = make_group(GroupFile(nodes=("white", "black", "grey"), witness=Witness.NONE))
    group.start("white", "black")
    group.wait_for(lambda: "hot" in {group.role("white"), group.role("black")}, "one is hot")
    first = "white" if group.role("white") == "hot" else "black"
    second = "black" if first == "white" else "white"
    group.start("grey")
    group.wait_redundant(first, second, "grey")
    group.kill(first)
    group.wait_for(lambda: "hot" in {group.role(second), group.role("grey")}, "another is hot")
    heir = second if group.role(second) == "hot" else "grey"
    group.wait_hot(heir, seen_by=(second, "grey"))
    group.start(first)
    group.wait_redundant(heir, *({"white", "black", "grey"} - {heir}))


def test_one_of_two_paths_lost_changes_nothing(make_group: MakeGroup) -> None:
    group = make_group(switch_count=2)
    group.start_redundant()
    for switch in (0, 1):
        group.lan.unplug("white", switch)
        holds_for(LONG_ENOUGH, lambda: group.role("white") == "hot", "white stays", group.explain)
        group.lan.plug("white", switch)
        group.wait_redundant("white", "black")
    group.assert_undisturbed("white")
