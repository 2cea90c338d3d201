"""The files in which a broker keeps what is to survive: one directory, one writer. Blocking.

A file is appended to until too little of it is alive; then a new one begins, into which everything
that is alive is written again, and the older ones go. Nothing here decides what is written.
"""

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from broker.errors import EngineError
from broker.store.frames import HEADER_SIZE, Identity, Scan, frame, header, read_header, scan
from broker.store.memory import Memory, is_complete

# A broker that was just killed needs a moment to let go of its directory.
LOCK_PATIENCE: Final = 5.0
# Room set aside at a time: a file that does not grow with each write costs a disk a quarter of the
# bytes, because the file system has nothing to note.
AHEAD: Final = 64 * 1024
# Damaged files that are kept for whoever wants to look; the oldest go.
DAMAGED_FILES: Final = 3
# How the names of our files begin.
OURS: Final = ("log-", "damaged-")


class Damage(NamedTuple):
    """Where a file could not be read."""

    path: Path
    size: int
    ranges: tuple[tuple[int, int], ...]
    unknown: int = 0  # whole transactions that another version must have written

    def __str__(self) -> str:
        if self.unknown:
            return f"{self.path}: {self.unknown} transactions of another version cannot be read"
        places = ", ".join(f"{start} to {end}" for start, end in self.ranges[:5])
        more = ", ..." if len(self.ranges) > 5 else ""
        return f"{self.path}: of {self.size} bytes, {places}{more} cannot be read"


class Found(NamedTuple):
    """What a directory held. `is_tidy`: one file, all of it whole, and it may be appended to."""

    memory: Memory
    damages: tuple[Damage, ...]
    is_tidy: bool


class Store:
    """Open, `load` once, then `append`, and `begin` and `drop_older` now and then."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.size = 0  # of the current file, as far as it is written and synced
        self._room = 0  # up to here space is set aside
        self._lock = _lock(directory)
        self._file = -1
        self._identity = Identity(b"", 0)
        self._number = 0
        self._damaged: set[Path] = set()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        os.close(self._lock)

    # At the start

    def load(self) -> Found:
        """Everything that can be read. Raises EngineError if the directory cannot."""
        memory, paths = Memory(), self._files()
        contents: list[tuple[Path, bytes, Scan]] = []
        damages = []
        for path in reversed(paths):
            data = _read(path)
            found = scan(data)
            if found.damaged:
                damages.append(Damage(path, len(data), tuple(found.damaged)))
            contents.append((path, data, found))
            if any(map(is_complete, found.transactions)):
                break  # a power cut came before the older ones were dropped
        for path, data, found in reversed(contents):
            before = memory.unreadable
            memory.apply_all(found.transactions)
            if memory.unreadable > before:
                damages.append(Damage(path, len(data), (), memory.unreadable - before))
        self._damaged = {each.path for each in damages}
        self._number = _number(paths[-1]) if paths else 0
        is_tidy = len(contents) == 1 and not damages
        if is_tidy:
            self._continue(*contents[0])
            with suppress(OSError):  # they go the next time
                self.drop_older()
        return Found(memory, tuple(damages), is_tidy)

    def _continue(self, path: Path, data: bytes, found: Scan) -> None:
        identity = read_header(data)
        assert identity is not None
        self._identity = identity
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _unusable(path, error) from None
        self.size, self._room = found.end, len(data)

    # Writing; every method may raise OSError, and may be called again then

    def begin(self) -> None:
        """The next transactions go to a new file."""
        number = self._number + 1
        path = self.directory / f"log-{number:08}"
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        try:
            identity = Identity(os.urandom(4), int.from_bytes(os.urandom(4), "big"))
            _write_at(file, header(identity), 0)
            os.fdatasync(file)
            self._sync_directory()
        except OSError:
            os.close(file)
            with suppress(OSError):
                path.unlink()
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._identity, self._number = file, identity, number
        self.size = self._room = HEADER_SIZE

    def append(self, transactions: list[bytes]) -> None:
        """On disk when this returns. What an error leaves behind is written over."""
        pieces, place = [], self.size
        for each in transactions:
            piece = frame(self._identity, place, each)
            pieces.append(piece)
            place += len(piece)
        try:
            self._set_aside(place)
            _write_at(self._file, b"".join(pieces), self.size)
            os.fdatasync(self._file)
        except OSError:
            self._room = self.size
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
            raise
        self.size = place

    def _set_aside(self, size: int) -> None:
        """Not every file system can, and a disk that is nearly full may still take the write."""
        if size > self._room:
            with suppress(OSError):
                os.posix_fallocate(self._file, self._room, size + AHEAD - self._room)
            self._room = size + AHEAD

    def drop_older(self) -> None:
        """The current file is complete. What could not be read is put aside, a few files of it."""
        for path in self._files():
            if _number(path) >= self._number:
                continue
            if path in self._damaged:
                path.rename(self.aside(path))
            else:
                path.unlink()
        for path in sorted(self.directory.glob("damaged-*"))[:-DAMAGED_FILES]:
            path.unlink()
        self._sync_directory()

    def aside(self, path: Path) -> Path:
        """How a damaged file will be called."""
        return path.with_name(path.name.replace("log-", "damaged-"))

    def _files(self) -> list[Path]:
        found = self.directory.glob("log-*")
        logs = [path for path in found if path.name.removeprefix("log-").isdecimal()]
        return sorted(logs, key=_number)

    def _sync_directory(self) -> None:
        os.fsync(self._lock)


def _write_at(file: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, place)
        place += written
        view = view[written:]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, error) from None


def _number(path: Path) -> int:
    return int(path.name.removeprefix("log-"))


def _lock(directory: Path) -> int:
    """The directory, made if need be and ours alone, as long as this descriptor is open."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _keep_private(directory)
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(directory, error) from None
    if not os.access(directory, os.W_OK):
        os.close(descriptor)
        raise _unusable(directory, PermissionError(errno.EACCES, "it cannot be written"))
    ends_at = time.monotonic() + LOCK_PATIENCE
    while not _is_locked(descriptor):
        if time.monotonic() > ends_at:
            os.close(descriptor)
            raise EngineError(
                f"{directory} is in use by another broker; stop it or choose another directory"
            )
        time.sleep(0.05)
    return descriptor


def _keep_private(directory: Path) -> None:
    """Unless other things are in it, which are not for us to shut away: it may be /tmp."""
    if all(each.name.startswith(OURS) for each in directory.iterdir()):
        directory.chmod(0o700)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(path: Path, error: OSError) -> EngineError:
    return EngineError(
        f"{path}: {error.strerror}; persistence needs a directory that this user may write to"
    )
