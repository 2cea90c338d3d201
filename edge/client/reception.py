"""Which received messages count: those of the hot node's broker, and, since publisher and receiver
learn of a move at different moments, those that a broker sent shortly before or after. Pure.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from edge.ports import Message


@dataclass(slots=True)
class Reception:
    """`overlap` in seconds; `limit` messages of each address may wait for their node's turn."""

    overlap: float
    limit: int
    followed: str | None = None
    _before: str | None = None
    _followed_at: float = -inf
    _held: dict[str, deque[tuple[float, Message]]] = field(default_factory=dict)

    def follow(self, node: str, now: float) -> None:
        """From now on this node's messages count, and its predecessor's for a while."""
        self._before, self.followed, self._followed_at = self.followed, node, now

    def counts(self, address: str, owner: str | None, message: Message, now: float) -> bool:
        """Whether to hand this message on now. If not it is kept for `taken_up`, unless the broker
        retains it: that one comes again."""
        if owner is not None and owner == self.followed:
            return True
        is_echo = owner is not None and owner == self._before
        if is_echo and now - self._followed_at <= self.overlap:
            return True
        if not message.retained:
            held = self._held.setdefault(address, deque(maxlen=self.limit))
            held.append((now, message))
            while now - held[0][0] > self.overlap:
                held.popleft()
        return False

    def taken_up(self, address: str, now: float) -> list[Message]:
        """What came from this address shortly before its node's turn."""
        held = self._held.pop(address, deque())
        return [message for at, message in held if now - at <= self.overlap]
