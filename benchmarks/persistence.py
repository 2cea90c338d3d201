"""What persistence costs a disk: `python -m benchmarks.persistence [--directory D] [--device N]`.

The log of the embedded broker beside SQLite with the same content, each case in a process of its
own under strace, which counts the syncs. `--device loop0` counts what a block device was given,
when the directory is on a file system of its own there; that is what wears an SD card out.
"""

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table

from broker.routing.changes import FOR_EVER, Complete, Done, Queued, Stored, encode
from broker.store.files import Store

PAYLOAD = bytes(64)
TOPICS = 20
UPDATES = 300
QUEUED, GROUP = 10_000, 10  # 1,000/s on a disk that syncs in 10 ms
MANY = 100_000
SECTOR = 512


class Candidate(Protocol):
    """Something that could keep what the broker must not forget."""

    def retain(self, number: int, topic: str) -> None: ...

    def queue(self, number: int) -> None: ...

    def finish(self, number: int) -> None: ...

    def commit(self) -> None: ...

    def close(self) -> None: ...


class Log:
    """Ours."""

    def __init__(self, directory: Path) -> None:
        self._store = Store(directory)
        self._store.load()
        self._store.begin()
        self._store.append([encode(Complete())])
        self._pending: list[bytes] = []

    def retain(self, number: int, topic: str) -> None:
        self._pending.append(_stored(number, topic, is_retained=True))

    def queue(self, number: int) -> None:
        delivery = encode(
            Queued(1, number % 0xF000 + 1, number, 1, retain=False, identifiers=b"", group=b"")
        )
        self._pending.append(_stored(number, "queue/a", is_retained=False) + delivery)

    def finish(self, number: int) -> None:
        self._pending.append(encode(Done(1, number % 0xF000 + 1)))

    def commit(self) -> None:
        self._store.append(self._pending)
        self._pending = []

    def close(self) -> None:
        self._store.close()


class Database:
    """SQLite as one would use it for this: two tables, one row a message, synchronous=FULL."""

    journal = "WAL"

    def __init__(self, directory: Path) -> None:
        self._connection = sqlite3.connect(directory / "broker.db", isolation_level=None)
        self._connection.execute(f"PRAGMA journal_mode={self.journal}")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(
            "CREATE TABLE IF NOT EXISTS retained(topic TEXT PRIMARY KEY, qos INT, payload BLOB)"
            " WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS queue(number INTEGER PRIMARY KEY, session INT, topic TEXT,"
            " qos INT, payload BLOB)"
        )
        self._connection.execute("BEGIN")

    def retain(self, number: int, topic: str) -> None:  # noqa: ARG002 - the log needs it
        self._connection.execute("REPLACE INTO retained VALUES(?, 1, ?)", (topic, PAYLOAD))

    def queue(self, number: int) -> None:
        self._connection.execute(
            "INSERT INTO queue VALUES(?, 1, 'queue/a', 1, ?)", (number, PAYLOAD)
        )

    def finish(self, number: int) -> None:
        self._connection.execute("DELETE FROM queue WHERE number = ?", (number,))

    def commit(self) -> None:
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def close(self) -> None:
        self._connection.execute("COMMIT")
        self._connection.close()


class RollbackDatabase(Database):
    """The same with a rollback journal."""

    journal = "DELETE"


CANDIDATES: dict[str, Callable[[Path], Candidate]] = {
    "log": Log,
    "SQLite, WAL": Database,
    "SQLite, rollback": RollbackDatabase,
}


def _stored(number: int, topic: str, *, is_retained: bool) -> bytes:
    return encode(Stored(number, 1, is_retained, FOR_EVER, 0, topic.encode(), PAYLOAD, b""))


# The cases; each says over how many messages its figures are to be divided.


def slow_updates(candidate: Candidate) -> int:
    """1/s: each is written and synced alone."""
    for number in range(1, UPDATES + 1):
        candidate.retain(number, f"house/sensor/{number % TOPICS}")
        candidate.commit()
    return UPDATES


def absent_session(candidate: Candidate) -> int:
    """1,000/s to a client that is away, in groups, then it comes and takes them."""
    for number in range(1, QUEUED + 1):
        candidate.queue(number)
        if not number % GROUP:
            candidate.commit()
    for number in range(1, QUEUED + 1):
        candidate.finish(number)
        if not number % (100 * GROUP):  # acknowledgements of clients are not waited for
            candidate.commit()
    candidate.commit()
    return QUEUED


CASES: dict[str, Callable[[Candidate], int]] = {
    "retained, 1/s": slow_updates,
    "queued and taken, 1,000/s": absent_session,
}


def run_case(case: str, name: str, directory: Path) -> None:
    """In a process of its own; prints what the kernel says it had written."""
    candidate = CANDIDATES[name](directory)
    before = _written_bytes()
    started_at = time.perf_counter()
    count = CASES[case](candidate)
    elapsed = time.perf_counter() - started_at
    sys.stdout.write(json.dumps([count, _written_bytes() - before, elapsed]))
    candidate.close()


def _written_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def measure(case: str, name: str, directory: Path, device: str) -> list[str]:
    """One row: syncs, bytes from the process, bytes to the device, each per message."""
    with _fresh(directory) as place, tempfile.NamedTemporaryFile() as calls:
        command = [sys.executable, "-m", "benchmarks.persistence", "--case", case, name, str(place)]
        counted = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", calls.name, *command]
        before = _device_bytes(device)
        output = subprocess.run(counted, check=True, capture_output=True, text=True).stdout
        given = _device_bytes(device) - before
        count, written, elapsed = json.loads(output)
        syncs = Path(calls.name).read_text().count("sync(")
    return [
        case,
        name,
        f"{syncs / count:.3f}",
        f"{written / count:,.0f}",
        f"{given / count:,.0f}" if device else "",
        f"{1e3 * elapsed / count:.2f}",
    ]


class _fresh:  # noqa: N801 - used like a function
    """A directory that is gone afterwards."""

    def __init__(self, parent: Path) -> None:
        self._path = Path(tempfile.mkdtemp(dir=parent))

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path)


def _device_bytes(device: str) -> int:
    if not device:
        return 0
    subprocess.run(["sync"], check=True)
    return SECTOR * int(Path(f"/sys/block/{device}/stat").read_text().split()[6])


def measure_starts(directory: Path) -> Iterator[list[str]]:
    """How long it takes to read many retained messages, of the two formats alone."""
    with _fresh(directory) as place:
        for name in ("log", "SQLite, WAL"):
            candidate = CANDIDATES[name](place)
            for number in range(1, MANY + 1):
                candidate.retain(number, f"house/{number % 100}/sensor/{number}")
            candidate.commit()
            candidate.close()
        started_at = time.perf_counter()
        store = Store(place)
        found = len(store.load().memory.retained)
        log_time = time.perf_counter() - started_at
        store.close()
        started_at = time.perf_counter()
        with closing(sqlite3.connect(place / "broker.db")) as connection:
            rows = connection.execute("SELECT * FROM retained").fetchall()
        database_time = time.perf_counter() - started_at
        assert found == len(rows) == MANY
        sizes = [each.stat().st_size for each in (place / "log-00000001", place / "broker.db")]
    yield ["log", f"{log_time:.2f}", f"{sizes[0] / MANY:.0f}"]
    yield ["SQLite, WAL", f"{database_time:.2f}", f"{sizes[1] / MANY:.0f}"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    arguments.add_argument("--device", default="", help="as in /sys/block")
    arguments.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.case:
        case, name, place = chosen.case
        run_case(case, name, Path(place))
        return
    costs = Table("case", "candidate", "syncs", "bytes, process", "bytes, device", "ms")
    for case in CASES:
        for name in CANDIDATES:
            costs.add_row(*measure(case, name, chosen.directory, chosen.device))
    starts = Table(f"{MANY:,} retained", "read in s", "bytes each")
    for row in measure_starts(chosen.directory):
        starts.add_row(*row)
    console = Console(width=110)
    console.print(costs, "Syncs, bytes and ms are per message.", starts)


if __name__ == "__main__":
    main()
