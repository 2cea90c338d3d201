"""One seed from beginning to end: trouble, calm, recovery, quiet, a last blow, the return."""

from dataclasses import dataclass

from edge.core.model import Policy
from edge.sim import life
from edge.sim.checks import (
    SLOWEST,
    Check,
    NoFailback,
    NoNeedlessChange,
    OneHot,
    RecoversInTime,
    StopsWhenCutOff,
    TermsGrow,
)
from edge.sim.faults import Trouble, calm
from edge.sim.host import Host
from edge.sim.plan import Plan
from edge.sim.trace import Trace, ViolationError
from edge.sim.world import World

# How long nothing may happen when nothing is done, in leases.
QUIET_LEASES = 3.0
# How often it is looked whether something that is owed has come, in leases.
LOOK_LEASES = 0.05
# After so long one hot node, and no other, must be there, whatever becomes hot meanwhile.
FLAPPING_LEASES, FLAPPING_SECONDS = 20, 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one seed came to. `violation` is empty if everything held."""

    seed: int
    violation: str
    elections: int
    simulated: float
    steps: int
    longest_recovery: float


class Run:
    """A world and the checks that watch it."""

    def __init__(self, plan: Plan, trace: Trace | None = None) -> None:
        self.world = world = World(plan, trace)
        self.recovers = RecoversInTime(world)
        self.needless = NoNeedlessChange(world)
        self.failback = NoFailback(world)
        holding: list[Check] = [OneHot(world), StopsWhenCutOff(world)]
        world.holding_checks = holding
        world.checks = [*holding, TermsGrow(world), self.needless, self.failback, self.recovers]

    def trouble(self) -> None:
        """The safety phase alone."""
        world = self.world
        Trouble(world).begin()
        world.agenda.run_until(world.now + world.plan.trouble)

    def all(self) -> None:
        """Raises ViolationError, or another AssertionError out of the core's own invariants."""
        self.trouble()
        calm(self.world)
        self._settle()
        self._wait_for_links()
        self._recover()
        self._be_quiet()
        victim = self._blow()
        self._come_back(victim)

    def _settle(self) -> None:
        """What was done before the calm may still show: a record that is missed after a lease, a
        lease that was not renewed, two hot nodes that meet. And a reference must have answered
        for a while before it is believed."""
        timing = self.world.timing
        wait = 2 * timing.claim_after + self.world.plan.duty_time
        if self.world.asks_references:
            wait = max(wait, timing.reconnect + timing.lease)
        self.world.agenda.run_until(self.world.now + wait / SLOWEST)

    def _wait_for_links(self) -> None:
        world, plan = self.world, self.world.plan
        silence = max(plan.silence_timeout, 1.5 * plan.keepalive)
        deadline = world.now + 2 * silence + 10 * world.timing.lease + 5.0
        while not all(self._is_connected(host) for host in world.hosts.values()):
            if world.now >= deadline:
                raise ViolationError("RecoversInTime: the links do not come back")
            self._pass(LOOK_LEASES)

    def _is_connected(self, host: Host) -> bool:
        if host.state is None:
            return True
        wanted = len(self.world.network.links[host.name])
        return sum(view.is_subscribed for view in host.state.views) == wanted

    def _pass(self, leases: float) -> None:
        agenda = self.world.agenda
        agenda.run_until(agenda.now + leases * self.world.timing.lease)

    def _recover(self) -> None:
        """Of two hot nodes, where the policy allows that, one yields meanwhile."""
        self.recovers.watch()
        deadline = self.world.now + FLAPPING_LEASES * self.world.timing.lease + FLAPPING_SECONDS
        while len(self.world.hot()) != 1:
            self._pass(LOOK_LEASES)
            self.recovers.look()
            if self.world.now > deadline:
                raise ViolationError("RecoversInTime: nobody stays hot")

    def _be_quiet(self) -> None:
        self.world.note("quiet")
        self.needless.is_calm = True
        self._pass(QUIET_LEASES)
        self.needless.is_calm = False

    def _blow(self) -> Host:
        """The hot node dies, and the others must be hot in time if they may."""
        world = self.world
        self._recover()  # a preemption may be under way
        hot = world.hot()
        victim = world.hosts[hot[0]]
        world.disturb()
        life.kill(world, victim, resets=world.dice.chance(0.5))
        if world.plan.group.policy is not Policy.SAFETY:
            self._recover()
        return victim

    def _come_back(self, victim: Host) -> None:
        world = self.world
        world.disturb()
        if world.hot():
            self.failback.returned(victim)
        life.boot(world, victim)
        self._wait_for_links()
        self._recover()
        self._pass(QUIET_LEASES)


def run_seed(plan: Plan, trace: Trace | None = None) -> Outcome:
    """Everything of one seed; what is broken comes back as a sentence."""
    run = Run(plan, trace)
    violation = ""
    try:
        run.all()
    except AssertionError as error:
        violation = f"{error}" or "an assertion without a word"
        run.world.note("VIOLATION {}", violation)
    world = run.world
    return Outcome(
        seed=plan.seed,
        violation=violation,
        elections=world.elections,
        simulated=world.now,
        steps=world.steps,
        longest_recovery=run.recovers.longest,
    )
