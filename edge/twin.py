"""Another machine under our name: a copied disk, or a wrong `--node`. Pure.

Two nodes of one name take each other's records for their own, so no register keeps them apart.
A live twin must be seen before either could claim: within `claim_after`, two signs of life.
"""

from dataclasses import dataclass, replace
from math import inf

from edge.core.events import Event, HeartbeatSeen, PeerSeen, RecordSeen
from edge.core.model import Timing

# Nodes whose heartbeats have counted about as far are of one age: then the boot id decides.
SAME_AGE = 4


@dataclass(frozen=True, slots=True)
class Sign:
    """A live message in our name. `beats` is the sender's age, `claims` whether it holds or wants
    the lease."""

    boot: str
    beats: int = 0
    claims: bool = False


@dataclass(frozen=True, slots=True)
class Twin:
    """What is known of the other one. A burst of old messages is no twin: signs must be apart."""

    boot: str
    first_at: float
    last_at: float
    beats: int = 0
    claims: bool = False

    def is_proven(self, now: float, timing: Timing) -> bool:
        is_apart = self.last_at - self.first_at >= timing.lease / 4
        return is_apart and now - self.last_at <= timing.lost_after


NOBODY = Twin("", inf, -inf)


def sign_of(event: Event, me: str, boot: str) -> Sign | None:
    """The sign that `event` is of another life of our name, or None. Retained ones are history."""
    match event:
        case HeartbeatSeen(node=node) if node == me and not event.retained:
            found = Sign(event.boot, event.sequence)
        case PeerSeen(node=node) if node == me and not event.retained:
            found = Sign(event.boot)
        case RecordSeen(record=record) if record.id.node == me and not event.retained:
            found = Sign(record.id.session.partition("-")[0], claims=True)
        case _:
            return None
    return None if found.boot == boot else found


def with_sign(twin: Twin, sign: Sign, now: float, timing: Timing) -> Twin:
    if twin.boot != sign.boot or now - twin.last_at > timing.lost_after:
        return Twin(sign.boot, now, now, sign.beats, sign.claims)
    beats = max(twin.beats, sign.beats)
    return replace(twin, last_at=now, beats=beats, claims=twin.claims or sign.claims)


def must_leave(twin: Twin, *, is_hot: bool, boot: str, beats: int) -> bool:
    """Which of the two goes: never the hot one because of one that is not, else the younger."""
    if is_hot != twin.claims:
        return twin.claims
    is_same_age = abs(twin.beats - beats) <= SAME_AGE or is_hot
    return boot > twin.boot if is_same_age else twin.beats > beats
