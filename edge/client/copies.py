"""Two addresses of one broker bring everything twice: what came over one is expected over the
other, and not handed on again. By content and in number, as MQTT names no message. Pure.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge.ports import Message


@dataclass(slots=True)
class Copies:
    """A copy is expected for `patience` seconds, then it counts as a message of its own: too many
    are better than too few. `limit` for each address."""

    patience: float
    limit: int
    _expected: dict[str, deque[tuple[float, Message]]] = field(default_factory=dict)

    def is_first(self, address: str, siblings: Iterable[str], message: Message, now: float) -> bool:
        """Whether nobody has brought it; `siblings` are the broker's other addresses."""
        if self._is_expected(address, message, now):
            return False
        for each in siblings:
            expected = self._expected.setdefault(each, deque(maxlen=self.limit))
            expected.append((now, message))
        return True

    def forget(self, address: str) -> None:
        """Another connection brings nothing of what the last one should have brought."""
        self._expected.pop(address, None)

    def _is_expected(self, address: str, message: Message, now: float) -> bool:
        expected = self._expected.get(address, deque())
        while expected and now - expected[0][0] > self.patience:
            expected.popleft()
        for index, (_, each) in enumerate(expected):  # nearly always the first
            if each == message:
                del expected[index]
                return True
        return False
