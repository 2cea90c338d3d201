"""Asking the network whether another machine has an address, before we take it."""

import time
from _collections_abc import Callable

from edge.duty.guard import packets
from edge.duty.guard.loop import Loop, Timer
from edge.duty.guard.wire import Wire


class Manner:
    """How to ask: so many probes within so many seconds; how long an answer may be waited out.

    Patience is there for the holder whose agent and guard both died: the kernel takes his address
    away within one lifetime. Who answers for longer than that is somebody else.
    """

    __slots__ = ("patience", "probes", "wait")

    def __init__(self, probes: int, wait: float, patience: float) -> None:
        self.probes = probes
        self.wait = wait
        self.patience = patience


class Probe:
    """One question; `then` is called once, with who answers or None."""

    def __init__(
        self,
        loop: Loop,
        wire: Wire,
        packed: bytes,
        manner: Manner,
        then: Callable[[bytes | None], None],
    ) -> None:
        self._loop = loop
        self._wire = wire
        self._packed = packed
        self._manner = manner
        self._then = then
        self._timers: list[Timer] = []
        self._give_up_at = time.monotonic() + manner.patience
        wire.listen()
        loop.add(wire.fileno(), self._hear)
        self._ask()

    def cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._loop.remove(self._wire.fileno())
        self._wire.stop_listening()

    def _ask(self) -> None:
        manner = self._manner
        gaps = (manner.wait * each / manner.probes for each in range(1, manner.probes))
        self._timers = [self._loop.after(gap, self._send) for gap in gaps]
        self._timers.append(self._loop.after(manner.wait, self._heard_nobody))
        self._send()

    def _send(self) -> None:
        self._wire.send(packets.probe(self._wire.mac, self._packed))

    def _hear(self) -> None:
        owners = (packets.owner(frame, self._packed) for frame in self._wire.hear())
        other = next((each for each in owners if each not in {None, self._wire.mac}), None)
        if other is not None:
            self._heard(other)

    def _heard(self, other: bytes) -> None:
        for timer in self._timers:
            timer.cancel()
        if time.monotonic() >= self._give_up_at:
            self._answer(other)
        else:
            self._timers = [self._loop.after(self._manner.wait, self._ask)]

    def _heard_nobody(self) -> None:
        self._answer(None)

    def _answer(self, other: bytes | None) -> None:
        self.cancel()
        self._then(other)
