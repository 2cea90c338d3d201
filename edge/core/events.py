"""What happened: the only inputs of the core. Past tense, complete when made."""

from dataclasses import dataclass

from edge.core.model import Link, Pause, Record, Role


@dataclass(frozen=True, slots=True)
class Woke:
    """The time that the core asked for has come."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A new session with a broker began; nothing is subscribed yet."""

    link: Link
    session: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker has handed out its retained messages; from here on every record is seen."""

    link: Link


@dataclass(frozen=True, slots=True)
class LinkLost:
    link: Link


@dataclass(frozen=True, slots=True)
class LinkDenied:
    """The broker answered that it does not accept our credentials."""

    link: Link


@dataclass(frozen=True, slots=True)
class RecordSeen:
    link: Link
    record: Record
    retained: bool = False


@dataclass(frozen=True, slots=True)
class StrangerSeen:
    """A record in our group's name without a valid mac stood on the register."""

    link: Link


@dataclass(frozen=True, slots=True)
class PeerSeen:
    """A node's own word about itself. `version` grows with each one of the same boot."""

    link: Link
    node: str
    session: str
    boot: str
    version: int
    role: Role
    term: int
    is_synchronised: bool
    service_level: int
    retained: bool = False


@dataclass(frozen=True, slots=True)
class HeartbeatSeen:
    link: Link
    node: str
    session: str
    boot: str
    sequence: int
    config: str
    pause: Pause
    retained: bool = False
    term: int = 0
    other_boot: str = ""  # of another life under this name that the sender heard


@dataclass(frozen=True, slots=True)
class WillSeen:
    """A broker published the last will of a session, or (`is_clean`) a node said good-bye."""

    link: Link
    node: str
    session: str
    is_clean: bool = False
    retained: bool = False


@dataclass(frozen=True, slots=True)
class NetworkChecked:
    """At least one reference answered, or none did."""

    is_reachable: bool


@dataclass(frozen=True, slots=True)
class DutyStarted:
    term: int


@dataclass(frozen=True, slots=True)
class DutyStopped:
    """The outputs are off: as ordered, or because they could not start or were withdrawn."""

    term: int


@dataclass(frozen=True, slots=True)
class FitnessChanged:
    """Whether this node can do its duty; `why_not` is empty if it can."""

    why_not: str


@dataclass(frozen=True, slots=True)
class SwitchJudged:
    """The answer to AskToSwitch; `why_not` is empty if the switchover may go on."""

    term: int
    why_not: str


@dataclass(frozen=True, slots=True)
class SwitchoverOrder:
    """Hand the hot role over, to the named node or to the best one."""

    to: str | None = None


@dataclass(frozen=True, slots=True)
class PromoteOrder:
    """Make this node hot although it would not become so by itself."""

    force: bool = False


@dataclass(frozen=True, slots=True)
class PauseOrder:
    is_on: bool


@dataclass(frozen=True, slots=True)
class StopOrder:
    """Leave the group in order: hand over, then stop."""


Order = SwitchoverOrder | PromoteOrder | PauseOrder | StopOrder


@dataclass(frozen=True, slots=True)
class Ordered:
    """An operator's order; `ticket` comes back in the Answer."""

    order: Order
    ticket: int


Event = (
    Woke
    | LinkUp
    | Subscribed
    | LinkLost
    | LinkDenied
    | RecordSeen
    | StrangerSeen
    | PeerSeen
    | HeartbeatSeen
    | WillSeen
    | NetworkChecked
    | DutyStarted
    | DutyStopped
    | FitnessChanged
    | SwitchJudged
    | Ordered
)
