"""Which duty a node has, and for how long it may take to end."""

from edge.duty.handle import GuardSettings
from edge.duty.health import ChangedAt
from edge.duty.idle import IdleDuty
from edge.duty.service import GuardedDuty
from edge.settings import Settings
from edge.settings.duty import RunOn


def make_duty(
    settings: Settings, node: str, boot: str, changed_at: ChangedAt
) -> IdleDuty | GuardedDuty:
    """A witness is never hot and does nothing outside, whatever the group's file says."""
    if settings.duty.is_empty or settings.is_witness(node):
        return IdleDuty()
    guard = GuardSettings(
        group=settings.group,
        node=node,
        boot=boot,
        lease=settings.timing.lease,
        fence_delay=settings.timing.fence_delay,
        addresses=tuple((each.address, each.interface) for each in settings.duty.address),
    )
    return GuardedDuty(settings.duty, guard, changed_at)


def stop_limit(settings: Settings) -> float:
    """The longest that an orderly end of the duty takes by the file, seconds."""
    duty = settings.duty
    processes = sum(each.stop_timeout for each in duty.process if each.run_on is not RunOn.STANDBY)
    hooks = sum(each.timeout for each in duty.hook if each.on_standby)
    return processes + hooks
