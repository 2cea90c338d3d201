"""The dead-man's deadline: moved forward by the agent from its lease, acted upon without it."""

import time
from _collections_abc import Callable
from math import inf

from edge.duty.guard.loop import Loop, Timer


class Deadline:
    """One instant for everything guarded. It belongs to a term and only moves forward in it."""

    def __init__(self, loop: Loop, needs: Callable[[], float], passed: Callable[[], None]) -> None:
        self._loop = loop
        self._needs = needs  # how long before the instant we have to begin
        self._passed = passed
        self._spent_term = -1
        self._timer: Timer | None = None
        self.term = -1
        self.at = -inf

    @property
    def begins_at(self) -> float:
        """When letting go has to begin."""
        return self.at - self._needs()

    def is_ahead(self) -> bool:
        return time.monotonic() < self.begins_at

    def extend(self, term: int, at: float) -> bool:
        """False for a term that is over, here or by a later one; nothing revives it."""
        if term <= self._spent_term or term < self.term:
            return False
        self.at = at if term > self.term else max(self.at, at)
        self.term = term
        self.watch()
        return True

    def watch(self) -> None:
        """Also when something is held that needs longer to end."""
        if self._timer is None and self.at > -inf:
            self._set_timer()
        elif self._timer is not None and self._timer.at > self.begins_at:
            self._timer.cancel()
            self._set_timer()

    def _set_timer(self) -> None:
        """First of all, after a freeze: what else is due by then may want to hold something."""
        self._timer = self._loop.at(self.begins_at, self._look, is_first=True)

    def end(self) -> None:
        """This term's duty is over, whatever its agent may yet say."""
        self._spent_term = max(self._spent_term, self.term)
        self.at = -inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self.is_ahead():
            self.watch()
        elif self.at > -inf:
            self._passed()
