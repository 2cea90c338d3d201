"""What happened to the group, for people: events, and the last fifty changes of the hot role.

Times of the day are for reading only; every duration was measured on the monotonic clock.
"""

from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from edge.adapters.term_file import write_atomically
from edge.core.effects import Report
from edge.wire import Payload

HISTORY_LENGTH = 50


def now_text() -> str:
    """The time of the day, for people."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_payload(report: Report) -> Payload:
    """A report as the event topic shows it; unknown times are null."""
    parts = (report.detect, report.elect, report.duty)
    total = None if None in parts else sum(part for part in parts if part is not None)
    return {
        "event": report.event,
        "from": report.origin,
        "to": report.target,
        "term": report.term,
        "reason": report.reason,
        "detect_ms": _milliseconds(report.detect),
        "elect_ms": _milliseconds(report.elect),
        "duty_ms": _milliseconds(report.duty),
        "total_ms": _milliseconds(total),
        "at": now_text(),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


class History:
    """The last changes, kept in `<folder>/history.json` so that they survive a restart."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.json"
        self._entries: deque[Payload] = deque(self._read(), maxlen=HISTORY_LENGTH)

    @property
    def entries(self) -> list[Payload]:
        return list(self._entries)

    def add(self, entry: Payload) -> bool:
        """Remember a change; False if this very change is known already."""
        if any(_is_same(entry, each) for each in self._entries):
            return False
        self._entries.append(entry)
        try:
            write_atomically(self._path, orjson.dumps(self.entries))
        except OSError:
            return True  # a full disk costs the history of the next life, nothing else
        return True

    def _read(self) -> list[Payload]:
        try:
            raw: Any = orjson.loads(self._path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return []
        return [each for each in raw if isinstance(each, dict)] if isinstance(raw, list) else []


def _is_same(one: Payload, other: Payload) -> bool:
    return all(one.get(key) == other.get(key) for key in ("event", "to", "term"))
