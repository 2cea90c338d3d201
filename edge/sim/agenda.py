"""True time, and what happens next in it: one heap, the same order for the same seed."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

Call = Callable[[Any, Any], None]


class Agenda:
    """Calls at instants. Two of one instant come in the order in which they were asked for."""

    __slots__ = ("_numbers", "_queue", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = count()
        # Plain tuples with the arguments in them: a closure for each message would cost more.
        self._queue: list[tuple[float, int, Call, Any, Any]] = []

    def at(self, instant: float, call: Call, first: Any = None, second: Any = None) -> None:  # noqa: ANN401  passed on
        if instant < inf:
            heappush(self._queue, (instant, next(self._numbers), call, first, second))

    def after(self, delay: float, call: Call, first: Any = None, second: Any = None) -> None:  # noqa: ANN401  passed on
        self.at(self.now + delay, call, first, second)

    def run_until(self, end: float) -> None:
        queue = self._queue
        while queue and queue[0][0] <= end:
            instant, _, call, first, second = heappop(queue)
            if instant > self.now:  # noqa: PLR1730  `max` costs a call for each message
                self.now = instant
            call(first, second)
        self.now = end
