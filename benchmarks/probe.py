"""The probe: asks every 2 ms who answers, from outside and on each node, and what that shows.

The judgements are functions of what was heard, so that tests can show them any history.
"""

import selectors
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Self

from benchmarks.responder import PORT, PRESENCE
from tests.lan.harness import Host

INTERVAL = 0.002
# Without an answer for so long, nobody holds the address; some lost ticks are nothing.
FRESH = 0.1
# Every so many ticks each node's responder is asked whether it is there.
PRESENCE_TICKS = 25


class Answer(NamedTuple):
    """`asked_by` is the host that asked, `name` who answered, `number` the tick."""

    at: float
    number: int
    asked_by: str
    name: str


@dataclass(slots=True)
class Asker:
    """One socket in one host's namespace, and whom it asks."""

    host: Host
    targets: Sequence[str]
    socket: socket.socket

    def ask(self, number: int) -> None:
        question = number.to_bytes(8, "big")
        if number % PRESENCE_TICKS == 0:
            self._send(PRESENCE, self.host.address)
        for target in self.targets:
            self._send(question, target)

    def _send(self, question: bytes, target: str) -> None:
        with suppress(OSError):  # no way there: that is an answer too
            self.socket.sendto(question, (target, PORT))


@dataclass(slots=True)
class Probe:
    """A thread that asks; leaving its block ends it."""

    targets: Mapping[Host, Sequence[str]]
    answers: list[Answer] = field(default_factory=list)
    asked_at: dict[int, float] = field(default_factory=dict)
    present_at: dict[str, float] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask no more; what was heard stays. May be called twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def forget(self) -> None:
        """Begin a new run; what is old would only be searched through again."""
        self.answers, self.asked_at = [], {}

    def holders(self) -> set[str]:
        """Which nodes say of themselves, on their own machine, that they hold the role now."""
        now = time.monotonic()
        recent = (each for each in reversed(self.answers[-2000:]) if each.at > now - FRESH)
        return {each.name for each in recent if each.name == each.asked_by}

    def is_present(self, name: str) -> bool:
        """The responder on that node is there and knows whether its node acts."""
        return time.monotonic() < self.present_at.get(name, 0.0) + 5 * PRESENCE_TICKS * INTERVAL

    def _run(self) -> None:
        # SelectSelector: epoll would round each wait up to whole milliseconds.
        with selectors.SelectSelector() as selector:
            askers = [_asker(host, targets) for host, targets in self.targets.items()]
            for asker in askers:
                selector.register(asker.socket, selectors.EVENT_READ, asker)
            self._ask_and_listen(askers, selector)
            for asker in askers:
                asker.socket.close()

    def _ask_and_listen(self, askers: list[Asker], selector: selectors.BaseSelector) -> None:
        number, due_at = 0, time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= due_at:
                number += 1
                self.asked_at[number] = now
                due_at = max(due_at + INTERVAL, now)
                for asker in askers:
                    asker.ask(number)
            for key, _ in selector.select(max(0.0, due_at - time.monotonic())):
                self._listen(key.data)

    def _listen(self, asker: Asker) -> None:
        with suppress(OSError):
            while True:
                data = asker.socket.recv(64)
                self._note(time.monotonic(), asker.host.name, data)

    def _note(self, now: float, asked_by: str, data: bytes) -> None:
        word = data[8:].decode()
        if not data.startswith(PRESENCE):
            self.answers.append(Answer(now, int.from_bytes(data[:8], "big"), asked_by, word))
        elif word:
            self.present_at[asked_by] = now


def _asker(host: Host, targets: Sequence[str]) -> Asker:
    made = host.namespace.socket(socket.SOCK_DGRAM)
    made.settimeout(0)
    return Asker(host, targets, made)


def takeover_at(
    answers: Iterable[Answer], client: str, survivor: str, after: float
) -> float | None:
    """When the client had its first answer of the survivor."""
    return next(
        (
            each.at
            for each in answers
            if each.at >= after and (each.asked_by, each.name) == (client, survivor)
        ),
        None,
    )


def longest_silence(answers: Iterable[Answer], client: str, after: float, until: float) -> float:
    """The longest time within which the client had no answer of anybody."""
    times = [each.at for each in answers if each.asked_by == client and each.at <= until]
    before = [at for at in times if at <= after][-1:]
    heard = [*(before or [after]), *(at for at in times if at > after)]
    return max((later - at for at, later in pairwise(heard)), default=0.0)


def time_with_two(answers: Iterable[Answer], asked_at: Mapping[int, float]) -> float:
    """How long two nodes held the role at once, each asked on its own machine in the same tick."""
    holders: dict[int, set[str]] = {}
    for each in answers:
        if each.name == each.asked_by:
            holders.setdefault(each.number, set()).add(each.name)
    return sum(
        asked_at[number + 1] - asked_at[number]
        for number, names in holders.items()
        if len(names) > 1 and {number, number + 1} <= asked_at.keys()
    )


def changes(answers: Iterable[Answer], client: str) -> int:
    """How often the client was answered by somebody else than before."""
    names = [each.name for each in answers if each.asked_by == client]
    return sum(one != other for one, other in pairwise(names))


def longest_pause(asked_at: Mapping[int, float]) -> float:
    """Of the probe itself: what is shorter, it cannot see."""
    return max((late - at for at, late in pairwise(asked_at.values())), default=0.0)
