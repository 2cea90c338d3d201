"""How fast one client may send: token buckets of messages and of bytes, a second deep. Pure.

A client that is too fast is not refused anything: it is read later, so TCP holds it back.
"""

import math
from typing import Final

from broker.settings import Limits

# Seconds of its rate that a client may save up.
RESERVE: Final = 1.0


class Throttle:
    """Kept as the instants until which the client has used up its share.

    It may overdraw by one turn; the debt is paid before it is read again.
    """

    __slots__ = ("_byte_time", "_bytes", "_bytes_until", "_message_time", "_messages_until")

    def __init__(self, limits: Limits) -> None:
        self._message_time = _time_of_one(limits.messages_per_second)
        self._byte_time = _time_of_one(limits.bytes_per_second)
        self._messages_until = self._bytes_until = -math.inf
        self._bytes = 0

    def add_bytes(self, size: int) -> None:
        """So much was read."""
        self._bytes += size

    def settle(self, messages: int, now: float) -> float:
        """When the client may be read again, after so many messages; not after `now` if at once."""
        start = now - RESERVE
        size, self._bytes = self._bytes, 0
        self._messages_until = max(self._messages_until, start) + messages * self._message_time
        self._bytes_until = max(self._bytes_until, start) + size * self._byte_time
        return max(self._messages_until, self._bytes_until)


class NoRate(Throttle):
    """Where none is set. It knows nothing of a client, so one does for all."""

    __slots__ = ()

    def __init__(self) -> None:
        """Nothing to remember."""

    def add_bytes(self, size: int) -> None:
        """It does not matter."""

    def settle(self, messages: int, now: float) -> float:  # noqa: ARG002 - as that of a throttle
        return -math.inf


_NO_RATE: Final = NoRate()


def throttle_for(limits: Limits, *, unlimited: bool) -> Throttle | None:
    """None for those who are never held back, for whatever reason."""
    if unlimited:
        return None
    return Throttle(limits) if limits.messages_per_second or limits.bytes_per_second else _NO_RATE


def _time_of_one(rate: int) -> float:
    return 1 / rate if rate else 0.0
