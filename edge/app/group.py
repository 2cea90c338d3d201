"""The part of the settings that decisions need, in the core's words."""

from edge.core.model import Group, Member, Policy, Timing
from edge.settings import Settings


def make_group(settings: Settings) -> Group:
    """The part of the settings that decisions need."""
    timing = settings.timing
    nodes = tuple(Member(each.name, each.priority) for each in settings.nodes)
    witnesses = tuple(Member(each.name, 0, can_be_hot=False) for each in settings.witnesses)
    return Group(
        name=settings.group,
        members=nodes + witnesses,
        brokers=settings.members,
        policy=Policy(settings.policy),
        timing=Timing(
            heartbeat=timing.heartbeat,
            lease=timing.lease,
            fence_delay=timing.fence_delay,
            stagger=timing.stagger,
            reference_timeout=settings.netcheck.timeout - settings.netcheck.interval,
            election=timing.election,
            waiting_hot=timing.waiting_hot,
            starting_to_hot=timing.starting_to_hot,
            preempt_delay=settings.preempt_delay,
        ),
        preempt=settings.preempt,
        trust_will=settings.trust_will,
        wait_for_all=settings.wait_for_all,
    )
