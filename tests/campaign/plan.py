"""What a campaign will do, drawn from a seed and from nothing else.

An episode is a stretch of faults and requests, followed by calm. Times are relative to the
episode's begin, because a calm lasts as long as the group needs. A target may be a part in the
play (HOT, STANDBY): who that is shows itself when the fault begins.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.lan.groupfile import WITNESS

HOT, STANDBY = "<hot>", "<standby>"
STRIKES = (1, 1, 2, 2, 3, 4)
PERSISTENT_MIN, PERSISTENT_MAX = 0.5, 8.0
FREEZE_MIN, FREEZE_MAX = 0.1, 10.0
RESTART_MIN, RESTART_MAX = 0.1, 3.0
LOSS_MAX = 30
STORM_MIN, STORM_MAX = 3, 6
HOUR = 3600


class Fault(StrEnum):
    """Each kind, in the words of the report."""

    KILL_AGENT = "agent killed"
    KILL_NODE = "node killed"
    KILL_BROKER = "broker killed"
    FREEZE_AGENT = "agent frozen"
    FREEZE_NODE = "node frozen"
    FREEZE_BROKER = "broker frozen"
    POWER = "power cut"
    CABLE = "cable"
    SILENCE = "silence"
    CUT = "cut both ways"
    ONE_WAY_DROP = "one-way cut, drop"
    ONE_WAY_REJECT = "one-way cut, reject"
    RESET = "connection reset"
    LOSS = "loss"
    DISK_FULL = "disk full"
    CLOCK = "wall clock"
    FLOOD = "flood"
    STORM = "restart storm"


FREEZES = {Fault.FREEZE_AGENT, Fault.FREEZE_NODE, Fault.FREEZE_BROKER}
KILLS = {Fault.KILL_AGENT, Fault.KILL_NODE, Fault.KILL_BROKER, Fault.STORM}
PAIRS = {Fault.CUT, Fault.ONE_WAY_DROP, Fault.ONE_WAY_REJECT, Fault.RESET}
# What a broker that nobody's agent owns can suffer.
FOR_WITNESS = {
    Fault.KILL_NODE,
    Fault.FREEZE_NODE,
    Fault.POWER,
    Fault.CABLE,
    Fault.SILENCE,
    Fault.LOSS,
    Fault.FLOOD,
}


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault to come. `amount` is per cent of loss, seconds of the clock, or how often."""

    number: int
    fault: Fault
    at: float
    lasts: float
    target: str
    other: str = ""
    amount: int = 0
    restart_after: float = 1.0


@dataclass(frozen=True, slots=True)
class Errand:
    """One request to come: at whose broker, and to whom if it names somebody."""

    number: int
    at: float
    command: str
    via: str
    to: str = ""


@dataclass(frozen=True, slots=True)
class Episode:
    """Faults, requests, then calm: once the group is redundant it is held for `hold` seconds."""

    number: int
    strikes: tuple[Strike, ...]
    errands: tuple[Errand, ...]
    orders_in_calm: tuple[Errand, ...]
    hold: float


def episodes(seed: int, nodes: tuple[str, ...], *, has_witness: bool) -> Iterator[Episode]:
    """The whole campaign, without end; how much of it is played depends on the minutes."""
    drawer = _Drawer(random.Random(seed), nodes, (*nodes, WITNESS) if has_witness else nodes)
    number = 0
    while True:
        number += 1
        yield drawer.episode(number)


@dataclass(slots=True)
class _Drawer:
    chance: random.Random
    nodes: tuple[str, ...]
    members: tuple[str, ...]
    strikes: int = 0
    errands: int = 0

    def episode(self, number: int) -> Episode:
        length = self.chance.uniform(2.0, 8.0)
        strikes = [self._strike(length) for _ in range(self.chance.choice(STRIKES))]
        return Episode(
            number,
            tuple(sorted(strikes, key=lambda each: each.at)),
            tuple(sorted(self._requests(length), key=lambda each: each.at)),
            self._orders_in_calm(),
            self.chance.uniform(1.0, 3.0),
        )

    def _strike(self, length: float) -> Strike:
        self.strikes += 1
        fault = self.chance.choice(list(Fault))
        target = self._target(fault)
        return Strike(
            number=self.strikes,
            fault=fault,
            at=round(self.chance.uniform(0.0, length), 3),
            lasts=round(self._lasting(fault), 3),
            target=target,
            other=self._other(target) if fault in PAIRS else "",
            amount=self._amount(fault),
            restart_after=round(self.chance.uniform(RESTART_MIN, RESTART_MAX), 3),
        )

    def _target(self, fault: Fault) -> str:
        """Faults of the hot node are the interesting ones: half of all."""
        parts = [HOT, HOT, HOT, STANDBY, STANDBY]
        if fault in FOR_WITNESS and len(self.members) > len(self.nodes):
            parts.append(WITNESS)
        return self.chance.choice(parts)

    def _other(self, target: str) -> str:
        others = [HOT, STANDBY, *(set(self.members) - set(self.nodes))]
        return self.chance.choice([each for each in others if each != target])

    def _lasting(self, fault: Fault) -> float:
        if fault in FREEZES:
            # As many short ones as long ones: the short ones end around the deadlines.
            return float(FREEZE_MIN * (FREEZE_MAX / FREEZE_MIN) ** self.chance.random())
        if fault in KILLS or fault is Fault.RESET:
            return 0.0
        return self.chance.uniform(PERSISTENT_MIN, PERSISTENT_MAX)

    def _amount(self, fault: Fault) -> int:
        match fault:
            case Fault.LOSS:
                return self.chance.randint(1, LOSS_MAX)
            case Fault.CLOCK:
                return self.chance.choice((-HOUR, HOUR))
            case Fault.STORM:
                return self.chance.randint(STORM_MIN, STORM_MAX)
            case _:
                return 0

    def _requests(self, length: float) -> list[Errand]:
        """Now and then one, or a pause with its resume."""
        found = []
        if self.chance.random() < 0.4:
            found.append(self._errand("switchover", length, self._maybe_named()))
        if self.chance.random() < 0.3:
            found.append(self._errand("ping", length))
        if self.chance.random() < 0.25:
            pause = self._errand("pause", length)
            found += [pause, self._errand("resume", length, begin=pause.at)]
        return found

    def _orders_in_calm(self) -> tuple[Errand, ...]:
        """At most one: the calm also has to show that nothing moves by itself."""
        if self.chance.random() > 0.3:
            return ()
        return (self._errand("switchover", 0.0, self._maybe_named()),)

    def _maybe_named(self) -> str:
        return self.chance.choice(["", STANDBY])

    def _errand(self, command: str, length: float, to: str = "", begin: float = 0.0) -> Errand:
        self.errands += 1
        at = round(self.chance.uniform(begin, max(begin, length)), 3)
        return Errand(self.errands, at, command, self.chance.choice([HOT, STANDBY]), to)
