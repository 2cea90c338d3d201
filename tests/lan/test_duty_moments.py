"""Agent, guard or both killed or frozen at each moment of a promotion and of a demotion.

The address is watched from outside through both kernels, the process by a lock that only one can
have. Both frozen at once is the documented limit (docs/duty.md): then the kernel takes the address
away in time, but the process runs on until the guard wakes, and only then is it ended.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.lan.deadline import wait_until
from tests.lan.duty_moments import Fault, Stage, asked_for, duty_stage
from tests.lan.group import Group
from tests.lan.groupfile import GroupFile
from tests.lan.harness import Lan
from tests.lan.observer import Observer
from tests.lan.processes import command_line

# Not in the usual run: 90 faults on real processes take five minutes.
pytestmark = [pytest.mark.lan, pytest.mark.moments]

# Where the part of the duty waits that marks the moment: of the old or of the new hot node.
GATES = {
    "before the claim": ("old", "on_standby"),
    "standby process told to end": ("new", "standby_process_ends"),
    "process started": ("new", "health"),
    "on_hot": ("new", "on_hot"),
    "may_switch": ("old", "may_switch"),
    "on_standby": ("old", "on_standby"),
    "process told to end": ("old", "process_ends"),
}
PROMOTION = (
    "before the claim",
    "claimed",
    "network asked",
    "standby process told to end",
    "address held",
    "process started",
    "on_hot",
    "started",
)
DEMOTION = (
    "hot",
    "may_switch",
    "on_standby",
    "process told to end",
    "process ended",
    "address dropped",
    "released",
)


@pytest.fixture(scope="module")
def stage(_swept: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One group for all cases: each leaves it as it was, with the roles exchanged or not."""
    with ExitStack() as stack:
        lan, observer = stack.enter_context(Lan()), stack.enter_context(Observer())
        file = GroupFile(anonymous="operate")
        group = Group(lan, observer, tmp_path_factory.mktemp("moments"), file)
        stack.callback(group.close)
        yield stack.enter_context(duty_stage(group))
        assert not group.overlaps(), group.explain_overlaps()


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("moment", PROMOTION)
def test_fault_of_who_is_promoted(stage: Stage, moment: str, fault: Fault) -> None:
    old, new = stage.hot_and_standby()
    go_through(stage, fault, moment, (old, new), struck=new)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("moment", DEMOTION)
def test_fault_of_who_is_demoted(stage: Stage, moment: str, fault: Fault) -> None:
    old, new = stage.hot_and_standby()
    go_through(stage, fault, moment, (old, new), struck=old)


def go_through(
    stage: Stage, fault: Fault, moment: str, nodes: tuple[str, str], struck: str
) -> None:
    before = (len(stage.watch.overlaps()), len(stage.process_overlaps()))
    other = next(each for each in nodes if each != struck)
    guard = stage.guard_of(struck)
    with ExitStack() as stack:
        come = expected(stage, stack, moment, *nodes)
        if moment != "hot":
            stage.switch_over(nodes[1], come, moment)
        stage.strike(struck, fault, guard)
    if moment == "before the claim":
        stage.open_gates()  # it is the other one who waits there
    settle(stage, fault, struck, other, guard)
    assert len(stage.watch.overlaps()) == before[0], "two had the address at one time"
    if fault is not Fault.BOTH_FROZEN:
        assert len(stage.process_overlaps()) == before[1], "two processes at one time"


def expected(
    stage: Stage, stack: ExitStack, moment: str, old: str, new: str
) -> Callable[[], object]:
    """How to see that the moment has come."""
    if moment in GATES:
        who, gate = GATES[moment]
        return stage.close_gate(old if who == "old" else new, gate).exists
    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "network asked": lambda: stack.enter_context(asked_for(stage)),
        "claimed": lambda: stage.record_seen("claim", new),
        "address held": lambda: held_alone(stage, new),
        "started": lambda: lambda: stage.group.own_state(new).get("duty") == "on",
        "hot": lambda: lambda: True,
        "process ended": lambda: stage.nobody_has_the_lock,
        "address dropped": lambda: lambda: stage.watch.holders[-1][1] == (),
        "released": lambda: stage.record_seen("release", old),
    }
    return ways[moment]()


def held_alone(stage: Stage, new: str) -> Callable[[], bool]:
    """The process that ends first stays, so nothing is started yet."""
    reached = stage.close_gate(new, "standby_process_ends")
    return lambda: reached.exists() and stage.watch.holders[-1][1] == (new,)


def settle(stage: Stage, fault: Fault, struck: str, other: str, guard: int) -> None:
    """Somebody does the whole duty, the other one nothing; then all are well again."""
    group = stage.group
    if fault.spares_agent:
        gone = lambda: "edge.duty.guard.main" not in command_line(guard)  # noqa: E731
        wait_until(gone, "the guard is gone", 20, group.explain)
        stage.open_gates()
    else:
        wait_until(
            lambda: stage.does_duty(other) and not stage.holds_address(struck),
            f"{other} does the duty",
            20,
            group.explain,
        )
        if fault is not Fault.BOTH_FROZEN:
            assert not stage.pumps(struck)
        stage.open_gates()
        stage.mend(struck, fault)

    group.wait_for(lambda: stage.is_well(struck, other), "one does the duty, one is ready", 40)
