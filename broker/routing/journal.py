"""What the broker's core tells whoever keeps things on disk: bytes gather, a shell writes. Pure.

`serial` counts the changes, `durable` is how far they are on disk. What a client is told about a
change waits until `durable` has reached it: `wait` asks to be woken then.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from broker.protocol.packets import Will
from broker.protocol.properties import write_properties
from broker.protocol.topics import covers
from broker.routing import changes
from broker.routing.changes import FOR_EVER, Change, encode
from broker.routing.subscriptions import Subscription
from broker.settings import BrokerSettings, Persistence

if TYPE_CHECKING:
    from broker.routing.lane import Delivery
    from broker.routing.messages import Message
    from broker.routing.session import Link, Session

# Topics of which is remembered whether they are kept.
REMEMBERED: Final = 4096


class Journal:
    """Of a broker that keeps nothing on disk."""

    def retain(self, message: "Message", *, is_kept: bool = True) -> None:
        """This message is retained now; one without payload, or without room, clears its topic."""

    def begin(self, session: "Session") -> None:
        """There is a session that is to be kept."""

    def resume(self, session: "Session") -> None:
        """Its client is back, perhaps with other terms."""

    def leave(self, session: "Session") -> None:
        """Its client is away."""

    def end(self, session: "Session") -> None:
        """The session is over."""

    def subscribe(self, session: "Session", text: str, subscription: Subscription) -> None:
        """This client has subscribed."""

    def unsubscribe(self, session: "Session", text: str) -> None:
        """And takes it back."""

    def postpone_will(self, session: "Session", will: Will, seconds: float) -> None:
        """This will is published later."""

    def drop_will(self, session: "Session") -> None:
        """It was published, or is not to be."""


class DiskJournal(Journal):
    """Of a broker that does. `now` is the clock of the core, `wall` is compared across restarts."""

    def __init__(
        self, settings: BrokerSettings, now: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self.keeps_sessions = settings.persistence is Persistence.ALL
        self.serial = 0
        self.durable = 0
        self.backlog = 0  # bytes that are not on disk yet
        self.on_change: Callable[[], None] = _nobody
        self.on_wait: Callable[[], None] = _nobody
        self._now = now
        self._wall = wall
        self._not_kept = settings.not_kept
        self._kept_topics: dict[str, bool] = {}
        self._numbers: dict[Session, int] = {}
        self._last_session = 0
        self._last_message = 0
        self._oldest_message = 1  # earlier ones stand in a file that is to go
        self._transaction: list[bytes] = []
        self._transactions: list[bytes] = []
        self._waiting: dict[Link, None] = {}

    # What the shell asks

    def continue_after(self, session: int, message: int) -> None:
        """Numbers that have been used already."""
        self._last_session, self._last_message = session, message

    def drain(self) -> list[bytes]:
        """The transactions since the last time."""
        self.cut()
        drained, self._transactions = self._transactions, []
        return drained

    def reach(self, serial: int, size: int) -> None:
        """Changes up to this one are on disk, another so many bytes of them."""
        self.durable = serial
        self.backlog -= size
        waiting, self._waiting = self._waiting, {}
        for link in waiting:
            link.wake()

    # What the core asks

    def cut(self) -> None:
        """What was emitted up to here is to be found together after a crash, or not at all."""
        if self._transaction:
            self._transactions.append(b"".join(self._transaction))
            self._transaction.clear()

    def wait(self, link: "Link") -> None:
        """Wake it when more is on disk."""
        self._waiting[link] = None
        self.on_wait()

    def keeps(self, session: "Session") -> bool:
        return session in self._numbers

    def records(self, session: "Session", delivery: "Delivery") -> bool:
        """At QoS 2 also what is not kept: its packet id must not come to mean something else."""
        if not delivery.qos or session not in self._numbers:
            return False
        return delivery.qos == 2 or self.keeps_topic(delivery.message.topic)

    def keeps_topic(self, topic: str) -> bool:
        known = self._kept_topics.get(topic)
        if known is None:
            if len(self._kept_topics) >= REMEMBERED:
                self._kept_topics.clear()
            known = topic[0] != "$" and not any(covers(each, topic) for each in self._not_kept)
            self._kept_topics[topic] = known
        return known

    # Retained messages

    def retain(self, message: "Message", *, is_kept: bool = True) -> None:
        if not self.keeps_topic(message.topic):
            return
        if message.payload and is_kept:
            self._store(message, is_retained=True)
        else:
            self._emit(changes.Cleared(message.topic.encode()))

    # Sessions

    def begin(self, session: "Session") -> None:
        if not self.keeps_sessions:
            return
        number = self._numbers.get(session)
        if number is None:
            self._last_session += 1
            number = self._last_session
        self.know(session, number)
        user = session.identity.user
        self._emit(
            changes.Began(
                number,
                session.terms.is_5,
                user is not None,
                _seconds(session.expiry),
                session.client_id.encode(),
                (user or "").encode(),
            )
        )

    def know(self, session: "Session", number: int) -> None:
        """A session that was found on disk has its number already."""
        self._numbers[session] = number

    def forget_others(self, found: Iterable[int]) -> None:
        """Sessions on disk that were not taken up now: nobody may do so later."""
        for number in sorted(set(found) - set(self._numbers.values())):
            self._emit(changes.Ended(number))

    def resume(self, session: "Session") -> None:
        if session.is_clean:  # it ends with its connection now, and that with this process
            self.end(session)
        elif session in self._numbers:  # also if nothing is new: the CONNACK waits for this, and
            seconds = _seconds(session.expiry)  # so for all that it finds under way and repeats
            self._emit(changes.Resumed(self._numbers[session], session.terms.is_5, seconds))

    def leave(self, session: "Session") -> None:
        if session in self._numbers:
            seconds = _seconds(session.ends_at - self._now())
            self._emit(changes.Left(self._numbers[session], seconds, int(self._wall())))

    def end(self, session: "Session") -> None:
        number = self._numbers.pop(session, None)
        if number is not None:
            self._emit(changes.Ended(number))

    def subscribe(self, session: "Session", text: str, subscription: Subscription) -> None:
        if session in self._numbers:
            number = self._numbers[session]
            self._emit(changes.Subscribed(number, *subscription, text.encode()))

    def unsubscribe(self, session: "Session", text: str) -> None:
        if session in self._numbers:
            self._emit(changes.Unsubscribed(self._numbers[session], text.encode()))

    def postpone_will(self, session: "Session", will: Will, seconds: float) -> None:
        if session in self._numbers:
            self._emit(
                changes.WillWaits(
                    self._numbers[session],
                    will.qos,
                    will.retain,
                    _seconds(seconds),
                    int(self._wall()),
                    will.topic.encode(),
                    will.payload,
                    write_properties(will.properties),
                )
            )

    def drop_will(self, session: "Session") -> None:
        if session in self._numbers:
            self._emit(changes.WillGone(self._numbers[session]))

    # Deliveries, of sessions that are kept

    def queue(self, session: "Session", delivery: "Delivery") -> int:
        """Returns the serial from which on it is safe to send this at QoS 2."""
        message, qos, retain, identifiers, group, packet_id = delivery
        number = self._numbers[session]
        if not self.keeps_topic(message.topic):
            self._emit(changes.Received(number, packet_id))
            return self.serial
        if message.number < self._oldest_message:
            self._store(message, is_retained=False)
        text = group.text.encode() if group else b""
        stored = changes.Queued(number, packet_id, message.number, qos, retain, identifiers, text)
        self._emit(stored)
        return self.serial

    def receive(self, session: "Session", packet_id: int) -> None:
        if session in self._numbers:
            self._emit(changes.Received(self._numbers[session], packet_id))

    def finish(self, session: "Session", packet_id: int) -> None:
        if session in self._numbers:
            self._emit(changes.Done(self._numbers[session], packet_id))

    def take_in(self, session: "Session", packet_id: int) -> None:
        if session in self._numbers:
            self._emit(changes.Incoming(self._numbers[session], packet_id))

    def release(self, session: "Session", packet_id: int) -> None:
        if session in self._numbers:
            self._emit(changes.Released(self._numbers[session], packet_id))

    # Everything again, into a new file

    def begin_again(self) -> None:
        """From here on no change refers to what was written before."""
        self._oldest_message = self._last_message + 1

    def complete(self) -> None:
        """What is alive has been written again."""
        self.cut()
        self._emit(changes.Complete())
        self.cut()

    # Bytes

    def _store(self, message: "Message", *, is_retained: bool) -> None:
        self._last_message += 1
        message.number = self._last_message
        self._emit(
            changes.Stored(
                message.number,
                message.qos,
                is_retained,
                _seconds(message.expires_at - self._now()),
                int(self._wall()),
                message.topic.encode(),
                message.payload,
                message.forwarded,
            )
        )

    def _emit(self, change: Change) -> None:
        data = encode(change)
        self._transaction.append(data)
        self.serial += 1
        self.backlog += len(data)
        self.on_change()


def _seconds(duration: float) -> int:
    """Whole ones, rather too long."""
    if duration == math.inf:
        return FOR_EVER
    return min(max(math.ceil(duration), 0), FOR_EVER - 1)


def _nobody() -> None:
    """Until the shell wants to know."""
