"""docs/protocol.md, Holding: how long a node is hot, and what ends it."""

from dataclasses import replace

import pytest

from edge.core import lease
from edge.core.effects import Publish, Reconnect, Report, StopDuty
from edge.core.events import NetworkChecked, Woke
from edge.core.model import Kind, Link, RecordId, Role
from tests.core.lab import CLAIM_AFTER, TIMING, Lab, hot_lab, of_kind, record, witness_group


def cut_off(lab: Lab) -> None:
    """From now on nothing comes back, and nobody says so."""
    lab.echoes = False


def test_hot_lasts_to_the_quorums_expiry_and_not_to_the_last_one() -> None:
    lab = hot_lab()
    views = {
        broker: replace(lab.view(broker), held_until=lab.now + left)
        for broker, left in (("white", 0.9), ("black", 0.2), ("router", 0.5))
    }
    state = replace(lab.state, views=tuple(views.values()))
    assert lease.lease_until(state) == lab.now + 0.5


def test_a_hot_node_renews_each_broker_every_heartbeat() -> None:
    lab = hot_lab()
    lab.wait(2.0)
    renewals = lab.published(Kind.RENEW)
    for broker in lab.group.brokers:
        count = len([each for each in renewals if each.link.broker == broker])
        assert count == 2.0 / TIMING.heartbeat
    assert lab.role() is Role.HOT


def test_one_record_is_under_way_to_a_broker_at_a_time() -> None:
    lab = hot_lab()
    cut_off(lab)
    lab.wait(0.9)
    assert len(lab.published(Kind.RENEW)) == 3


def test_a_hot_node_that_is_cut_off_stops_within_the_lease() -> None:
    """What must hold, 4."""
    lab = hot_lab()
    cut_off(lab)
    left = lab.lease_left()
    assert left <= TIMING.lease
    lab.wait(left - 0.001)
    assert lab.role() is Role.HOT
    lab.wait(0.002)
    assert lab.role() is Role.STANDBY
    assert lab.found(Report) == [Report("demoted", "lease_lost", 1, lab.state.me.name)]
    assert lab.found(StopDuty)


def test_the_deadline_takes_effect_before_the_event_is_looked_at() -> None:
    """Clock first: the echo that would have saved the lease comes too late."""
    lab = hot_lab()
    cut_off(lab)
    lab.wait(0.3)
    waiting = lab.published(Kind.RENEW)
    lab.sleep(TIMING.lease + 0.01)
    lab.echo(waiting[0])
    assert lab.state.tenure is None
    assert lab.found(StopDuty)


def test_any_event_ends_a_lease_that_is_over() -> None:
    lab = hot_lab()
    lab.sleep(TIMING.lease + 0.01)
    effects = lab.tell(NetworkChecked(is_reachable=True))
    assert lab.state.tenure is None
    assert of_kind(effects, StopDuty)


def test_an_involuntary_demotion_releases_nothing() -> None:
    """The outputs may still be stopping: whoever comes next waits for the whole lease."""
    lab = hot_lab()
    cut_off(lab)
    lab.wait(TIMING.lease + 0.001)
    assert lab.state.tenure is None
    assert not lab.published(Kind.RELEASE)


def test_a_lost_connection_ends_what_was_held_through_it_at_once() -> None:
    lab = hot_lab()
    lab.lose("black")
    assert lab.votes() == 2
    assert lab.role() is Role.HOT
    lab.lose("router")
    assert lab.role() is Role.STANDBY


def test_a_gap_ends_what_was_held() -> None:
    lab = hot_lab()
    lab.foreign("router", basis=RecordId("black", "3-3", 3))
    assert lab.votes() == 2


def test_an_echo_that_does_not_come_back_within_the_lease_costs_the_connection() -> None:
    lab = hot_lab()
    answering = {"white", "black"}
    lab.echoes = False
    end = lab.now + TIMING.lease + TIMING.heartbeat + 0.01
    while lab.now < end:
        for each in of_kind(lab.wait(0.01), Publish):
            if each.link.broker in answering:
                lab.echo(each)
    assert lab.found(Reconnect) == [Reconnect(Link("router"))]
    assert lab.role() is Role.HOT


# Two paths


def two_path_lab() -> Lab:
    lab = Lab()
    lab.connect("white")
    for broker in ("black", "router"):
        first = record("black", 1, None, Kind.RELEASE)
        lab.connect(broker, first)
        lab.connect(broker, first, path=1)
    lab.wait(CLAIM_AFTER + 3)
    assert lab.role() is Role.HOT
    lab.forget()
    return lab


def test_the_loss_of_one_path_changes_nothing() -> None:
    lab = two_path_lab()
    for broker in ("black", "router"):
        lab.lose(broker, path=0)
        assert lab.votes() == 3
    lab.wait(5)
    assert lab.votes() == 3
    assert not lab.found(StopDuty)


def test_both_paths_are_renewed_in_turn() -> None:
    lab = two_path_lab()
    lab.wait(1.0)
    paths = [each.link.path for each in lab.published(Kind.RENEW) if each.link.broker == "black"]
    assert paths.count(0) == paths.count(1) == 4


def test_two_paths_do_not_take_each_others_basis_away() -> None:
    """A second record waits for the echo of the first, for at most half a lease."""
    lab = two_path_lab()
    lab.echoes = False
    lab.wait(TIMING.lease / 2)
    sent = [each for each in lab.published(Kind.RENEW) if each.link.broker == "black"]
    assert len(sent) == 1
    lab.wait(TIMING.heartbeat)
    sent = [each for each in lab.published(Kind.RENEW) if each.link.broker == "black"]
    assert {each.link.path for each in sent} == {0, 1}


@pytest.mark.parametrize("broken", [0, 1])
def test_a_path_that_silently_swallows_records_costs_nothing(broken: int) -> None:
    lab = two_path_lab()
    lab.echoes = False
    end = lab.now + 3 * TIMING.lease
    while lab.now < end:
        for each in of_kind(lab.wait(0.01), Publish):
            if each.link.path != broken or each.link.broker == "white":
                lab.echo(each)
    assert lab.role() is Role.HOT
    assert not lab.found(StopDuty)


def test_a_path_on_which_another_node_seems_to_hold_is_no_reason_to_stay_awake() -> None:
    """A core that asks to be woken now, again and again, would never let its node rest."""
    lab = two_path_lab()
    lab.lose("black", path=1)
    lab.connect("black", record("black", 900, None, Kind.CLAIM), path=1)
    lab.echoes = False
    lab.wait(TIMING.heartbeat + 0.01)
    lab.tell(Woke())
    assert lab.state.wakeup_at > lab.now


# Stall


def test_after_a_stall_no_output_until_the_lease_was_renewed() -> None:
    """Around the lease, Stall: late by more than half a lease."""
    lab = hot_lab()
    lab.wait(0.1)
    assert lease.acts_until(lab.state) > lab.now
    lab.echoes = False
    lab.sleep(0.71)
    effects = lab.tell(Woke())
    assert lab.state.tenure is not None
    assert lease.acts_until(lab.state) < lab.now
    for each in of_kind(effects, Publish):
        lab.echo(each)
    assert lease.acts_until(lab.state) > lab.now


def test_a_small_delay_is_no_stall() -> None:
    lab = hot_lab()
    lab.sleep(max(0.0, lab.state.wakeup_at - lab.now) + TIMING.lease / 2 - 0.01)
    lab.tell(Woke())
    assert lease.acts_until(lab.state) > lab.now


def test_silence_that_was_slept_through_proves_nothing() -> None:
    lab = Lab(witness_group())
    for broker in lab.group.brokers:
        lab.connect(broker, record("black", 1, None, Kind.CLAIM))
    lab.wait(0.1)
    lab.sleep(20)
    lab.tell(Woke())
    assert not lab.published(Kind.CLAIM)
    lab.wait(CLAIM_AFTER - 0.01)
    assert not lab.published(Kind.CLAIM)
    lab.wait(0.02)
    assert lab.published(Kind.CLAIM)
