"""Reads what a node's core allowed: entries, and the intervals in which the node was hot.

*Hot* is the core's own word with its deadline, on CLOCK_MONOTONIC, which all namespaces share:
from the step that made the node hot, to the instant until which outputs are allowed
(`edge.core.lease.acts_until`). A frozen node is hot until that instant, because a guard beside it
would believe in it for so long; a killed one until its death. So nothing has to be tolerated.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Life:
    """The process began."""

    at: float


@dataclass(frozen=True, slots=True)
class Entry:
    """From `at` on, until the next entry: what the core allows and knows."""

    at: float
    until: float
    term: int
    reason: str
    pause: int
    paused: bool
    connected: int
    late: float


@dataclass(frozen=True, slots=True)
class Hot:
    """One interval in which a node was hot with one term."""

    node: str
    start: float
    end: float
    term: int
    reason: str


@dataclass(slots=True)
class Ledger:
    """One node's file, read on as it grows."""

    node: str
    path: Path
    notes: list[Life | Entry] = field(default_factory=list)
    _offset: int = 0
    _rest: bytes = b""

    def read_on(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.notes.extend(parse(line) for line in lines)


def parse(line: bytes) -> Life | Entry:
    values = json.loads(line)
    return Life(values["at"]) if "life" in values else Entry(**values)


def hot_intervals(
    node: str, notes: Sequence[Life | Entry], deaths: Iterable[float]
) -> tuple[Hot, ...]:
    """In order of time. A renewal goes on with the interval of its term."""
    reader = _Reader(node, sorted(deaths))
    for note in notes:
        reader.read(note)
    return reader.finish()


class _Reader:
    def __init__(self, node: str, deaths: list[float]) -> None:
        self._node = node
        self._deaths = deaths
        self._found: list[Hot] = []
        self._open: Hot | None = None

    def read(self, note: Life | Entry) -> None:
        """What stood before ends here at the latest: each note replaces the one before."""
        last = self._open
        if last is not None and isinstance(note, Entry) and self._goes_on(last, note):
            self._open = replace(last, end=note.until)
            return
        self._close(note.at)
        if isinstance(note, Entry) and note.until > note.at:
            self._open = Hot(self._node, note.at, note.until, note.term, note.reason)

    def finish(self) -> tuple[Hot, ...]:
        self._close(math.inf)
        return tuple(self._found)

    def _goes_on(self, last: Hot, note: Entry) -> bool:
        return note.until > note.at and note.term == last.term and note.at <= last.end

    def _close(self, at: float) -> None:
        if self._open is None:
            return
        last, self._open = self._open, None
        died = next((each for each in self._deaths if each > last.start), math.inf)
        end = min(last.end, at, died)
        if end > last.start:
            self._found.append(replace(last, end=end))


def value_at(notes: Sequence[Life | Entry], at: float) -> Entry | None:
    """The last entry that is not later, unless the process began anew since."""
    index = bisect_right(notes, at, key=attrgetter("at"))
    last = notes[index - 1] if index else None
    return last if isinstance(last, Entry) else None
