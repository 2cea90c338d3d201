"""Has the journal's changes written, in a thread, and tells the journal how far that is.

Group commit: while one write is under way the next changes gather, and go out as one. Changes for
which a client waits are written at once, others within a second. When the disk refuses, nothing is
acknowledged and the same is tried again until it takes it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.admission.access import Access
from broker.routing.journal import DiskJournal
from broker.routing.router import Router
from broker.settings import BrokerSettings
from broker.store.files import Store
from broker.store.recall import Recall, restate

# Seconds that a change may wait for which nobody waits.
LAZY: Final = 1.0
# Seconds until a disk that refused is asked again.
RETRY: Final = 1.0
# A file grows to twice what is alive and so much more before a new one begins.
SPARE_SIZE: Final = 4 * 1024 * 1024
# What is written again, in one turn of the loop and in one write.
STEPS_AT_ONCE: Final = 100
BYTES_AT_ONCE: Final = 256 * 1024


@dataclass(slots=True)
class _Batch:
    """One write. What has been done of it is taken off, for the case that it is tried again."""

    transactions: list[bytes]
    serial: int
    size: int
    begins: bool
    completes: bool


class Keeper:
    """The journal of a broker, and the disk behind it. `report` takes one line for the log."""

    def __init__(self, settings: BrokerSettings, report: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.journal = DiskJournal(settings, self._loop.time, time.time)
        self._directory = Path(settings.directory)
        self._report = report
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._store: Store | None = None
        self._router: Router | None = None
        self._batch: _Batch | None = None  # under way, or refused by the disk
        self._is_scheduled = False
        self._has_failed = False
        self._timer: asyncio.TimerHandle | None = None
        self._alive_size = 0
        self._restating: Iterator[None] | None = None
        self._is_chained = False
        self._restated_size = 0  # of what waits to be written
        self._begins = False
        self._completes = False

    def start(self, router: Router, access: Access) -> None:
        """Read everything into the router. Blocking; raises EngineError."""
        self._router = router
        self._store = Store(self._directory)
        found = self._store.load()
        Recall(router, self.journal, time.time()).fill(found.memory, access.identity_of)
        for damage in found.damages:
            aside = self._store.aside(damage.path)
            self._report(f"{damage}; all the rest is there, and the file is kept as {aside.name}")
        self._alive_size = found.memory.size()
        self.journal.on_change = self._on_change
        self.journal.on_wait = self._schedule
        if not found.is_tidy:
            self._begin_again()
        elif self.journal.backlog:
            self._on_change()

    def stop(self) -> None:
        """Everything that is known goes to disk. Blocking, for one last write."""
        if self._timer:
            self._timer.cancel()
        self._thread.shutdown(wait=True)
        store, self._store = self._store, None
        if store is None:
            return
        self._restating = None
        try:
            if self._batch:
                _write(store, self._batch)
            _write(store, self._next_batch())
        except OSError as error:
            self._report(f"{self._directory}: {error.strerror}; the last changes are lost")
        store.close()

    # When to write

    def _on_change(self) -> None:
        if self._timer is None and self._batch is None:
            self._timer = self._loop.call_later(LAZY, self._write)

    def _schedule(self) -> None:
        """With everything that this turn of the loop brings."""
        if not self._is_scheduled and self._batch is None and not self._lags():
            self._is_scheduled = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._is_scheduled = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._batch is None and self._store:
            self._batch = self._next_batch()
            self._hand_over()

    def _next_batch(self) -> _Batch:
        journal = self.journal
        batch = _Batch(
            journal.drain(), journal.serial, journal.backlog, self._begins, self._completes
        )
        self._begins = self._completes = False
        self._restated_size = 0
        return batch

    def _hand_over(self) -> None:
        if self._store and self._batch:
            write = self._loop.run_in_executor(self._thread, _write, self._store, self._batch)
            write.add_done_callback(self._written)

    def _written(self, write: "asyncio.Future[None]") -> None:
        if write.cancelled() or self._store is None:
            return
        try:
            write.result()
        except OSError as error:
            self._timer = self._loop.call_later(RETRY, self._hand_over)
            self._note_failure(error)
            return
        batch, self._batch, self._timer = self._batch, None, None
        assert batch is not None
        if self._has_failed:
            self._has_failed = False
            self._report(f"{self._directory}: written again, nothing is missing")
        self.journal.reach(batch.serial, batch.size)
        self._go_on(self._store, is_complete=batch.completes)

    def _note_failure(self, error: OSError) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._report(
                f"{self._directory}: {error.strerror}; what is to be kept is not acknowledged "
                "until it can be written"
            )

    def _go_on(self, store: Store, *, is_complete: bool) -> None:
        if is_complete:
            self._alive_size = store.size
        if self._restating:
            self._chain()
        elif store.size > 2 * self._alive_size + SPARE_SIZE:
            self._begin_again()
        elif self.journal.backlog:
            self._on_change()

    # A new file

    def _begin_again(self) -> None:
        assert self._router is not None
        self._begins = True
        self._restating = restate(self._router, self.journal)
        self._chain()

    def _lags(self) -> bool:
        """Changes wait until as much was restated, so that the new file cannot outgrow us."""
        return self._restating is not None and 2 * self._restated_size < self.journal.backlog

    def _chain(self) -> None:
        if not self._is_chained:
            self._is_chained = True
            self._loop.call_soon(self._restate)

    def _restate(self) -> None:
        """A part in each turn of the loop, until there is enough for a write."""
        self._is_chained = False
        if self._restating is None:
            return
        before = self.journal.backlog
        for _ in range(STEPS_AT_ONCE):
            try:
                next(self._restating)
            except StopIteration:
                self._restating = None
                self._completes = True
                break
        self._restated_size += self.journal.backlog - before
        if self._restating and (self._restated_size < BYTES_AT_ONCE or self._lags()):
            self._chain()
        else:
            self._schedule()


def _write(store: Store, batch: _Batch) -> None:
    """In the thread."""
    if batch.begins:
        store.begin()
        batch.begins = False
    if batch.transactions:
        store.append(batch.transactions)
        batch.transactions = []
    if batch.completes:
        with suppress(OSError):  # they go the next time
            store.drop_older()
