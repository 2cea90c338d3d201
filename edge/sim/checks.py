"""What must hold (docs/protocol.md), each promise a small class with one job.

They look at true time and at what a guard would let act, not at what a node believes.
"""

from typing import TYPE_CHECKING

from edge.core import lease
from edge.core.model import Policy
from edge.core.state import State, Tenure
from edge.sim.host import Host
from edge.sim.trace import ViolationError

if TYPE_CHECKING:
    from edge.sim.world import World

# The slowest clock that the protocol allows.
SLOWEST = 0.97
# What binary fractions may lose on the way between two clocks.
ROUNDING = 1e-6


class Check:
    """Told of what happens to tenures; raises ViolationError."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def began(self, host: Host, tenure: Tenure) -> None:
        """A host became hot."""

    def held(self, host: Host) -> None:
        """A hot host made a step: its lease, or its guard's deadline, may have grown."""

    def ended(self, host: Host, before: State) -> None:
        """A host is not hot any more, or its process ended while it was."""

    def forgot(self, term: int) -> None:
        """A register lost its memory, with this term in it."""


class OneHot(Check):
    """1. Never two hosts whose lease counts, or whose guard lets act, at one true time.

    With policy availability two may be hot while a cut or a clogged wire is between them, and
    for `meeting_time` after each can hear the other's broker again.
    """

    def held(self, host: Host) -> None:
        now = self.world.agenda.now
        if host.hot_until <= now:
            return
        for other in self.world.hosts.values():
            if other.hot_until > now and other is not host and not self._may_both():
                raise ViolationError(
                    f"OneHot: {_hot_word(host, now)} and {_hot_word(other, now)} at one time"
                )

    def _may_both(self) -> bool:
        """Only the policy that says so, and only on account of a partition."""
        world = self.world
        if world.plan.group.policy is not Policy.AVAILABILITY or not world.plan.has_partitions:
            return False
        reach = world.reach
        return reach.is_apart or world.now <= reach.together_since + self._meeting_time()

    def _meeting_time(self) -> float:
        """A record of the higher term arrives, the lower one's outputs stop, it gives up."""
        timing, plan = self.world.timing, self.world.plan
        return (timing.lease + timing.heartbeat + plan.duty_time) / SLOWEST + 4 * plan.delay


def _hot_word(host: Host, now: float) -> str:
    lasts = host.hot_until - now
    by = "lease" if host.lease_until > now else "guard"
    return f"{host.name} (by its {by}, {lasts:.4f} s more)"


class TermsGrow(Check):
    """2. The terms of successive hot nodes grow.

    The documented exceptions: a register that knew the last term has lost its memory since. And
    with policy availability, who becomes hot alone, on its own register, may not know the term of
    somebody who was hot alone on the other one.
    """

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._last = 0
        self._last_at = 0.0
        self._forgotten = -1

    def began(self, host: Host, tenure: Tenure) -> None:
        is_excused = self._last <= self._forgotten or self._were_apart() or self._is_alone(host)
        if tenure.term <= self._last and not is_excused:
            raise ViolationError(
                f"TermsGrow: {host.name} became hot with term {tenure.term} after {self._last}"
            )
        self._last, self._last_at = tenure.term, self.world.now

    def forgot(self, term: int) -> None:
        self._forgotten = max(self._forgotten, term)

    def _is_alone(self, host: Host) -> bool:
        state = host.state
        may_be = self.world.plan.group.policy is Policy.AVAILABILITY
        return may_be and state is not None and lease.majority_until(state) <= state.now

    def _were_apart(self) -> bool:
        reach = self.world.reach
        return reach.is_apart or reach.together_since > self._last_at


class StopsWhenCutOff(Check):
    """4. A hot node that is cut off stops within its lease, counted from the cut by its clock."""

    def held(self, host: Host) -> None:
        limit = host.cut_off_at + self.world.timing.lease / host.rate
        if host.hot_until > limit + ROUNDING and not _is_forced(host):
            raise ViolationError(
                f"StopsWhenCutOff: {host.name} is cut off since {host.cut_off_at:.4f} and is hot "
                f"until {host.hot_until:.4f}"
            )


def _is_forced(host: Host) -> bool:
    return host.state is not None and host.state.is_forced


class NoFailback(Check):
    """5. The return of a node changes nothing, unless `preempt`."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._returned: str | None = None

    def returned(self, host: Host) -> None:
        """From here on nothing else happens but that this host is back."""
        self._returned = None if self.world.plan.group.preempt else host.name

    def began(self, host: Host, tenure: Tenure) -> None:  # noqa: ARG002  a hook
        if self._returned is not None:
            raise ViolationError(f"NoFailback: {self._returned} came back, {host.name} became hot")

    def ended(self, host: Host, before: State) -> None:  # noqa: ARG002  a hook
        if self._returned is not None:
            raise ViolationError(f"NoFailback: {self._returned} came back, {host.name} gave up")


class NoNeedlessChange(Check):
    """6. Nothing but the loss of the hot node, an operator or `preempt` moves the role.

    Whatever was done to the world may show for `settling_time`; in the calm at the end nothing
    may, from the moment that `is_calm` is set.
    """

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self.is_calm = False

    def ended(self, host: Host, before: State) -> None:
        world = self.world
        is_planned = before.handover is not None and world.plan.group.preempt
        may_show = world.now <= world.disturbed_until + self._settling_time()
        if is_planned or (may_show and not self.is_calm):
            return
        raise ViolationError(f"NoNeedlessChange: {host.name} is not hot any more, without a cause")

    def _settling_time(self) -> float:
        """The longest that a broken connection goes unnoticed, then two waits for a claim."""
        plan, timing = self.world.plan, self.world.timing
        silence = max(plan.silence_timeout, 1.5 * plan.keepalive)
        return silence + (2 * timing.claim_after + 1.0 + plan.duty_time) / SLOWEST


class RecoversInTime(Check):
    """3. With a majority connected and a willing node somebody is hot within the bound."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._is_owed = False
        self._lacks_since: float | None = None
        self.longest = 0.0

    @property
    def limit(self) -> float:
        timing, group = self.world.timing, self.world.plan.group
        up = sum(each.is_up for each in self.world.network.registers.values())
        # Claims that cross each other where not one broker may be missed fail, and wait anew.
        waits = 2 if up <= group.quorum else 1
        return (waits * timing.claim_after + 2 * timing.stagger + 0.5) / SLOWEST

    def watch(self) -> None:
        """From now on a hot node is owed."""
        self._is_owed = True
        self._lacks_since = None if self.world.hot() else self.world.now

    def began(self, host: Host, tenure: Tenure) -> None:  # noqa: ARG002  a hook
        if self._lacks_since is not None:
            self.longest = max(self.longest, self.world.now - self._lacks_since)
            self._lacks_since = None

    def ended(self, host: Host, before: State) -> None:  # noqa: ARG002  a hook
        """Of two hot ones, which a policy may allow, one yields; or all over again."""
        if self._is_owed and not self.world.hot():
            self._lacks_since = self.world.now

    def look(self) -> None:
        if self._lacks_since is not None and self.world.now > self._lacks_since + self.limit:
            raise ViolationError(f"RecoversInTime: nobody is hot after {self.limit:.3f} s")
