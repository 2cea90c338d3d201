"""The publications of one follower, in their order, until a broker has acknowledged them. Pure.

Whatever is not acknowledged goes out again, the oldest first, before anything newer. What a broker
acknowledged just before it died may have reached nobody, and what it delivers late would come
behind newer messages of the next broker: so the last of them are kept and go out again as well.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Letter = TypeVar("Letter")


@dataclass(slots=True)
class Outbox(Generic[Letter]):
    """`limit` letters at most, `window` of them on their way at once; those remembered within
    `hold` seconds before the last one can be sent again."""

    limit: int
    window: int
    hold: float
    _waiting: deque[Letter] = field(default_factory=deque)
    _flying: dict[int, Letter] = field(default_factory=dict)
    _recent: deque[tuple[float, Letter]] = field(default_factory=deque)

    @property
    def unacknowledged(self) -> int:
        return len(self._waiting) + len(self._flying)

    @property
    def oldest(self) -> Letter | None:
        """The one that was put before all others that are not acknowledged."""
        waiting = self._waiting[0] if self._waiting else None
        return next(iter(self._flying.values()), waiting)

    @property
    def is_full(self) -> bool:
        return self.unacknowledged >= self.limit

    def put(self, letter: Letter) -> None:
        assert not self.is_full, "whoever puts waits for room first"
        self._waiting.append(letter)

    def next(self) -> Letter | None:
        """The letter to send next, if another one may be on its way."""
        return self._waiting[0] if self._waiting and len(self._flying) < self.window else None

    def sent(self, number: int) -> None:
        """The next letter went out under this number."""
        self._flying[number] = self._waiting.popleft()

    def skip(self) -> None:
        """The next letter went out and nobody acknowledges it."""
        self._waiting.popleft()

    def acknowledged(self, number: int) -> Letter | None:
        """The letter of that number, if one is on its way under it."""
        return self._flying.pop(number, None)

    def remember(self, letter: Letter, now: float) -> None:
        """It was acknowledged just now and may go out again."""
        self._recent.append((now, letter))
        while self._recent[0][0] < now - self.hold or len(self._recent) > self.limit:
            self._recent.popleft()

    def begin_again(self) -> int:
        """Another connection: what was under way waits again, in front, behind what had only just
        been acknowledged. Returns how much that is."""
        again = [*(letter for _, letter in self._recent), *self._flying.values()]
        self._recent.clear()
        self._flying.clear()
        self._waiting.extendleft(reversed(again))
        return len(again)

    def clear(self) -> list[Letter]:
        """Everything that is not acknowledged; the box is empty afterwards."""
        left = [*self._flying.values(), *self._waiting]
        self._flying.clear()
        self._waiting.clear()
        return left
