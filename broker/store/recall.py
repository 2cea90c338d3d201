"""From what stands on disk to a router, and from a router to what is to stand there. Pure.

Durations go on while the broker is down, by the wall clock. Whoever was connected when it ended is
away from the restart on.
"""

import math
from collections.abc import Callable, Iterator

from broker.admission.access import Identity
from broker.protocol.fields import Reader
from broker.protocol.kinds import WILL
from broker.protocol.packets import Will
from broker.protocol.properties import read_properties
from broker.routing.changes import FOR_EVER, Stored, WillWaits
from broker.routing.journal import DiskJournal
from broker.routing.kept import KeptSession
from broker.routing.lane import Delivery
from broker.routing.messages import Message
from broker.routing.router import Router
from broker.routing.shared import SharedGroup
from broker.routing.subscriptions import Subscription
from broker.routing.terms import BEFORE_MQTT_5, Terms
from broker.store.memory import KnownSession, Memory, seconds_left

Identify = Callable[[str | None], Identity | None]


class Recall:
    """Fills a fresh router. `identify` knows the users and their rights of today."""

    def __init__(self, router: Router, journal: DiskJournal, wall: float) -> None:
        self._router = router
        self._journal = journal
        self._wall = wall
        self._messages: dict[int, Message] = {}

    def fill(self, memory: Memory, identify: Identify) -> None:
        self._journal.continue_after(memory.last_session, memory.last_message)
        seeded = {topic.encode() for topic, _ in self._router.settings.seed}
        for topic, stored in memory.retained.items():
            if topic not in seeded:
                self._router.recall_retained(self._message(stored))
        if self._journal.keeps_sessions:
            self._fill_sessions(memory, identify)
        self._journal.forget_others(memory.sessions)

    def _fill_sessions(self, memory: Memory, identify: Identify) -> None:
        """Those that have been away for longest come first, as they are the first to go."""
        of_clients = {each.began.client_id: each for each in memory.sessions.values()}
        for known in sorted(of_clients.values(), key=_left_at):
            user = known.began.user.decode() if known.began.has_user else None
            identity = identify(user)
            client_id = known.began.client_id.decode()
            if identity is None:
                owner = "anonymous clients" if user is None else user
                self._router.report(f"{client_id}: dropped, {owner} may not connect any more")
            else:
                self._session(client_id, known, identity)

    def _session(self, client_id: str, known: KnownSession, identity: Identity) -> None:
        router = self._router
        terms = Terms(is_5=True) if known.is_5 else BEFORE_MQTT_5
        session = router.recall_session(client_id, identity, _duration(known.seconds), terms)
        self._journal.know(session, known.began.session)
        groups: dict[bytes, SharedGroup] = {}
        for each in known.subscriptions.values():
            subscription = Subscription(each.options, each.identifier)
            group = router.recall_subscription(session, each.text.decode(), subscription)
            if group:
                groups[each.text] = group
        session.recall(self._deliveries(known, groups), known.unsent, known.received)
        if known.left is None:
            router.stay_away(session, session.expiry)
            self._journal.leave(session)
        else:
            router.stay_away(session, self._left(known.left.seconds, known.left.at))
        if known.will:
            left = self._left(known.will.seconds, known.will.at)
            router.recall_will(session, _will(known.will), left)

    def _deliveries(
        self, known: KnownSession, groups: dict[bytes, SharedGroup]
    ) -> Iterator[tuple[int, Delivery | None]]:
        """What was under way or waited."""
        for packet_id, found in known.deliveries.items():
            if found is None:
                yield packet_id, None
                continue
            queued, stored = found
            message, group = self._message(stored), groups.get(queued.group)
            _, _, _, qos, retain, identifiers, _ = queued
            yield packet_id, Delivery(message, qos, retain, identifiers, group, packet_id)

    def _message(self, stored: Stored) -> Message:
        known = self._messages.get(stored.number)
        if known is not None:
            return known
        message = self._router.make_message(stored.topic, stored.payload, stored.qos)
        message.forwarded, message.number = stored.forwarded, stored.number
        left = self._left(stored.seconds, stored.at)
        message.expires_at = self._router.agenda.now + left
        self._messages[stored.number] = message
        return message

    def _left(self, seconds: int, at: int) -> float:
        return seconds_left(seconds, at, self._wall)


def restate(router: Router, journal: DiskJournal) -> Iterator[None]:
    """Tell the journal everything again, in small steps between which everything may change."""
    journal.begin_again()
    for message in router.retained.walk("#"):
        if message is not None:
            journal.retain(message)
            journal.cut()
        yield
    for session in router.sessions:
        if isinstance(session, KeptSession) and journal.keeps(session):
            _restate_session(router, journal, session)
            journal.cut()  # one transaction: it begins by saying that what was known is void
            yield
    journal.complete()


def _restate_session(router: Router, journal: DiskJournal, session: KeptSession) -> None:
    session.restate()
    waiting = router.waiting_will(session.client_id)
    if waiting:
        journal.postpone_will(session, waiting.will, waiting.due_at - router.agenda.now)


def _left_at(known: KnownSession) -> float:
    return known.left.at if known.left else math.inf


def _duration(seconds: int) -> float:
    return math.inf if seconds == FOR_EVER else float(seconds)


def _will(found: WillWaits) -> Will:
    properties = read_properties(Reader(found.properties, 0, len(found.properties)), WILL)
    return Will(found.topic.decode(), found.payload, found.qos, found.retain, properties)
