"""A connection of a broker with a disk: what it answers is true also after a power cut. Pure.

An answer to a packet that changed something waits until the change is on disk, and later answers
wait behind it, so their order is kept. Messages for the client do not wait, PINGRESP and DISCONNECT
neither.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from broker.admission.access import Access, CompiledRole, Identity
from broker.connections.connection import Connection
from broker.protocol.packets import CONNACK, DISCONNECT, PINGRESP, Connect
from broker.routing.journal import DiskJournal
from broker.routing.router import Router
from broker.routing.session import Session

# Bytes that wait for the disk beyond which whoever makes more is not read.
MOST_BACKLOG: Final = 4 * 1024 * 1024


class PatientConnection(Connection):
    """`journal` is the one of its router."""

    __slots__ = ("_caused", "_held", "_journal", "_seen")

    def __init__(
        self,
        router: Router,
        access: Access,
        peer: str,
        now: float,
        wake: Callable[[], None],
        journal: DiskJournal,
    ) -> None:
        super().__init__(router, access, peer, now, wake)
        self._journal = journal
        self._held: deque[tuple[int, bytes]] = deque()  # answers and what they wait for
        # The serial when the packet came that is answered now; a refusal waits for nothing.
        self._seen = math.inf
        self._caused = 0  # the serial of the last change that came from here

    @property
    def outruns_disk(self) -> bool:
        """It made changes more quickly than the disk takes them."""
        journal = self._journal
        if self._caused <= journal.durable or journal.backlog <= MOST_BACKLOG:
            return False
        journal.wait(self)
        return True

    def answer(self, packet: bytes) -> None:
        journal = self._journal
        waits = self._held or journal.serial > self._seen
        if not waits or (packet and packet[0] >> 4 in {PINGRESP, DISCONNECT}):
            super().answer(packet)
            return
        self._held.append((journal.serial, packet))
        journal.wait(self)

    def take_output(self) -> bytes:
        held, durable = self._held, self._journal.durable
        if held and held[0][0] <= durable and held[0][1][:1] == _CONNACK:
            self.out.insert(0, held.popleft()[1])  # before what the session has for this client
        while held and held[0][0] <= durable:
            self.out.append(held.popleft()[1])
        if held:
            self._journal.wait(self)
            if held[0][1][:1] == _CONNACK:
                self._is_dirty = False
                return b""
        return super().take_output()

    def _accept(self, identity: Identity) -> None:
        self._seen = self._journal.serial
        super()._accept(identity)
        self._journal.cut()

    def _begin(self, connect: Connect, session: Session, role: CompiledRole) -> None:
        super()._begin(connect, session, role)
        self._handle = self._watched(self._handle)

    def _watched(
        self, handle: Callable[[int, bytes, int, int], int]
    ) -> Callable[[int, bytes, int, int], int]:
        """Each packet is a transaction."""
        journal = self._journal

        def watched(first: int, data: bytes, start: int, end: int) -> int:
            self._seen = journal.serial
            work = handle(first, data, start, end)
            if journal.serial > self._seen:
                self._caused = journal.serial
                journal.cut()
            return work

        return watched


_CONNACK: Final = bytes((CONNACK << 4,))
