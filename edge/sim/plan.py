"""What one seed is like before anything goes wrong in it: group, timings, network, faults."""

from dataclasses import dataclass
from enum import StrEnum
from math import floor

from edge.core.model import Group, Member, Policy, Timing
from edge.errors import SettingsError
from edge.sim.dice import Dice

NODE_NAMES = ("white", "black", "green", "blue", "red", "grey", "brown")
WITNESS_NAMES = ("router", "nas", "plc")
PAIR_POLICIES = (Policy.AVAILABILITY, Policy.SAFETY)
# How long a seed's trouble lasts if nobody says otherwise, in leases.
TROUBLE_LEASES = 20.0


class Fault(StrEnum):
    """What may go wrong. All of it within what docs/protocol.md promises to survive."""

    CUT_LINK = "cut_link"
    CUT_HOST = "cut_host"
    RESET = "reset"
    KILL = "kill"
    FREEZE = "freeze"
    REGISTER = "register"
    CLOG = "clog"
    SWALLOW = "swallow"
    SNAPSHOT = "snapshot"
    REFERENCE = "reference"
    DUTY = "duty"
    ORDER = "order"


class Beyond(StrEnum):
    """What the protocol does not promise to survive; off unless asked for by name.

    `frozen_reset`: somebody resets the connections of a node that is frozen in that moment.
    `stale_snapshot`: a subscriber is handed an older record and never sees the one after it.
    `lost_delivery`: a broker loses a record for one subscriber on a connection that stays up.
    """

    FROZEN_RESET = "frozen_reset"
    STALE_SNAPSHOT = "stale_snapshot"
    LOST_DELIVERY = "lost_delivery"


PARTITIONS = frozenset({Fault.CUT_LINK, Fault.CUT_HOST, Fault.CLOG})


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is not left to the seed."""

    nodes: int | None = None
    witnesses: int | None = None
    policy: Policy | None = None
    minutes: float | None = None
    lease: float | None = None
    beyond: tuple[Beyond, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is drawn once for a seed. All times in seconds."""

    seed: int
    group: Group
    open_witnesses: tuple[str, ...]
    paths: int
    delay: float
    drift: float
    lateness: float
    keepalive: int
    silence_timeout: float
    netcheck_interval: float
    duty_time: float
    remembers: bool
    faults: tuple[Fault, ...]
    pace: float
    trouble: float
    beyond: tuple[Beyond, ...] = ()

    @property
    def has_partitions(self) -> bool:
        return not PARTITIONS.isdisjoint(self.faults)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Whoever runs an agent: the nodes, and witnesses that are not just a broker."""
        members = (each.name for each in self.group.members)
        return tuple(name for name in members if name not in self.open_witnesses)

    def describe(self) -> str:
        group, timing = self.group, self.group.timing
        names = ", ".join(f"{each.name}/{each.priority}" for each in group.members)
        return "\n".join(
            (
                f"policy {group.policy}, members {names}; only brokers: "
                f"{', '.join(self.open_witnesses) or 'none'}; paths {self.paths}",
                f"lease {timing.lease:g}, heartbeat {timing.heartbeat:.3f}, fence_delay "
                f"{timing.fence_delay:.3f}, stagger {timing.stagger:.3f}, keepalive "
                f"{self.keepalive}, silence {self.silence_timeout:.2f}",
                f"delay {self.delay:.4f}, drift {self.drift:g}, lateness {self.lateness:.4f}, "
                f"duty {self.duty_time:.3f}, witness remembers {self.remembers}",
                f"preempt {group.preempt}, trust_will {group.trust_will}, wait_for_all "
                f"{group.wait_for_all}",
                f"faults {', '.join(self.faults)}; one in {self.pace:.3f} s for "
                f"{self.trouble:.1f} s; beyond the promise: {', '.join(self.beyond) or 'none'}",
            )
        )


def draw_plan(seed: int, wishes: Wishes | None = None) -> Plan:
    """The same seed and wishes give the same plan, on every Python."""
    wishes = wishes or Wishes()
    dice = Dice(f"plan {seed}")
    members, brokers, policy = _draw_members(dice, wishes)
    timing, keepalive, interval = _draw_timing(dice, wishes.lease)
    is_pair = policy in PAIR_POLICIES
    group = Group(
        name="sim",
        members=members,
        brokers=brokers,
        policy=policy,
        timing=timing,
        preempt=dice.chance(0.15),
        trust_will=dice.chance(0.85),
        wait_for_all=dice.chance(0.8 if is_pair else 0.15),
    )
    lease = timing.lease
    witnesses = tuple(each.name for each in members if not each.can_be_hot)
    trouble = TROUBLE_LEASES * lease if wishes.minutes is None else 60 * wishes.minutes
    return Plan(
        seed=seed,
        group=group,
        open_witnesses=tuple(name for name in witnesses if dice.chance(0.7)),
        paths=2 if len(brokers) <= 3 and dice.chance(0.25) else 1,
        delay=_draw_delay(dice, timing, is_pair=is_pair),
        drift=dice.pick((0.0, 0.01, 0.03, 0.03)),
        lateness=lease * dice.pick((0.0, 0.0, 0.005)),
        keepalive=keepalive,
        silence_timeout=dice.pick((max(3 * lease, 1.0), lease * dice.between(1.5, 3.0))),
        netcheck_interval=interval,
        duty_time=lease * dice.pick((0.05, 0.3)),
        remembers=dice.chance(0.6),
        faults=_draw_faults(dice, policy),
        pace=lease * dice.pick((0.3, 1.0, 3.0)),
        trouble=trouble,
        beyond=wishes.beyond,
    )


def _draw_delay(dice: Dice, timing: Timing, *, is_pair: bool) -> float:
    """One way, seconds. An attempt must be answered within claim_timeout, however slow the lease
    is; and of two brokers both are needed, so that claims which cross each other both fail: there
    the stagger must be longer than a round trip (docs/protocol.md, What must hold)."""
    delay = min(timing.lease, 1.0) * dice.pick((0.002, 0.01, 0.03, 0.08))
    return min(delay, timing.stagger / 3) if is_pair else delay


def _draw_members(dice: Dice, wishes: Wishes) -> tuple[tuple[Member, ...], tuple[str, ...], Policy]:
    nodes, witnesses, policy = _draw_sizes(dice, wishes)
    node_members = tuple(Member(name, 1 + dice.below(3)) for name in NODE_NAMES[:nodes])
    others = tuple(Member(name, 0, can_be_hot=False) for name in WITNESS_NAMES[:witnesses])
    members = (*node_members, *others)
    return members, tuple(each.name for each in members), policy


def _draw_sizes(dice: Dice, wishes: Wishes) -> tuple[int, int, Policy]:
    """Nodes, witnesses and a policy that fit each other and what was wished."""
    fitting = [each for each in _COMMON if _fits(each, wishes)]
    if fitting:
        return dice.pick(fitting)
    nodes, witnesses = wishes.nodes, wishes.witnesses
    if nodes is None:
        nodes = 2 if witnesses else 3
    if witnesses is None:
        witnesses = 1 if nodes % 2 == 0 else 0
    return _checked(nodes, witnesses, wishes.policy or Policy.MAJORITY)


# Drawn from evenly: a kind of group that stands here twice comes twice as often.
_COMMON: tuple[tuple[int, int, Policy], ...] = (
    (2, 1, Policy.WITNESS),
    (2, 1, Policy.WITNESS),
    (2, 1, Policy.MAJORITY),
    (2, 1, Policy.MAJORITY),
    (3, 0, Policy.MAJORITY),
    (3, 0, Policy.MAJORITY),
    (5, 0, Policy.MAJORITY),
    (2, 0, Policy.AVAILABILITY),
    (2, 0, Policy.AVAILABILITY),
    (2, 0, Policy.SAFETY),
)


def _fits(kind: tuple[int, int, Policy], wishes: Wishes) -> bool:
    wished = (wishes.nodes, wishes.witnesses, wishes.policy)
    return all(wish is None or wish == each for wish, each in zip(wished, kind, strict=True))


def _checked(nodes: int, witnesses: int, policy: Policy) -> tuple[int, int, Policy]:
    """The laws of edge.settings, as far as sizes and policies go."""
    if not 2 <= nodes <= len(NODE_NAMES):
        raise SettingsError(f"--nodes {nodes}: write 2 to {len(NODE_NAMES)}")
    if not 0 <= witnesses <= len(WITNESS_NAMES):
        raise SettingsError(f"--witnesses {witnesses}: write 0 to {len(WITNESS_NAMES)}")
    if policy in PAIR_POLICIES and nodes + witnesses != 2:
        raise SettingsError(
            f"--policy {policy}: is for two nodes without a witness; write --nodes 2 --witnesses 0"
        )
    if policy not in PAIR_POLICIES and nodes + witnesses < 3:
        raise SettingsError(
            f"--policy {policy}: needs three brokers; write --witnesses 1, or "
            "--policy availability, or --policy safety"
        )
    return nodes, witnesses, policy


def _draw_timing(dice: Dice, wished: float | None) -> tuple[Timing, int, float]:
    """Times within the laws of edge.settings, the keep-alive and the reference's interval."""
    lease = dice.log_between(0.25, 8.0) if wished is None else wished
    interval = min(0.25, lease / 4)
    timing = Timing(
        heartbeat=lease * dice.between(0.1, 0.25),
        lease=lease,
        fence_delay=lease * dice.between(0.05, 0.2),
        stagger=lease * dice.between(0.1, 0.25),
        reference_timeout=lease - interval,
        waiting_hot=lease * dice.between(2, 10),
        preempt_delay=lease * dice.between(1, 6),
    )
    keepalive = floor(timing.claim_after / 1.5) + 1 + dice.below(3)
    return timing, keepalive, interval


def _draw_faults(dice: Dice, policy: Policy) -> tuple[Fault, ...]:
    """Mostly many kinds, sometimes just a few: some bugs show only where little else happens."""
    probability = dice.pick((0.25, 0.7, 0.9))
    faults = [each for each in Fault if dice.chance(probability)]
    if policy is not Policy.AVAILABILITY and Fault.REFERENCE in faults:
        faults.remove(Fault.REFERENCE)
    return tuple(faults) or (dice.pick((Fault.CUT_HOST, Fault.KILL, Fault.FREEZE)),)
