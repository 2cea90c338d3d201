"""What stands on disk, as a picture: apply the changes one after the other and look. Pure.

A change that belongs to something that is not there (because it was damaged) changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from broker.routing.changes import (
    FOR_EVER,
    Began,
    Change,
    Cleared,
    Complete,
    Done,
    Ended,
    Incoming,
    Left,
    Queued,
    Received,
    Released,
    Resumed,
    Stored,
    Subscribed,
    UnreadableError,
    Unsubscribed,
    WillGone,
    WillWaits,
    decode,
    encode,
)

# What a retained message takes on disk beside its texts.
OVERHEAD: Final = 48


@dataclass(slots=True)
class KnownSession:
    """One session. `left` is None if its client was connected, as far as is known."""

    began: Began
    is_5: bool
    seconds: int
    left: Left | None = None
    subscriptions: dict[bytes, Subscribed] = field(default_factory=dict)
    deliveries: dict[int, tuple[Queued, Stored] | None] = field(default_factory=dict)
    unsent: set[int] = field(default_factory=set)  # of those: they came while the client was away
    received: dict[int, None] = field(default_factory=dict)
    will: WillWaits | None = None


@dataclass(slots=True)
class Memory:
    """Everything that is to be there after a restart."""

    retained: dict[bytes, Stored] = field(default_factory=dict)
    sessions: dict[int, KnownSession] = field(default_factory=dict)
    last_session: int = 0
    last_message: int = 0
    unreadable: int = 0  # transactions that this version cannot read
    _messages: dict[int, Stored] = field(default_factory=dict)

    def size(self) -> int:
        """About how many bytes it takes on disk."""
        retained = sum(
            OVERHEAD + len(each.topic) + len(each.payload) for each in self.retained.values()
        )
        waiting = sum(
            OVERHEAD + len(found[1].topic) + len(found[1].payload)
            for session in self.sessions.values()
            for found in session.deliveries.values()
            if found
        )
        return retained + waiting + OVERHEAD * len(self.sessions)

    def apply_all(self, transactions: Iterable[bytes]) -> None:
        for each in transactions:
            try:
                found = decode(each)
            except UnreadableError:
                self.unreadable += 1
                continue
            for change in found:
                self.apply(change)

    def apply(self, change: Change) -> None:
        match change:
            case Stored():
                self._store(change)
            case Cleared(topic):
                self.retained.pop(topic, None)
            case Began():
                self.last_session = max(self.last_session, change.session)
                self.sessions[change.session] = KnownSession(change, change.is_5, change.seconds)
            case Ended(number):
                self.sessions.pop(number, None)
            case Complete():
                pass
            case _:
                session = self.sessions.get(change.session)
                if session is not None:
                    self._apply_to(session, change)

    def _store(self, message: Stored) -> None:
        self.last_message = message.number
        self._messages[message.number] = message
        if message.is_retained:
            self.retained[message.topic] = message

    def _apply_to(
        self,
        session: KnownSession,
        change: Resumed
        | Left
        | Subscribed
        | Unsubscribed
        | Queued
        | Received
        | Done
        | Incoming
        | Released
        | WillWaits
        | WillGone,
    ) -> None:
        match change:
            case Resumed(_, is_5, seconds):
                session.is_5, session.seconds, session.left = is_5, seconds, None
                session.unsent.clear()
            case Left():
                session.left = change
            case Subscribed():
                session.subscriptions[change.text] = change
            case Unsubscribed():
                session.subscriptions.pop(change.text, None)
            case WillWaits():
                session.will = change
            case WillGone():
                session.will = None
            case _:
                self._apply_id(session, change)

    def _apply_id(
        self, session: KnownSession, change: Queued | Received | Done | Incoming | Released
    ) -> None:
        packet_id = change.packet_id
        match change:
            case Queued():
                session.deliveries.pop(packet_id, None)  # used again: it is the last one now
                message = self._messages.get(change.message)
                if message is not None:
                    session.deliveries[packet_id] = change, message
                if session.left:
                    session.unsent.add(packet_id)
            case Received():
                session.deliveries[packet_id] = None
            case Done():
                session.deliveries.pop(packet_id, None)
            case Incoming():
                session.received[packet_id] = None
            case Released():
                session.received.pop(packet_id, None)


def is_complete(transaction: bytes) -> bool:
    """Whether this one says that no older file is needed."""
    return transaction == _COMPLETE


def seconds_left(seconds: int, at: int, wall: float) -> float:
    """Of a duration that began at `at`. A clock that was set back does not make it longer.

    Below 0 when it has passed.
    """
    if seconds == FOR_EVER:
        return float("inf")
    return seconds - max(wall - at, 0.0)


_COMPLETE: Final = encode(Complete())
