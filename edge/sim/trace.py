"""What happened in a run, kept as plain values and worded only when somebody reads it."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import Enum

from edge.core.effects import Effect
from edge.core.events import Event
from edge.core.model import Link, Record, RecordId


class ViolationError(AssertionError):
    """The protocol did not keep its word."""


class Trace:
    """Faults and role changes always; each step that did something only in a `detailed` one."""

    def __init__(self, *, is_detailed: bool = False) -> None:
        self.is_detailed = is_detailed
        self._entries: list[tuple[float, str, tuple[object, ...]]] = []

    def note(self, now: float, text: str, *values: object) -> None:
        self._entries.append((now, text, values))

    def step(self, now: float, node: str, event: Event, effects: Sequence[Effect]) -> None:
        self._entries.append((now, "  {}: {} -> {}", (node, event, tuple(effects))))

    def lines(self, last: int | None = None) -> list[str]:
        entries = self._entries if last is None else self._entries[-last:]
        return [f"{now:12.6f} {text.format(*map(word, values))}" for now, text, values in entries]


def word(value: object) -> object:  # noqa: PLR0911  one line a case
    """A value of the core as a person reads it."""
    match value:
        case bool() | None:
            return str(value)
        case float() | int():
            return value
        case Enum():
            return str(value.value)
        case Link(broker, path):
            return f"{broker}/{path}"
        case RecordId(node, session, counter):
            return f"{node}:{session}:{counter}"
        case Record():
            to = "" if value.to is None else f" to {value.to}"
            basis = word(value.basis)
            return f"{value.kind.value} {word(value.id)} on {basis} term {value.term}{to}"
        case tuple() | list():
            return "[" + ", ".join(f"{word(each)}" for each in value) + "]"
    return _dataclass_word(value) if is_dataclass(value) else str(value)


def _dataclass_word(value: object) -> str:
    """Its name and its fields."""
    assert is_dataclass(value), "asked only of one"
    parts = (f"{each.name}={word(getattr(value, each.name))}" for each in fields(value))
    return f"{type(value).__name__}({', '.join(parts)})"
