"""The last fifty changes of the hot role, kept so that they survive a restart."""

from collections import deque
from pathlib import Path
from typing import Any

import orjson

from edge.adapters.term_file import write_atomically
from edge.wire import Payload

HISTORY_LENGTH = 50


class History:
    """The last changes, kept in `<folder>/history.json` so that they survive a restart."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.json"
        self._entries: deque[Payload] = deque(self._load(), maxlen=HISTORY_LENGTH)

    def read(self) -> list[Payload]:
        return list(self._entries)

    def add(self, entry: Payload) -> bool:
        """Remember a change; False if this very change is known already."""
        if any(_is_same(entry, each) for each in self._entries):
            return False
        self._entries.append(entry)
        try:
            write_atomically(self._path, orjson.dumps(self.read()))
        except OSError:
            return True  # a full disk costs the history of the next life, nothing else
        return True

    def _load(self) -> list[Payload]:
        try:
            raw: Any = orjson.loads(self._path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return []
        return [each for each in raw if isinstance(each, dict)] if isinstance(raw, list) else []


def _is_same(one: Payload, other: Payload) -> bool:
    return all(one.get(key) == other.get(key) for key in ("event", "to", "term"))
