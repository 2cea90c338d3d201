"""What is drawn for a seed: within the laws of a group file, and everything in the end."""

import pytest

from edge.core.model import Policy
from edge.errors import SettingsError
from edge.settings import Settings
from edge.sim.plan import PARTITIONS, Beyond, Fault, Plan, Wishes, draw_plan

PLANS = [draw_plan(seed) for seed in range(300)]


def as_settings(plan: Plan) -> Settings:
    """The group file that says the same; it refuses what breaks a law."""
    group, timing = plan.group, plan.group.timing
    nodes = [each for each in group.members if each.can_be_hot]
    witnesses = [each.name for each in group.members if not each.can_be_hot]
    return Settings.model_validate(
        {
            "group": group.name,
            "policy": group.policy.value,
            "node": [
                {"name": each.name, "priority": each.priority, "addresses": [f"10.0.0.{number}"]}
                for number, each in enumerate(nodes, 1)
            ],
            "witness": [
                {"name": name, "address": f"10.0.1.{number}"}
                for number, name in enumerate(witnesses, 1)
            ],
            "timing": {
                "heartbeat": timing.heartbeat,
                "lease": timing.lease,
                "fence_delay": timing.fence_delay,
                "stagger": timing.stagger,
                "keepalive": plan.keepalive,
                "waiting_hot": timing.waiting_hot,
            },
            "netcheck": {
                "ping": ["10.0.2.1"],
                "interval": plan.netcheck_interval,
                "timeout": plan.netcheck_interval + timing.reference_timeout,
            },
            "preempt_delay": timing.preempt_delay,
        }
    )


@pytest.mark.parametrize("plan", PLANS[:60], ids=lambda plan: str(plan.seed))
def test_what_is_drawn_obeys_the_laws_of_a_group_file(plan: Plan) -> None:
    assert as_settings(plan).timing.lease == plan.group.timing.lease


def test_everything_is_drawn_sooner_or_later() -> None:
    assert {plan.group.policy for plan in PLANS} == set(Policy)
    assert {len(plan.group.brokers) for plan in PLANS} == {2, 3, 5}
    assert {fault for plan in PLANS for fault in plan.faults} == set(Fault)
    assert {plan.paths for plan in PLANS} == {1, 2}
    assert {len(plan.hosts) - len(plan.group.brokers) for plan in PLANS} == {0, -1}
    assert any(PARTITIONS.isdisjoint(plan.faults) for plan in PLANS)
    for switch in ("preempt", "trust_will", "wait_for_all"):
        assert {getattr(plan.group, switch) for plan in PLANS} == {True, False}
    leases = [plan.group.timing.lease for plan in PLANS]
    assert min(leases) < 0.3
    assert max(leases) > 6


def test_nothing_beyond_the_promise_is_drawn_by_itself() -> None:
    assert not any(plan.beyond for plan in PLANS)
    assert draw_plan(1, Wishes(beyond=tuple(Beyond))).beyond == tuple(Beyond)


def test_wishes_are_kept() -> None:
    plan = draw_plan(5, Wishes(nodes=4, witnesses=2, minutes=2.0, lease=1.0))
    assert [each.can_be_hot for each in plan.group.members] == [True] * 4 + [False] * 2
    assert plan.trouble == 120.0
    assert plan.group.timing.lease == 1.0
    assert draw_plan(5, Wishes(policy=Policy.SAFETY)).group.policy is Policy.SAFETY


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(nodes=1),
        Wishes(nodes=99),
        Wishes(witnesses=9),
        Wishes(nodes=3, policy=Policy.SAFETY),
        Wishes(nodes=2, witnesses=0, policy=Policy.MAJORITY),
        Wishes(witnesses=1, policy=Policy.AVAILABILITY),
    ],
)
def test_groups_that_cannot_be_are_refused(wishes: Wishes) -> None:
    with pytest.raises(SettingsError, match="--"):
        draw_plan(0, wishes)


def test_two_nodes_alone_get_a_policy_that_fits() -> None:
    policies = {draw_plan(seed, Wishes(nodes=2, witnesses=0)).group.policy for seed in range(20)}
    assert policies == {Policy.AVAILABILITY, Policy.SAFETY}
