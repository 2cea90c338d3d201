"""The processes of the file as things that can be begun, told and stopped."""

from dataclasses import dataclass
from functools import partial

from edge.duty.health import ChangedAt, Check, make_check
from edge.duty.lives import Lives
from edge.duty.ports import GuardHandle, Spawn
from edge.duty.process import Body, Care, Program, Supervisor
from edge.duty.runner import Runner
from edge.duty.situation import Identity, variables
from edge.duty.units import Unit
from edge.settings.duty import Duty, DutyProcess, RunOn


@dataclass(frozen=True, slots=True)
class Means:
    """What processes are run with."""

    guard: GuardHandle
    lives: Lives
    runner: Runner
    identity: Identity
    care: Care
    changed_at: ChangedAt


@dataclass(frozen=True, slots=True)
class Staff:
    """All processes, in the order of the file."""

    all: tuple[Supervisor, ...]

    @property
    def of_duty(self) -> tuple[Supervisor, ...]:
        """What is started when the node becomes hot, or told so."""
        return tuple(
            each for each in self.all if each.plan.run_on is RunOn.HOT or each.plan.instance
        )

    @property
    def instances(self) -> tuple[Supervisor, ...]:
        return tuple(each for each in self.all if each.plan.instance)

    @property
    def standby(self) -> tuple[Supervisor, ...]:
        return tuple(each for each in self.all if each.plan.run_on is RunOn.STANDBY)

    @property
    def always(self) -> tuple[Supervisor, ...]:
        return tuple(each for each in self.all if each.plan.run_on is RunOn.ALWAYS)

    @property
    def hot_units(self) -> tuple[Supervisor, ...]:
        """systemd may run them although nobody is hot: after a crash, or from the boot on."""
        return tuple(each for each in self.all if each.plan.unit and each.plan.run_on is RunOn.HOT)


def make_staff(duty: Duty, means: Means) -> Staff:
    return Staff(tuple(_make(each, means, duty.grace) for each in duty.process))


def _make(plan: DutyProcess, means: Means, grace: float) -> Supervisor:
    return Supervisor(plan, _make_body(plan, means, grace), _make_check(plan, means), means.care)


def _make_body(plan: DutyProcess, means: Means, grace: float) -> Body:
    if plan.unit is not None:
        return Unit(plan, means.guard, means.runner, grace)
    told = partial(variables, means.identity)
    return Program(plan, means.guard, means.lives, told, grace)


def _make_check(plan: DutyProcess, means: Means) -> Check | None:
    if plan.health is None:
        return None
    known = {"EDGE_GROUP": means.identity.group, "EDGE_NODE": means.identity.node}
    spawn = Spawn(
        name=f"check.{plan.name}",
        argv=plan.health.command or (),
        env={**plan.environment, **known},
        cwd=plan.directory,
        user=plan.user,
        guarded=False,
        grace=0.0,
    )
    return make_check(plan.health, spawn, means.runner, means.changed_at)
