"""The broker's clock and what is due when: sessions, wills and messages that end by themselves.

Pure: the shell passes the time in, and asks for `next_at`.
"""

import heapq
import math
from collections.abc import Callable, Hashable
from itertools import count
from typing import Final

# Cancelled entries stay in the heap until they are many, and more than the others.
FEW: Final = 64


class Agenda:
    """One action per key; setting a key again replaces its action."""

    def __init__(self) -> None:
        self.now = 0.0
        self.on_earlier: Callable[[], None] = _nobody
        self._heap: list[tuple[float, int, Hashable]] = []
        self._entries: dict[Hashable, tuple[int, Callable[[], None]]] = {}
        self._serials = count()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def next_at(self) -> float:
        """When `run` is due."""
        self._drop_cancelled()
        return self._heap[0][0] if self._heap else math.inf

    def set(self, key: Hashable, at: float, action: Callable[[], None]) -> None:
        earliest_at = self.next_at
        serial = next(self._serials)
        self._entries[key] = serial, action
        if len(self._heap) > 2 * len(self._entries) + FEW:
            self._heap = [each for each in self._heap if self._is_due(each)]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (at, serial, key))
        if at < earliest_at:
            self.on_earlier()

    def cancel(self, key: Hashable) -> None:
        self._entries.pop(key, None)

    def run(self, now: float) -> None:
        """Do what is due, in the order of its time."""
        self.now = now
        while self.next_at <= now:
            _, _, key = heapq.heappop(self._heap)
            _, action = self._entries.pop(key)
            action()

    def _drop_cancelled(self) -> None:
        while self._heap and not self._is_due(self._heap[0]):
            heapq.heappop(self._heap)

    def _is_due(self, entry: tuple[float, int, Hashable]) -> bool:
        known = self._entries.get(entry[2])
        return known is not None and known[0] == entry[1]


def _nobody() -> None:
    """Until the shell wants to know."""
