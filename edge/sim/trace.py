"""What happened in a run, kept as plain values and worded only when somebody reads it."""

from typing import Any

from edge.core.effects import Effect
from edge.core.events import Event


class ViolationError(AssertionError):
    """The protocol did not keep its word."""


class Trace:
    """Faults and role changes always; each step of each node only in a `detailed` one."""

    def __init__(self, *, is_detailed: bool = False) -> None:
        self.is_detailed = is_detailed
        self._entries: list[tuple[float, str, tuple[Any, ...]]] = []

    def note(self, now: float, text: str, *values: Any) -> None:  # noqa: ANN401  worded later
        self._entries.append((now, text, values))

    def step(self, now: float, node: str, event: Event, effects: list[Effect]) -> None:
        if self.is_detailed:
            self._entries.append((now, "  {}: {} -> {}", (node, event, tuple(effects))))

    def lines(self, last: int | None = None) -> list[str]:
        entries = self._entries if last is None else self._entries[-last:]
        return [f"{now:12.6f} {text.format(*values)}" for now, text, values in entries]
