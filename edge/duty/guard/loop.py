"""The guard's only loop: descriptors and timers, in one thread, without a library."""

import select
import time
from _collections_abc import Callable

Reader = Callable[[], None]

# However much there is to read, timers are looked at this often.
BATCH = 16


class Timer:
    """A call at an instant; cancelled by forgetting what it should call."""

    __slots__ = ("at", "call", "is_first")

    def __init__(self, at: float, call: Callable[[], None], *, is_first: bool) -> None:
        self.at = at
        self.call: Callable[[], None] | None = call
        self.is_first = is_first

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Calls readers when there is something to read, and timers when they are due."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Reader] = {}
        self._timers: list[Timer] = []
        self._is_over = False

    def add(self, descriptor: int, call: Reader, *, to_write: bool = False) -> None:
        self._calls[descriptor] = call
        self._epoll.register(descriptor, select.EPOLLOUT if to_write else select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Before the descriptor is closed."""
        if self._calls.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def at(self, instant: float, call: Callable[[], None], *, is_first: bool = False) -> Timer:
        """One that is first comes before all others that are due, earlier ones too."""
        timer = Timer(instant, call, is_first=is_first)
        self._timers.append(timer)
        return timer

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        return self.at(time.monotonic() + seconds, call)

    def run(self) -> None:
        while not self._is_over:
            for descriptor, _ in self._poll():
                self._run_due()
                call = self._calls.get(descriptor)
                if call is not None:
                    call()
            self._run_due()

    def stop(self) -> None:
        self._is_over = True

    def _poll(self) -> list[tuple[int, int]]:
        self._timers = [each for each in self._timers if each.call is not None]
        next_at = min((each.at for each in self._timers), default=time.monotonic() + 1)
        # epoll counts in milliseconds and rounds up; half of one early costs one turn more.
        wait = max(0.0, next_at - time.monotonic() - 0.0005)
        return self._epoll.poll(wait, BATCH)

    def _run_due(self) -> None:
        """One after another, in their order: what a timer adds may itself be due."""
        now = time.monotonic()
        due = sorted((each for each in self._timers if each.at <= now), key=_order)
        for timer in due:
            call, timer.call = timer.call, None
            if call is not None:
                call()
        if due:
            self._timers = [each for each in self._timers if each.call is not None]


def _order(timer: Timer) -> tuple[bool, float]:
    return not timer.is_first, timer.at
