"""What must survive a power cut, in one small file: written whole, synced, then renamed.

`<state_path>/term.json`; docs/protocol.md, Terms.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from edge.adapters.state_folder import unusable
from edge.core.model import Pause, Saved
from edge.errors import OperatorError

COUNT_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Memory:
    """The file's content: the core's part, and which life of this node it is."""

    saved: Saved
    boots: int
    secret_digest: str


class TermFile:
    """The one writer of a node's memory. Raises OperatorError where the disk says no."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "term.json"

    def open(self, secret_digest: str) -> Memory:
        """Read the memory and count this life. A new secret has not proven good yet."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            memory = self._read(secret_digest)
            self.write(memory)
        except OSError as error:
            raise unusable(self._path, error) from None
        return memory

    def write(self, memory: Memory) -> None:
        """On disk when this returns, whole or not at all."""
        text = json.dumps(
            {
                "term": memory.saved.term,
                "pause": [memory.saved.pause.counter, memory.saved.pause.is_on],
                "secret_is_proven": memory.saved.secret_is_proven,
                "was_synchronised": memory.saved.was_synchronised,
                "boots": memory.boots,
                "secret_digest": memory.secret_digest,
            }
        )
        write_atomically(self._path, text.encode())

    def _read(self, secret_digest: str) -> Memory:
        if not self._path.exists():
            return Memory(Saved(), 1, secret_digest)
        try:
            raw = json.loads(self._path.read_bytes())
            counter, is_on = raw["pause"]
            is_known = raw["secret_digest"] == secret_digest
            saved = Saved(
                term=_count(raw["term"]),
                pause=Pause(_count(counter), bool(is_on)),
                secret_is_proven=bool(raw["secret_is_proven"]) and is_known,
                was_synchronised=bool(raw["was_synchronised"]),
            )
            return Memory(saved, _count(raw["boots"]) + 1, secret_digest)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise OperatorError(
                f"{self._path}: the file is damaged; with the other nodes running, delete it "
                "(the term is learnt from them)"
            ) from None


def _count(value: object) -> int:
    """Larger numbers than the others believe would make this node mute."""
    if not isinstance(value, int) or not 0 <= value < COUNT_MAX:
        raise ValueError("not a count")
    return value


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a power cut leaves either the old or the new content. 0600."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
