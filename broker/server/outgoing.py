"""When output is written: in the next turn of the loop, or together with what comes after it.

One large write costs much less than many small ones. So what a client wrote to others, while more
of its packets are at hand, waits for the rest of them, but not for long; nobody else waits.
"""

import asyncio
from typing import Final, Protocol

from broker.routing.agenda import Agenda

# Seconds that output may gather.
GATHERING: Final = 0.002


class Writer(Protocol):
    """A client with output."""

    def flush(self) -> None:
        """Write what has gathered."""


class Outgoing:
    """The clients with output. `turns_due` counts those of which more packets are at hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop, agenda: Agenda) -> None:
        self.turns_due = 0
        self._loop = loop
        self._agenda = agenda
        self._ready: list[Writer] = []
        self._gathered: list[Writer] = []
        self._gathers_until = 0.0
        self._is_flush_due = False

    def __len__(self) -> int:
        return len(self._ready)

    def schedule(self, client: Writer) -> None:
        """The client has output, once until it is flushed."""
        self._ready.append(client)
        self._arm()

    def gather(self, first: int) -> None:
        """All but the `first` have their output from a client that has more to say."""
        if not self._gathered:
            self._gathers_until = self._loop.time() + GATHERING
        self._gathered += self._ready[first:]
        del self._ready[first:]
        self._arm()

    def _arm(self) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        self._agenda.now = now = self._loop.time()
        ready, self._ready = self._ready, []
        if not self.turns_due or now >= self._gathers_until:
            ready += self._gathered
            self._gathered.clear()
        for client in ready:
            client.flush()
        if self._gathered:
            self._arm()
