"""What dies, freezes or falls silent: white hot, black standby, a plain Mosquitto as witness."""

import os
import signal
import time

import pytest

from tests.lan.conftest import MakeGroup
from tests.lan.deadline import holds_for
from tests.lan.group import OUTSIDE, Group
from tests.lan.groupfile import WITNESS
from tests.lan.processes import is_broker

pytestmark = pytest.mark.lan

# Longer than a lease, the wait before a claim, and the pause after an attempt that failed.
LONG_ENOUGH = 2.5
FREEZE = 5.0


@pytest.fixture
def group(make_group: MakeGroup) -> Group:
    made = make_group()
    made.start_redundant()
    return made


def test_first_started_is_hot_whatever_its_priority(make_group: MakeGroup) -> None:
    group = make_group()
    group.start(WITNESS, "black")
    group.wait_hot("black")
    group.start("white")
    group.wait_redundant("black", "white")
    group.assert_undisturbed("black")


def test_crash_of_the_hot_node_and_its_return(group: Group) -> None:
    group.kill("white")
    group.wait_hot("black")
    group.start("white")
    group.wait_redundant("black", "white")
    assert len(group.claims("white")) == 1


def test_terms_grow_with_every_change(group: Group) -> None:
    group.kill("white")
    group.wait_hot("black")
    group.start("white")
    group.wait_redundant("black", "white")
    group.kill("black")
    group.wait_hot("white")
    claims = sorted(group.claims("white") + group.claims("black"), key=lambda claim: claim.start)
    terms = [claim.term for claim in claims]
    assert terms == sorted(set(terms))
    assert len(terms) == 3


def test_pulled_cable_reverses_the_roles_for_good(group: Group) -> None:
    group.lan.unplug("white")
    group.wait_hot("black")
    group.wait_for(lambda: group.role("white") != "hot", "white knows that it is cut off")
    group.lan.plug("white")
    group.wait_redundant("black", "white")
    holds_for(LONG_ENOUGH, lambda: group.role("black") == "hot", "black stays hot", group.explain)
    assert len(group.claims("white")) == 1


def test_record_that_comes_late_hides_no_term(group: Group) -> None:
    """White's last renewals are still under way when its cable is pulled, and reach the witness
    when it is plugged in again: after those of black, which has meanwhile been hot and died."""
    group.lan.unplug("white")
    group.wait_hot("black")
    holds_for(1, lambda: group.role("black") == "hot", "black stays hot", group.explain)
    group.kill("black")
    group.lan.plug("white")
    group.wait_hot("white")
    assert [claim.term for claim in group.claims("white") + group.claims("black")] == [1, 3, 2]


def test_dead_switch_port_is_a_pulled_cable_without_the_carrier(group: Group) -> None:
    with group.lan.silenced("white"):
        group.wait_hot("black")
        group.wait_for(lambda: group.role("white") != "hot", "white knows that it is cut off")
    group.wait_redundant("black", "white")


def test_pulled_cable_of_the_standby_changes_nothing(group: Group) -> None:
    group.lan.unplug("black")
    group.wait_for(lambda: group.view("white").get("redundant") is False, "white misses black")
    holds_for(LONG_ENOUGH, lambda: group.role("white") == "hot", "white stays hot", group.explain)
    group.lan.plug("black")
    group.wait_redundant("white", "black")
    group.assert_undisturbed("white")


def test_power_cut_and_return(group: Group) -> None:
    group.power_off("white")
    group.wait_hot("black")
    group.lan.power_on("white")
    group.start("white")
    group.wait_redundant("black", "white")


@pytest.mark.parametrize("whole_machine", [True, False], ids=["whole machine", "agent alone"])
def test_frozen_hot_node_wakes_up_as_standby(group: Group, whole_machine: bool) -> None:
    """Five seconds later it must look at the clock before anything else."""
    group.freeze("white", whole_machine=whole_machine)
    frozen_at = time.monotonic()
    group.wait_hot("black")
    rest = FREEZE - (time.monotonic() - frozen_at)
    holds_for(rest, lambda: group.role("black") == "hot", "black stays hot", group.explain)
    group.thaw("white")
    group.wait_redundant("black", "white")
    assert len(group.claims("white")) == 1
    assert len(group.claims("black")) == 1


def test_restarted_standby_changes_nothing(group: Group) -> None:
    assert group.stop("black") == 0
    group.wait_for(lambda: group.view("white").get("redundant") is False, "white misses black")
    group.start("black")
    group.wait_redundant("white", "black")
    group.assert_undisturbed("white")


def test_lost_witness_changes_nothing_and_the_pair_goes_on(group: Group) -> None:
    group.kill(WITNESS)
    group.wait_for(lambda: not group.observer.is_attached(WITNESS + OUTSIDE), "witness gone")
    holds_for(LONG_ENOUGH, lambda: group.role("white") == "hot", "white stays hot", group.explain)
    group.start(WITNESS)
    group.wait_redundant("white", "black")
    group.assert_undisturbed("white")


def test_hot_node_without_a_majority_stops_and_comes_back(group: Group) -> None:
    group.kill(WITNESS)
    group.power_off("black")
    group.wait_for(lambda: group.role("white") not in {"hot", None}, "white steps down")
    group.start(WITNESS)
    group.wait_hot("white")


def test_killed_broker_of_the_hot_node_comes_back_and_changes_nothing(group: Group) -> None:
    brokers = [pid for pid in group.processes["white"].family() if is_broker(pid)]
    assert brokers, group.explain()
    for pid in brokers:
        os.kill(pid, signal.SIGKILL)
    group.wait_for(lambda: not group.observer.is_attached("white"), "the broker is gone")
    group.wait_redundant("white", "black")
    group.assert_undisturbed("white")
