"""Another machine under our name: a copied disk, or a wrong `--node`. Pure.

The rules keep such a node apart like any other (a record that this life did not send is another
node's, R6), but nobody could tell the two apart. A life is drawn at random when it begins, so only
a machine that lives now can answer ours: signs that do not are history, sent again by somebody.
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
    the lease, `answers` the other life that it heard."""

    boot: str
    beats: int = 0
    claims: bool = False
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Twin:
    """What is known of the other one; only an answer proves it."""

    boot: str
    last_at: float
    beats: int = 0
    claims: bool = False
    has_answered: bool = False

    def is_heard(self, now: float, timing: Timing) -> bool:
        return now - self.last_at <= timing.lost_after

    def is_proven(self, now: float, timing: Timing) -> bool:
        return self.has_answered and self.is_heard(now, timing)


NOBODY = Twin("", -inf)


def sign_of(event: Event, me: str, boot: str) -> Sign | None:
    """The sign that `event` is of another life of our name, or None. Retained ones are history."""
    match event:
        case HeartbeatSeen(node=node) if node == me and not event.retained:
            found = Sign(event.boot, event.sequence, answers=event.other_boot)
        case PeerSeen(node=node) if node == me and not event.retained:
            found = Sign(event.boot)
        case RecordSeen(record=record) if record.id.node == me and not event.retained:
            found = Sign(record.id.session.partition("-")[0], claims=True)
        case _:
            return None
    return None if found.boot == boot else found


def with_sign(twin: Twin, sign: Sign, boot: str, now: float, timing: Timing) -> Twin:
    """`boot` is our own life."""
    answers = sign.answers == boot
    if twin.boot != sign.boot or not twin.is_heard(now, timing):
        return Twin(sign.boot, now, sign.beats, sign.claims, answers)
    return replace(
        twin,
        last_at=now,
        beats=max(twin.beats, sign.beats),
        claims=twin.claims or sign.claims,
        has_answered=twin.has_answered or answers,
    )


def must_leave(twin: Twin, *, is_hot: bool, boot: str, beats: int) -> bool:
    """Which of the two goes: never the hot one because of one that is not, else the younger."""
    if is_hot != twin.claims:
        return twin.claims
    is_same_age = abs(twin.beats - beats) <= SAME_AGE or is_hot
    return boot > twin.boot if is_same_age else twin.beats > beats
