"""What a node shows of the group: roles, votes, alerts, and the outlook in plain words."""

from dataclasses import replace

import pytest

from edge.core.model import Policy, Role
from edge.views import (
    ALERTS,
    NodePicture,
    Picture,
    alerts,
    is_redundant,
    outlook,
    take_picture,
)
from tests.core.lab import CLAIM_AFTER, TIMING, Lab, hot_lab, standby_lab

GOOD = Picture(
    hot="white",
    term=5,
    reason="died",
    votes=3,
    needed=2,
    of=3,
    is_paused=False,
    nodes=(
        NodePicture("white", Role.HOT, 3, 255),
        NodePicture("black", Role.STANDBY, 2, 250),
    ),
    connected=frozenset({"white", "black", "router"}),
)


def with_black(role: Role, level: int = 250) -> Picture:
    return replace(GOOD, nodes=(GOOD.nodes[0], NodePicture("black", role, 2, level)))


# The picture


def test_a_hot_node_shows_itself_with_its_votes() -> None:
    picture = take_picture(hot_lab().state)
    assert (picture.hot, picture.term, picture.votes, picture.needed, picture.of) == (
        "white",
        1,
        3,
        2,
        3,
    )


def test_a_standby_shows_the_hot_node_and_the_votes_that_it_sees() -> None:
    picture = take_picture(standby_lab().state)
    assert (picture.hot, picture.term, picture.votes) == ("black", 4, 3)


def test_nobody_is_hot_at_the_beginning() -> None:
    picture = take_picture(Lab().state)
    assert picture.hot is None
    assert [each.role for each in picture.nodes] == [Role.STARTING, Role.LOST]


def test_a_node_that_fell_silent_is_lost() -> None:
    lab = hot_lab()
    lab.word()
    lab.beat()
    assert take_picture(lab.state).nodes[1].role is Role.STANDBY
    lab.wait(TIMING.lost_after + 0.1)
    lost = take_picture(lab.state).nodes[1]
    assert (lost.role, lost.service_level) == (Role.LOST, 0)


def test_a_node_that_said_good_bye_has_stopped() -> None:
    lab = hot_lab()
    lab.word()
    lab.will("white", is_clean=True)
    assert take_picture(lab.state).nodes[1].role is Role.STOPPED


def test_a_silent_hot_node_is_not_shown_as_hot() -> None:
    lab = standby_lab()
    lab.echoes = False
    lab.wait(CLAIM_AFTER + 0.05)
    picture = take_picture(lab.state)
    assert picture.hot is None
    assert picture.nodes[1].role is Role.LOST


def test_only_healthy_standbys_are_ready_best_first() -> None:
    third = NodePicture("green", Role.STANDBY, 3, 250)
    assert replace(GOOD, nodes=(*GOOD.nodes, third)).ready == ("green", "black")
    assert with_black(Role.STANDBY, 100).ready == ()
    assert with_black(Role.FAULTY).ready == ()


# Redundant


def test_a_whole_group_is_redundant() -> None:
    assert is_redundant(GOOD)


@pytest.mark.parametrize(
    "picture",
    [
        replace(GOOD, hot=None),
        replace(GOOD, is_paused=True),
        replace(GOOD, votes=2),
        replace(GOOD, connected=frozenset({"white", "black"})),
        with_black(Role.LOST),
        with_black(Role.STANDBY, 100),
    ],
)
def test_whatever_is_missing_ends_the_redundancy(picture: Picture) -> None:
    assert not is_redundant(picture)


# Outlook


def test_a_whole_group_has_a_good_outlook() -> None:
    words = outlook(GOOD, Policy.WITNESS)
    assert words["hot_dies"] == "black takes over"
    assert words["standby_dies"].startswith("white stays hot")
    assert words["link_breaks"].startswith("white stays hot")


def test_the_outlook_without_the_witness_says_that_nobody_takes_over() -> None:
    """The dead node's broker dies with it."""
    picture = replace(GOOD, votes=2, connected=frozenset({"white", "black"}))
    assert outlook(picture, Policy.WITNESS)["hot_dies"].startswith("nobody takes over")


@pytest.mark.parametrize(
    ("picture", "policy", "words"),
    [
        (replace(GOOD, is_paused=True), Policy.WITNESS, "paused"),
        (with_black(Role.LOST), Policy.WITNESS, "no standby is ready"),
        (GOOD, Policy.SAFETY, "an operator must promote black"),
        (GOOD, Policy.AVAILABILITY, "if it still reaches a reference"),
        (replace(GOOD, hot=None), Policy.WITNESS, "nobody is hot"),
    ],
)
def test_the_outlook_names_what_stands_in_the_way(
    picture: Picture, policy: Policy, words: str
) -> None:
    assert words in outlook(picture, policy)["hot_dies"]


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("picture", [GOOD, replace(GOOD, hot=None), with_black(Role.LOST)])
def test_every_outlook_is_three_sentences(policy: Policy, picture: Picture) -> None:
    words = outlook(picture, policy)
    assert set(words) == {"hot_dies", "standby_dies", "link_breaks"}
    assert all(words.values())


# Alerts


def test_a_whole_group_has_no_alert() -> None:
    assert alerts(GOOD) == {}


@pytest.mark.parametrize(
    ("picture", "names"),
    [
        (replace(GOOD, hot=None, is_headless=True), {"no_hot"}),
        (with_black(Role.LOST, 0), {"no_standby", "lost"}),
        (with_black(Role.STARTING, 1), {"no_standby"}),
        (with_black(Role.FAULTY, 1), {"no_standby", "faulty"}),
        (replace(GOOD, is_paused=True), {"paused"}),
    ],
)
def test_each_condition_has_its_alert(picture: Picture, names: set[str]) -> None:
    assert names <= set(alerts(picture))
    assert set(alerts(picture)) <= set(ALERTS)
    assert all(sentence.endswith(".") for sentence in alerts(picture).values())
