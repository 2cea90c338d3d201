"""Recordings on disk: written whole, or input by input, into the node's folder; a few are kept.

A full or read-only disk costs the recording and one line in the log, nothing else.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import BoundedSemaphore

from edge import core
from edge.adapters.term_file import write_atomically
from edge.core.state import State
from edge.recorder import FORMAT, Header, Input, Recorder, Snapshot, line_of, lines_of
from edge.settings.values import Recording, RecordingWrite

log = logging.getLogger("edge")

# How many may wait to be written; the ring in each of them is memory.
WAITING_MAX = 2
# The writer lets the agent's thread go first after so many lines.
LINES_AT_ONCE = 50
PAUSE = 0.001


def core_digest() -> str:
    """Tells one core from another, also where there is no version between them."""
    digest = hashlib.sha256()
    for path in sorted(Path(core.__path__[0]).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def make_recorder(state: State, wanted: Recording, path: Path) -> Recorder:
    """As the settings want it, writing into the node's folder."""
    writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recording")
    folder = Folder(path, wanted.keep, state.group.name, state.me.name, core_digest())
    return Recorder(
        state,
        wanted.inputs,
        RecordingWriter(folder, writer.submit).save,
        saves_role_changes=wanted.write is RecordingWrite.ROLE_CHANGES,
        stream=RecordingStream(folder) if wanted.write is RecordingWrite.ALWAYS else None,
    )


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one node; at most `keep` of them."""

    path: Path
    keep: int
    group: str
    node: str
    core: str

    def header(self, reason: str, at: datetime) -> Header:
        edge = version("edge-redundancy")
        written_at = at.isoformat(timespec="milliseconds")
        return Header(FORMAT, edge, self.core, self.group, self.node, reason, written_at)

    def file(self, reason: str, at: datetime) -> Path:
        return self.path / f"recording-{at:%Y%m%dT%H%M%S.%f}Z-{reason}.jsonl"

    def forget_old(self, newest: Path) -> None:
        """By name, so by the time of day; but never the newest one, whatever its clock said."""
        others = sorted(each for each in self.path.glob("recording-*.jsonl") if each != newest)
        for each in others[: max(0, len(others) - self.keep + 1)]:
            with suppress(OSError):
                each.unlink()


class RecordingWriter:
    """Writes a ring as a whole. `run` does it in another thread, one after the other: the agent
    does not wait for a disk."""

    def __init__(self, folder: Folder, run: Callable[[Callable[[], None]], object]) -> None:
        self._folder = folder
        self._run = run
        self._free = BoundedSemaphore(WAITING_MAX)

    def save(self, snapshot: Snapshot) -> None:
        if not self._free.acquire(blocking=False):
            log.warning("no recording (%s): others are still being written", snapshot.reason)
            return
        self._run(partial(self._write, snapshot, datetime.now(UTC)))

    def _write(self, snapshot: Snapshot, at: datetime) -> None:
        path = self._folder.file(snapshot.reason, at)
        try:
            header = self._folder.header(snapshot.reason, at)
            write_atomically(path, b"".join(_unhurried(lines_of(header, snapshot))))
            self._folder.forget_old(path)
            log.info("wrote the recording %s, %d inputs", path, snapshot.length)
        except OSError as error:
            log.warning("%s: %s; this recording is lost", path, error.strerror)
        finally:
            self._free.release()


def _unhurried(lines: Iterator[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines, 1):
        yield line
        if number % LINES_AT_ONCE == 0:
            time.sleep(PAUSE)


class RecordingStream:
    """Writes each input before the next one comes: even SIGKILL leaves a recording. It costs the
    agent a write for each message, so it is for tests."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._descriptor = -1

    def begin(self, state: State) -> None:
        """A new file, so that each begins with a state and none grows for ever."""
        self._close()
        at = datetime.now(UTC)
        path = self._folder.file("always", at)
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            log.warning("%s: %s; nothing is recorded there", path, error.strerror)
            return
        self._write(line_of(self._folder.header("always", at)) + line_of(state))
        self._folder.forget_old(path)

    def add(self, entry: Input) -> None:
        self._write(line_of(entry))

    def _write(self, line: bytes) -> None:
        if self._descriptor < 0:
            return
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            written = 0
            log.warning("%s: %s; its recording ends here", self._folder.path, error.strerror)
        if written < len(line):
            self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
