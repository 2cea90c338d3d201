"""The world of the simulator and its checks: each does what it is there for."""

import ast
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from edge.core.events import Ordered, SwitchoverOrder
from edge.core.model import Policy
from edge.core.state import Tenure
from edge.sim import life
from edge.sim.checks import Check, NoFailback, NoNeedlessChange, OneHot, StopsWhenCutOff, TermsGrow
from edge.sim.faults import calm
from edge.sim.host import Host
from edge.sim.plan import Fault, Wishes, draw_plan
from edge.sim.run import Run
from edge.sim.trace import ViolationError

SOURCES = Path(__file__).parents[2] / "edge" / "sim"
TENURE = Tenure(3, 0.0, "silent", None, 0.0, 0.0)


def calm_run(
    wishes: Wishes | None = None, *, faults: tuple[Fault, ...] = (), hot: bool = True
) -> Run:
    """A world in which nothing goes wrong by itself, with somebody hot."""
    plan = draw_plan(3, wishes or Wishes(nodes=2, witnesses=1, lease=1.0))
    group = replace(plan.group, preempt=False, trust_will=True)
    run = Run(replace(plan, group=group, faults=faults, duty_time=0.05, lateness=0.0))
    for host in run.world.hosts.values():
        life.boot(run.world, host)
    if hot:
        run.world.agenda.run_until(8.0)
        assert len(run.world.hot()) == 1, "nothing is in the way"
    return run


def the_hot(run: Run) -> Host:
    return run.world.hosts[run.world.hot()[0]]


def pass_time(run: Run, seconds: float) -> None:
    run.world.agenda.run_until(run.world.now + seconds)


def are_apart(run: Run) -> bool:
    return run.world.reach.is_apart


def check_of(run: Run, kind: type[Check]) -> Check:
    return next(each for each in run.world.checks if isinstance(each, kind))


def test_the_guard_of_a_hot_node_has_the_deadline_of_its_lease() -> None:
    run = calm_run()
    hot = the_hot(run)
    assert hot.is_acting
    assert hot.guard_until == hot.lease_until
    assert run.world.now < hot.hot_until <= run.world.now + 1.0 / hot.rate


def test_the_guard_of_a_frozen_agent_ends_the_duty_at_the_last_deadline() -> None:
    run = calm_run()
    hot = the_hot(run)
    ends_at = hot.hot_until
    run.world.disturb(20.0)
    life.freeze(run.world, hot, 10.0, with_machine=False)
    pass_time(run, 5.0)
    assert hot.hot_until == ends_at
    assert run.world.hot() != [hot.name]
    assert len(run.world.hot()) == 1
    pass_time(run, 8.0)
    assert not hot.is_frozen
    assert not hot.is_acting


def test_a_frozen_node_reads_its_backlog_when_it_thaws() -> None:
    run = calm_run()
    hot = the_hot(run)
    standby = next(each for each in run.world.hosts.values() if each is not hot)
    life.freeze(run.world, standby, 0.4, with_machine=False)
    pass_time(run, 0.39)
    assert len(standby.backlog) > 3
    pass_time(run, 0.02)
    assert not standby.backlog


@pytest.mark.parametrize("effects", range(6))
def test_a_node_may_die_between_any_two_effects(effects: int) -> None:
    run = calm_run()
    victim = the_hot(run)
    run.world.disturb(20.0)
    victim.dies_after = effects
    pass_time(run, 3.0)
    assert victim.state is None
    life.boot(run.world, victim)
    pass_time(run, 5.0)
    assert len(run.world.hot()) == 1


def test_a_killed_guard_takes_its_time_and_one_without_power_takes_none() -> None:
    for resets in (True, False):
        run = calm_run()
        hot = the_hot(run)
        run.world.disturb(20.0)
        life.kill(run.world, hot, resets=resets)
        rest = hot.guard_until - run.world.now
        assert (rest > 0) == resets
        assert rest <= run.world.timing.fence_delay / 2


def test_terms_outlive_a_black_out() -> None:
    run = calm_run()
    before = the_hot(run).state
    assert before is not None
    run.world.disturb(60.0)
    for host in run.world.hosts.values():
        life.kill(run.world, host, resets=False)
    for host in run.world.hosts.values():
        life.boot(run.world, host)
    pass_time(run, 10.0)
    after = the_hot(run).state
    assert after is not None
    assert after.term > before.term


def test_a_switchover_moves_the_role_without_two_hot_nodes() -> None:
    run = calm_run()
    first = the_hot(run)
    run.world.disturb(20.0)
    run.world.tell(first, Ordered(SwitchoverOrder(), 1))
    pass_time(run, 2.0)
    assert the_hot(run) is not first


def test_who_is_cut_off_is_known_from_the_instant_of_the_cut() -> None:
    run = calm_run()
    hot, network = the_hot(run), run.world.network
    began_at = run.world.now
    run.world.disturb(20.0)
    for node, link in network.wires:
        if hot.name in {node, link.broker} and node != link.broker:
            network.cut(node, link, 0, 3.0)
    pass_time(run, 1.1 / 0.97)
    assert hot.cut_off_at == began_at
    assert hot.hot_until <= run.world.now
    pass_time(run, 3.0)
    assert hot.cut_off_at == inf


def test_calm_repairs_everything() -> None:
    run = calm_run()
    world = run.world
    hot = the_hot(run)
    world.disturb(60.0)
    life.freeze(world, hot, 50.0, with_machine=True)
    world.network.stop_register("router", silently=True)
    other = next(each for each in world.hosts.values() if each is not hot)
    life.kill(world, other, resets=False)
    calm(world)
    pass_time(run, 15.0)
    assert not hot.is_frozen
    assert other.state is not None
    assert len(world.hot()) == 1


# The checks


def test_one_hot_looks_at_the_guard_too() -> None:
    run = calm_run()
    hot = the_hot(run)
    check = OneHot(run.world)
    check.held(hot)
    other = next(each for each in run.world.hosts.values() if each is not hot)
    other.guard_until = run.world.now + 0.01
    with pytest.raises(ViolationError, match="OneHot"):
        check.held(hot)
    other.guard_until = run.world.now
    check.held(hot)


def test_two_may_be_hot_only_with_policy_availability_and_behind_a_partition() -> None:
    wishes = Wishes(policy=Policy.AVAILABILITY, lease=1.0)
    for faults in ((Fault.CUT_HOST,), (Fault.RESET,)):
        run = calm_run(wishes, faults=faults)
        hot = the_hot(run)
        other = next(each for each in run.world.hosts.values() if each is not hot)
        check = OneHot(run.world)
        run.world.reach.is_apart = True
        other.lease_until = run.world.now + 0.5
        if Fault.CUT_HOST in faults:
            check.held(hot)
            run.world.reach.is_apart = False
            run.world.reach.together_since = run.world.now - 3.0
        with pytest.raises(ViolationError, match="OneHot"):
            check.held(hot)


def test_a_partition_ends_when_each_hears_the_others_broker() -> None:
    run = calm_run(Wishes(policy=Policy.AVAILABILITY, lease=1.0), faults=(Fault.CUT_HOST,))
    world = run.world
    world.disturb(60.0)
    for node, link in world.network.wires:
        if node != link.broker:
            world.network.cut(node, link, 0, 1.0)
    pass_time(run, 0.5)
    assert are_apart(run)
    pass_time(run, 5.0)
    assert not are_apart(run)
    assert world.reach.together_since > 8.5


def test_terms_must_grow_unless_a_register_has_forgotten() -> None:
    run = calm_run()
    host = the_hot(run)
    check = TermsGrow(run.world)
    check.began(host, TENURE)
    with pytest.raises(ViolationError, match="TermsGrow"):
        check.began(host, TENURE)
    check.forgot(2)
    with pytest.raises(ViolationError, match="TermsGrow"):
        check.began(host, TENURE)
    check.forgot(3)
    check.began(host, TENURE)


def test_a_hot_node_must_stop_when_it_is_cut_off() -> None:
    run = calm_run()
    host = the_hot(run)
    check = StopsWhenCutOff(run.world)
    check.held(host)
    host.cut_off_at = host.hot_until - 1.0 / host.rate - 0.01
    with pytest.raises(ViolationError, match="StopsWhenCutOff"):
        check.held(host)


def test_a_change_needs_a_cause() -> None:
    run = calm_run()
    host, check = the_hot(run), check_of(run, NoNeedlessChange)
    assert isinstance(check, NoNeedlessChange)
    assert host.state is not None
    run.world.disturbed_until = -100.0
    with pytest.raises(ViolationError, match="NoNeedlessChange"):
        check.ended(host, host.state)
    run.world.disturb()
    check.ended(host, host.state)
    check.is_calm = True
    with pytest.raises(ViolationError, match="NoNeedlessChange"):
        check.ended(host, host.state)


def test_a_return_changes_nothing() -> None:
    run = calm_run()
    host, check = the_hot(run), NoFailback(run.world)
    assert host.state is not None
    check.began(host, TENURE)
    check.returned(host)
    with pytest.raises(ViolationError, match="NoFailback"):
        check.began(host, TENURE)
    with pytest.raises(ViolationError, match="NoFailback"):
        check.ended(host, host.state)


def test_a_hot_node_is_owed_in_time() -> None:
    run = calm_run(hot=False)
    run.recovers.watch()
    run.world.agenda.now += run.recovers.limit - 0.01
    run.recovers.look()
    run.world.agenda.now += 0.02
    with pytest.raises(ViolationError, match="RecoversInTime"):
        run.recovers.look()


def test_the_simulator_knows_the_core_and_nothing_else_of_edge() -> None:
    known = ("edge.core", "edge.sim", "edge.errors")
    for path in SOURCES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edge"):
                assert f"{node.module}.".startswith(tuple(f"{each}." for each in known)), path
