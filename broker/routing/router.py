"""Who gets what: sessions, subscriptions, retained messages. The one place that orders.

Pure. A message is routed completely before the next one is looked at, so every subscriber sees
the messages of a topic in one order, the publisher included.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Final, NamedTuple

from broker.admission.access import CompiledRole, Identity
from broker.admission.entrance import Entrance
from broker.admission.refusals import Limit, Refusals
from broker.protocol.fields import write_binary
from broker.protocol.packets import Will
from broker.protocol.properties import NO_EXTRAS, PublishExtras, write_forwarded
from broker.protocol.reasons import ReasonCode
from broker.routing.agenda import Agenda
from broker.routing.counters import Counters, Stock
from broker.routing.journal import DiskJournal, Journal
from broker.routing.kept import KeptSession
from broker.routing.messages import Message
from broker.routing.retained import Retained
from broker.routing.routes import Routes
from broker.routing.session import Session, Snapshot
from broker.routing.shared import SharedGroup
from broker.routing.subscriptions import Subscription, WantedFilter, grant, take_apart
from broker.routing.terms import Terms
from broker.settings import BrokerSettings

# A tenth of a turn is left to a publisher that fills a crowded queue.
CROWDED_WORK: Final = 9
# Answers of `publish` that are no amount of work.
FORBIDDEN: Final = -1
RESERVED: Final = -2
# Steps through the retained messages that a subscription takes at once: below a millisecond.
STEPS_AT_ONCE: Final = 500
# Sessions that are looked at in one turn when stock is taken: half a millisecond.
SESSIONS_AT_ONCE: Final = 250


class WaitingWill(NamedTuple):
    """MQTT 5: it is published at `due_at`, unless the client comes back before."""

    will: Will
    role: CompiledRole
    due_at: float


class Router:
    """The state of the whole broker. `report` takes one line for the log, and `report_client` one
    about a client that comes or goes."""

    def __init__(
        self,
        settings: BrokerSettings,
        report: Callable[[str], None],
        journal: Journal | None = None,
    ) -> None:
        self.report = report
        self.report_client = report if settings.log_clients else lambda _line: None
        self.settings = settings
        self.limits = settings.limits
        self.counters = Counters(refusals=Refusals(report))
        self.entrance = Entrance(settings.limits, self.counters.refusals)
        self.agenda = Agenda()
        self._sessions: dict[str, Session] = {}
        self._away: dict[str, Session] = {}  # those without a connection, longest away first
        self._wills: dict[str, WaitingWill] = {}  # by client id
        self.retained = Retained(settings.limits, self.agenda)
        self._routes = Routes(settings.limits, settings.urgent)
        self._journal = journal or Journal()
        for topic, payload in settings.seed:
            self.publish_own(topic, payload.encode())

    # Sessions

    def may_use(self, client_id: str, identity: Identity) -> bool:
        """A client id in use belongs to its user: nobody else may push that client out."""
        session = self._sessions.get(client_id)
        return session is None or session.link is None or _same_user(session, identity)

    def is_connected(self, client_id: str) -> bool:
        session = self._sessions.get(client_id)
        return session is not None and session.link is not None

    def open_session(
        self, client_id: str, identity: Identity, terms: Terms, *, is_clean: bool, expiry: float
    ) -> tuple[Session, bool]:
        """The session for a new connection, not attached yet, and whether it existed before.

        An older connection of the client ends first, with its will. `is_clean` starts afresh,
        `expiry` says how many seconds the session stays without a connection.
        """
        session = self._sessions.get(client_id)
        if session and session.link:
            session.link.take_over()
            session = self._sessions.get(client_id)
        if session and (is_clean or not _same_user(session, identity)):
            self._forget(session)
            session = None
        if session is None:
            return self._new_session(client_id, identity, terms, expiry), False
        self._resume(session)
        if session.identity.role is not identity.role or session.terms.is_5 != terms.is_5:
            self._routes.forget()
        session.identity, session.expiry, session.terms = identity, expiry, terms
        self._journal.resume(session)
        return session, True

    def _new_session(
        self, client_id: str, identity: Identity, terms: Terms, expiry: float
    ) -> Session:
        fresh = self._make_session(client_id, identity, is_kept=expiry > 0)
        fresh.expiry, fresh.terms = expiry, terms
        self._sessions[client_id] = fresh
        if expiry:
            self._journal.begin(fresh)
        return fresh

    def _make_session(self, client_id: str, identity: Identity, *, is_kept: bool) -> Session:
        journal = self._journal
        if is_kept and isinstance(journal, DiskJournal) and journal.keeps_sessions:
            return KeptSession(
                client_id, identity, self.limits, self.counters, self.agenda, journal
            )
        return Session(client_id, identity, self.limits, self.counters, self.agenda)

    def _resume(self, session: Session) -> None:
        """The client is back: a will that waited is not published any more."""
        client_id = session.client_id
        session.ends_at = math.inf
        self._away.pop(client_id, None)
        if self._wills.pop(client_id, None):
            self._journal.drop_will(session)
        self.agenda.cancel(("will", client_id))
        self.agenda.cancel(("session", client_id))

    def part(self, session: Session, will: Will | None, role: CompiledRole) -> None:
        """Its connection ended. A will without a delay comes at once, after it has left."""
        delay = min(will.properties.will_delay or 0, session.expiry) if will else 0
        if will and delay:
            self.postpone_will(session.client_id, will, role, delay)
        self.close_session(session)
        if will and not delay:
            self._publish_last(session.client_id, will, role, session)

    def _publish_last(
        self, client_id: str, will: Will, role: CompiledRole, sender: Session | None
    ) -> None:
        if not self.publish_will(will, role, sender):
            self.report(f"{client_id} may not publish its will to {will.topic}: dropped")

    def close_session(self, session: Session) -> None:
        """Its connection is gone."""
        session.detach()
        if session.is_clean:
            self._forget(session)
            return
        self.stay_away(session, session.expiry)
        self._journal.leave(session)
        if len(self._away) > self.limits.sessions:
            self._expire(next(iter(self._away.values())))

    def _expire(self, session: Session) -> None:
        self.counters.expired += 1
        self._forget(session)

    def stay_away(self, session: Session, seconds: float) -> None:
        """Its client is away, and it ends so many seconds from now."""
        self._away[session.client_id] = session
        session.ends_at = self.agenda.now + seconds
        if seconds < math.inf:
            key = ("session", session.client_id)
            self.agenda.set(key, session.ends_at, lambda: self._expire(session))

    def _forget(self, session: Session) -> None:
        client_id = session.client_id
        self._away.pop(client_id, None)
        self.agenda.cancel(("session", client_id))
        del self._sessions[client_id]
        for text in session.subscriptions:
            wanted = take_apart(text)
            assert wanted is not None
            self._routes.remove(wanted, session)
        for delivery in session.leave():
            message = delivery.message
            if delivery.group and message.expires_at > self.agenda.now:
                delivery.group.deliver(message, message.qos, retain=delivery.retain)
        self.publish_waiting_will(client_id)
        self._journal.end(session)

    def take_stock(self) -> Iterator[Stock | None]:
        """Looks at every session, with None after each some, and what was found at the end."""
        messages = size = subscriptions = 0
        for number, session in enumerate(tuple(self._sessions.values()), 1):
            if not number % SESSIONS_AT_ONCE:
                yield None
            subscriptions += len(session.subscriptions)
            messages += session.held_messages
            size += session.held_bytes
        shared, retained = self._routes.shared_count, self.retained.store
        yield Stock(
            away=len(self._away),
            subscriptions=subscriptions - shared,
            shared_subscriptions=shared,
            retained=retained.count,
            messages=messages + retained.count,
            bytes=size + retained.bytes,
        )

    # Subscriptions

    def subscribe(self, session: Session, text: str, subscription: Subscription) -> int:
        """Subscribe, hand out what is retained; MQTT 5's reason code for it."""
        wanted = take_apart(text)
        if (
            wanted is None
            or not wanted.is_valid(self.limits.topic_levels)
            or len(text.encode()) > self.limits.topic_bytes
        ):
            self.counters.denied += 1
            return ReasonCode.TOPIC_FILTER_INVALID
        is_new = text not in session.subscriptions
        if is_new and len(session.subscriptions) >= self.limits.subscriptions:
            self.counters.refusals.note(
                Limit.SUBSCRIPTIONS, session.client_id, "it has too many subscriptions"
            )
            return ReasonCode.QUOTA_EXCEEDED
        if not session.identity.role.may_subscribe(wanted.topic_filter):
            self.counters.denied += 1
            return ReasonCode.NOT_AUTHORIZED
        session.subscriptions[text] = subscription
        self._routes.add(wanted, session, subscription)
        self._journal.subscribe(session, text, subscription)
        handling = subscription.retain_handling
        if not wanted.share and (handling == 0 or (handling == 1 and is_new)):
            self._hand_out_retained(session, wanted, subscription)
        return subscription.qos

    def _hand_out_retained(
        self, session: Session, wanted: WantedFilter, subscription: Subscription
    ) -> None:
        """Now for the first steps; a large store is walked while the client reads.

        What changes in the store meanwhile is left out there, because it came live.
        """
        steps = self.retained.walk(wanted.topic_filter)
        first = tuple(islice(steps, STEPS_AT_ONCE))
        snapshot = Snapshot(chain(first, steps), grant((subscription,)), self.retained.serial)
        session.add_snapshot(wanted.topic_filter, snapshot)

    def unsubscribe(self, session: Session, text: str) -> int:
        """MQTT 5's reason code for it."""
        if text not in session.subscriptions:
            wanted = take_apart(text)
            is_valid = wanted is not None and wanted.is_valid(self.limits.topic_levels)
            return (
                ReasonCode.NO_SUBSCRIPTION_EXISTED if is_valid else ReasonCode.TOPIC_FILTER_INVALID
            )
        del session.subscriptions[text]
        self._journal.unsubscribe(session, text)
        wanted = take_apart(text)
        assert wanted is not None
        if not wanted.share:
            session.drop_snapshot(wanted.topic_filter)
        self._routes.remove(wanted, session)
        return ReasonCode.SUCCESS

    # Messages

    def publish(
        self,
        raw_topic: bytes,
        payload: bytes,
        first: int,
        role: CompiledRole,
        *,
        sender: Session | None = None,
        extras: PublishExtras = NO_EXTRAS,
    ) -> int:
        """A client's message. How much work it was, in deliveries; negative if it may not come.

        `first` is the packet's first byte, with QoS and retain. Filling a crowded queue counts as
        more work, so that the reader gets more turns.
        Raises MalformedPacketError for what is no topic.
        """
        route = self._routes.known.get(raw_topic) or self._routes.admit(raw_topic)
        if route.topic[0] == "$" or not role.may_publish(route.topic):
            self.counters.denied += 1
            return RESERVED if route.topic[0] == "$" else FORBIDDEN
        crowded = self.counters.crowded
        message = Message(
            route.topic, route.encoded, payload, first >> 1 & 3, is_urgent=route.is_urgent
        )
        if extras is not NO_EXTRAS:
            message.forwarded = extras.forwarded
            if extras.expiry is not None:
                message.expires_at = self.agenda.now + extras.expiry
        if first & 1:
            is_kept = self.retained.keep(message, always=role.unlimited)
            self._journal.retain(message, is_kept=is_kept)
        route.deliver(message)
        if route.special or route.groups:
            route.deliver_special(message, sender, retain=bool(first & 1))
        work = route.size
        return work if crowded == self.counters.crowded else work + CROWDED_WORK

    def require_small(self, will: Will) -> None:
        """Raises MalformedPacketError for a will whose topic is beyond the limits."""
        self._routes.require_small(will.topic.encode())

    def publish_will(self, will: Will, role: CompiledRole, sender: Session | None) -> bool:
        """A message like any other, by the client that left it and with its connection's rights."""
        first = will.qos << 1 | will.retain
        wanted = will.properties
        extras = PublishExtras(write_forwarded(wanted), wanted.message_expiry)
        work = self.publish(
            will.topic.encode(), will.payload, first, role, sender=sender, extras=extras
        )
        return work >= 0

    def postpone_will(self, client_id: str, will: Will, role: CompiledRole, delay: float) -> None:
        """MQTT 5: unless the client comes back in time, and at the latest when its session ends."""
        self._journal.postpone_will(self._sessions[client_id], will, delay)
        self._keep_will(client_id, will, role, delay)

    def _keep_will(self, client_id: str, will: Will, role: CompiledRole, delay: float) -> None:
        waiting = WaitingWill(will, role, self.agenda.now + delay)
        self._wills[client_id] = waiting
        key = ("will", client_id)
        self.agenda.set(key, waiting.due_at, lambda: self.publish_waiting_will(client_id))

    def publish_waiting_will(self, client_id: str) -> None:
        self.agenda.cancel(("will", client_id))
        waiting = self._wills.pop(client_id, None)
        if waiting is None:
            return
        session = self._sessions.get(client_id)
        if session:
            self._journal.drop_will(session)
        self._publish_last(client_id, waiting.will, waiting.role, session)

    def publish_own(self, topic: str, payload: bytes) -> None:
        """A retained message of the broker itself: it comes anew with each start."""
        route = self._routes.look_up(topic.encode())
        message = Message(route.topic, route.encoded, payload, 1, is_urgent=route.is_urgent)
        self.retained.keep(message, always=True)
        route.deliver(message)
        route.deliver_special(message, None, retain=True)

    # What is on disk

    @property
    def sessions(self) -> tuple[Session, ...]:
        return tuple(self._sessions.values())

    def waiting_will(self, client_id: str) -> WaitingWill | None:
        return self._wills.get(client_id)

    def make_message(self, raw_topic: bytes, payload: bytes, qos: int) -> Message:
        """One that was found on disk."""
        topic = raw_topic.decode()
        urgent = self._routes.is_urgent(topic)
        return Message(topic, write_binary(raw_topic), payload, qos, is_urgent=urgent)

    def recall_retained(self, message: Message) -> None:
        """It was retained before this start."""
        self.retained.keep(message, always=True)

    def recall_session(
        self, client_id: str, identity: Identity, expiry: float, terms: Terms
    ) -> KeptSession:
        session = self._make_session(client_id, identity, is_kept=True)
        assert isinstance(session, KeptSession)
        session.expiry, session.terms = expiry, terms
        self._sessions[client_id] = session
        return session

    def recall_subscription(
        self, session: Session, text: str, subscription: Subscription
    ) -> SharedGroup | None:
        """Unless the rules forbid it by now. The group if it is a shared one."""
        wanted = take_apart(text)
        if wanted is None or not session.identity.role.may_subscribe(wanted.topic_filter):
            return None
        session.subscriptions[text] = subscription
        self._routes.add(wanted, session, subscription)
        return self._routes.group(wanted)

    def recall_will(self, session: Session, will: Will, seconds: float) -> None:
        self._keep_will(session.client_id, will, session.identity.role, seconds)


def _same_user(session: Session, identity: Identity) -> bool:
    return session.identity.user == identity.user
