"""The words of the protocol: group, timing, records. Values only (docs/protocol.md, Members)."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple


class Role(StrEnum):
    HOT = "hot"
    STANDBY = "standby"
    STARTING = "starting"
    CRASHED = "crashed"
    FAULTY = "faulty"
    WITNESS = "witness"
    LOST = "lost"
    STOPPED = "stopped"


class Phase(StrEnum):
    NONE = "none"
    WAITING_HOT = "waiting_hot"
    ELECTION = "election"
    SYNCHRONISING = "synchronising"
    STARTING_DUTY = "starting_duty"
    STOPPING_DUTY = "stopping_duty"


class Policy(StrEnum):
    """What may happen when brokers are missing. MAJORITY and WITNESS decide alike."""

    MAJORITY = "majority"
    WITNESS = "witness"
    AVAILABILITY = "availability"
    SAFETY = "safety"


class Kind(StrEnum):
    CLAIM = "claim"
    RENEW = "renew"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Timing:
    """All times in seconds. `edge.settings` checks the laws between them."""

    heartbeat: float = 0.25
    lease: float = 1.0
    fence_delay: float = 0.1
    stagger: float = 0.15
    claim_timeout: float = 0.3
    backoff_min: float = 0.05
    backoff_max: float = 0.3
    reference_timeout: float = 1.0
    election: float = 7.0
    waiting_hot: float = 10.0
    starting_to_hot: float = 120.0
    preempt_delay: float = 30.0
    # Longer than the links take to find a peer again after a cable is back.
    reconnect: float = 3.0

    @property
    def claim_after(self) -> float:
        """Silence after which others may claim; covers clock rates that differ by up to 3 %.

        A holder whose clock runs 3 % slow holds for lease / 0.97 of true time; a claimant whose
        clock runs 3 % fast waits claim_after / 1.03. 1.1 > 1.03 / 0.97 = 1.062.
        """
        return 1.1 * self.lease + 0.02

    @property
    def presence_interval(self) -> float:
        """How often a node shows on the heartbeat topic that it lives; well below claim_after."""
        return self.lease / 2

    @property
    def reference_lasts(self) -> float:
        """How long an answer of a reference is believed. It may come up to a heartbeat after the
        last record that the other node heard: who is alone must be off before the other begins."""
        return min(self.reference_timeout, self.lease - self.heartbeat)

    @property
    def deaf_after(self) -> float:
        """A session that brought nothing for so long, not even our own heartbeat, is deaf: half a
        lease until that one is sent, a quarter until it is back."""
        return 0.75 * self.lease

    @property
    def lost_after(self) -> float:
        """Silence after which a peer is shown as lost. Decides nothing."""
        return 3 * self.lease


@dataclass(frozen=True)
class Member:
    """A configured node. `can_be_hot` is False for a witness that runs edge."""

    name: str
    priority: int
    can_be_hot: bool = True


@dataclass(frozen=True)
class Group:
    """The configuration as far as decisions need it; the same on every node.

    `brokers` are the names of all nodes and witnesses: whoever has a vote. `witnesses` are the
    brokers that no node owns.
    """

    name: str
    members: tuple[Member, ...]
    brokers: tuple[str, ...]
    policy: Policy
    timing: Timing = Timing()
    preempt: bool = False
    trust_will: bool = True
    wait_for_all: bool = False

    @cached_property
    def quorum(self) -> int:
        return len(self.brokers) // 2 + 1

    @cached_property
    def witnesses(self) -> frozenset[str]:
        return frozenset(self.brokers) - {each.name for each in self.members if each.can_be_hot}

    @cached_property
    def _by_name(self) -> dict[str, Member]:
        return {each.name: each for each in self.members}

    def member(self, name: str) -> Member:
        """Raises KeyError for a name that is not in the group: callers check at the edge."""
        return self._by_name[name]


class Link(NamedTuple):
    """One network path from this node to one broker."""

    broker: str
    path: int = 0


class RecordId(NamedTuple):
    """Unique for ever: a session is never reused and its counter only grows."""

    node: str
    session: str
    counter: int


@dataclass(frozen=True, slots=True)
class Record:
    """One compare-and-set on a register (docs/protocol.md, Records)."""

    id: RecordId
    basis: RecordId | None
    kind: Kind
    term: int
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Maintenance, as the group last agreed: the higher counter is the newer order."""

    counter: int = 0
    is_on: bool = False


@dataclass(frozen=True)
class Saved:
    """What must survive a power cut. Written before anything that depends on it goes out."""

    term: int = 0
    pause: Pause = Pause()
    secret_is_proven: bool = False
    was_synchronised: bool = True
