"""Which duty a node has, and what its health checks know of topics."""

import asyncio
import hashlib

from edge.duty.handle import GuardSettings
from edge.duty.health import ChangedAt
from edge.duty.idle import IdleDuty
from edge.duty.service import GuardedDuty
from edge.ports import Message
from edge.settings import Settings
from edge.settings.values import Watchdog


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
        watchdog=settings.watchdog_device if settings.watchdog is not Watchdog.OFF else "",
        watchdog_timeout=settings.watchdog_timeout,
        watchdog_is_required=settings.watchdog is Watchdog.REQUIRED,
    )
    return GuardedDuty(settings.duty, guard, changed_at)


class Pulse:
    """When the value of each topic changed last. A retained one was not said just now."""

    def __init__(self) -> None:
        self._changed: dict[str, tuple[bytes, float]] = {}

    def changed_at(self, topic: str) -> float | None:
        known = self._changed.get(topic)
        return None if known is None else known[1]

    def received(self, message: Message) -> None:
        value = hashlib.sha256(message.payload).digest()
        known = self._changed.get(message.topic)
        if not message.retained and (known is None or known[0] != value):
            self._changed[message.topic] = (value, asyncio.get_running_loop().time())
