"""The last fifty changes of the hot role, kept so that they survive a restart."""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from edge.adapters.term_file import write_atomically
from edge.journal import as_change
from edge.wire import Payload

log = logging.getLogger("edge")

HISTORY_LENGTH = 50


def _at_once(write: Callable[[], None]) -> None:
    write()


class History:
    """The last changes, in `<folder>/history.json`. `run` may write later or in another thread,
    one after the other: a slow disk must not hold up a node that has just become hot."""

    def __init__(
        self, folder: Path, run: Callable[[Callable[[], None]], object] = _at_once
    ) -> None:
        self._run = run
        self._is_written = True
        self._path = folder / "history.json"
        self._entries: deque[Payload] = deque(self._load(), maxlen=HISTORY_LENGTH)

    def read(self) -> list[Payload]:
        return list(self._entries)

    def add(self, entry: Payload) -> bool:
        """Remember a change; False if this very change is known already."""
        if any(_is_same(entry, each) for each in self._entries):
            return False
        self._entries.append(entry)
        self._run(partial(self._write, orjson.dumps(self.read())))
        return True

    def _write(self, content: bytes) -> None:
        """A full disk costs the history of the next life, nothing else."""
        try:
            write_atomically(self._path, content)
            self._is_written = True
        except OSError as error:
            if self._is_written:
                log.warning("%s: %s; the history will not survive", self._path, error.strerror)
            self._is_written = False

    def _load(self) -> list[Payload]:
        try:
            raw: Any = orjson.loads(self._path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return []
        return [each for each in raw if as_change(each)] if isinstance(raw, list) else []


def _is_same(one: Payload, other: Payload) -> bool:
    return all(one.get(key) == other.get(key) for key in ("event", "to", "term"))
