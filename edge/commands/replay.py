"""`edge replay`: a recording through the same core again, step by step."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from math import inf
from pathlib import Path

import orjson
from rich.console import Console
from rich.text import Text

from edge.adapters.recordings import core_digest
from edge.core.effects import Effect
from edge.core.lease import acts_until, votes_held
from edge.core.model import Link, Record, RecordId
from edge.errors import SettingsError
from edge.plain import to_plain
from edge.recorder import Recording, Step, load, replay

HEAD = f"{'step':>7} {'seconds':>10}  {'role':<9}{'phase':<15}{'term':>5} {'votes':>5} {'lease':>8}"


@dataclass(frozen=True, slots=True)
class Window:
    """Which steps to show; negative numbers count from the end."""

    first: int | None
    last: int | None
    only_changes: bool

    def holds(self, step: Step, length: int) -> bool:
        first, last = _absolute(self.first, length, 1), _absolute(self.last, length, length)
        is_wanted = not self.only_changes or step.changes_role
        return first <= step.number <= last and is_wanted


def _absolute(number: int | None, length: int, default: int) -> int:
    if number is None:
        return default
    return number if number >= 0 else length + 1 + number


def replay_file(path: Path, window: Window, *, as_json: bool) -> int:
    """Show the steps; 0 if the run repeats itself, 1 if not."""
    recording = load(path)
    if window.first == 0 or window.last == 0:
        raise SettingsError("--from and --to: steps are numbered from 1, or -1 for the last one")
    counted = _Counted()
    shown = counted.through(replay(recording), window, len(recording.inputs))
    if as_json:
        for step in shown:
            print(orjson.dumps(_as_json(step)).decode())  # noqa: T201  what was asked for
    else:
        _print(recording, shown, counted)
    return 0 if counted.first_difference is None else 1


@dataclass(slots=True)
class _Counted:
    """What the whole run was like, while only some steps are shown."""

    steps: int = 0
    role_changes: int = 0
    first_difference: Step | None = None

    def through(self, steps: Iterable[Step], window: Window, length: int) -> Iterator[Step]:
        for step in steps:
            self.steps += 1
            self.role_changes += step.changes_role
            if step.difference and self.first_difference is None:
                self.first_difference = step
            if step is self.first_difference or step.error or window.holds(step, length):
                yield step


def _print(recording: Recording, steps: Iterable[Step], counted: _Counted) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(_safe(_headline(recording)), "bold"))
    console.print(Text(HEAD + "  event => effects", "dim"))
    for step in steps:
        console.out(_safe(_line(step, recording.begin.now)), style=_style(step), highlight=False)
    console.print(Text(_safe(_verdict(recording, counted)), "bold"))


def _headline(recording: Recording) -> str:
    header = recording.header
    return (
        f"{header.node} of group {header.group}, edge {header.edge}, core {header.core}, "
        f"written {header.written_at} ({header.reason}), {len(recording.inputs)} steps"
    )


def _verdict(recording: Recording, counted: _Counted) -> str:
    text = f"{counted.steps} steps, {counted.role_changes} role changes: "
    different = counted.first_difference
    if different is None:
        text += "the same as recorded"
    else:
        text += f"NOT as recorded from step {different.number} on: {different.difference}"
        if recording.header.core != core_digest():
            text += f"; it was another core ({recording.header.core}, here is {core_digest()})"
    return text if recording.is_complete else f"{text}; the file ends without a last state"


def _style(step: Step) -> str | None:
    if step.difference or step.error:
        return "bold red"
    return "bold green" if step.changes_role else None


def _line(step: Step, began_at: float) -> str:
    state, until = step.state, acts_until(step.state)
    left = f"{(until - step.now) * 1000:+.0f}ms" if until > -inf else "-"
    votes = f"{votes_held(state)}/{state.group.quorum}"
    found = (
        f"{step.number:>7} {step.now - began_at:>+10.4f}  {state.role:<9}{state.phase:<15}"
        f"{state.term:>5} {votes:>5} {left:>8}  {words(step.event)}"
    )
    if step.effects:
        found += " => " + ", ".join(map(words, step.effects))
    if step.changes_role:
        found += f"  *** {step.before.role} -> {state.role}: {state.reason}"
    if step.error:
        found += f"  *** the core raised {step.error}"
    return found + (f"  *** not as recorded: {step.difference}" if step.difference else "")


def words(value: object) -> str:
    """An event or an effect as short as a person can still read it."""
    if isinstance(value, Link):
        return value.broker if value.path == 0 else f"{value.broker}/{value.path}"
    if isinstance(value, RecordId):
        return f"{value.node}.{value.session}.{value.counter}"
    if isinstance(value, Record):
        return _record(value)
    if not is_dataclass(value):
        return f"{value:.4f}" if isinstance(value, float) else str(value)
    given = ((each, getattr(value, each.name)) for each in fields(value))
    differing = ((each.name, found) for each, found in given if found != each.default)
    parts = (name if found is True else words(found) for name, found in differing)
    return f"{type(value).__name__}({', '.join(parts)})"


def _record(record: Record) -> str:
    basis = "nothing" if record.basis is None else words(record.basis)
    to = "" if record.to is None else f" to {record.to}"
    return f"{record.kind} {words(record.id)} on {basis}, term {record.term}{to}"


def _as_json(step: Step) -> dict[str, object]:
    state = step.state
    until = acts_until(state)
    return {
        "step": step.number,
        "now": step.now,
        "event": {type(step.event).__name__: to_plain(type(step.event), step.event)},
        "effects": to_plain(tuple[Effect, ...], step.effects),
        "role": state.role,
        "phase": state.phase,
        "reason": state.reason,
        "term": state.term,
        "votes": votes_held(state),
        "lease_until": until if until > -inf else None,
        "changes_role": step.changes_role,
        "difference": step.difference,
        "error": step.error,
    }


def _safe(text: str) -> str:
    """A stranger's texts must not steer this terminal."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
