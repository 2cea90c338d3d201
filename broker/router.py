"""Who gets what: sessions, subscriptions, retained messages. The one place that orders.

Pure. A message is routed completely before the next one is looked at, so every subscriber sees
the messages of a topic in one order, the publisher included.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Final

from broker.access import CompiledRole, Identity
from broker.agenda import Agenda
from broker.counters import Counters, Stock
from broker.entrance import Entrance
from broker.messages import Message
from broker.packets import Will
from broker.properties import NO_EXTRAS, PublishExtras, write_forwarded
from broker.reasons import ReasonCode
from broker.refusals import Limit, Refusals
from broker.routes import Routes
from broker.session import Session, Snapshot
from broker.settings import BrokerSettings
from broker.subscriptions import Subscription, WantedFilter, grant, take_apart
from broker.terms import Terms
from broker.topics import RetainedStore

# A tenth of a turn is left to a publisher that fills a crowded queue.
CROWDED_WORK: Final = 9
# Answers of `publish` that are no amount of work.
FORBIDDEN: Final = -1
RESERVED: Final = -2
# Steps through the retained messages that a subscription takes at once: below a millisecond.
STEPS_AT_ONCE: Final = 500
# Sessions that are looked at in one turn when stock is taken: half a millisecond.
SESSIONS_AT_ONCE: Final = 250


class Router:
    """The state of the whole broker. `report` takes one line for the log, and `report_client` one
    about a client that comes or goes."""

    def __init__(self, settings: BrokerSettings, report: Callable[[str], None]) -> None:
        self.report = report
        self.report_client = report if settings.log_clients else _nobody
        self.settings = settings
        self.limits = settings.limits
        self.counters = Counters(refusals=Refusals(report))
        self.entrance = Entrance(settings.limits, self.counters.refusals)
        self.agenda = Agenda()
        self._sessions: dict[str, Session] = {}
        self._away: dict[str, Session] = {}  # those without a connection, longest away first
        self._wills: dict[str, tuple[Will, CompiledRole]] = {}  # those that wait, by client id
        self._retained: RetainedStore[Message] = RetainedStore(
            settings.limits.retained_messages, settings.limits.retained_bytes, _retained_cost
        )
        self._routes = Routes(settings.limits, settings.urgent)
        self._serial = 0
        self.was_retained = True  # the last message that asked for it
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
            fresh = Session(client_id, identity, self.limits, self.counters, self.agenda)
            fresh.expiry, fresh.terms = expiry, terms
            self._sessions[client_id] = fresh
            return fresh, False
        self._resume(client_id)
        if session.identity.role is not identity.role or session.terms.is_5 != terms.is_5:
            self._routes.forget()
        session.identity, session.expiry, session.terms = identity, expiry, terms
        return session, True

    def _resume(self, client_id: str) -> None:
        """The client is back: a will that waited is not published any more."""
        self._away.pop(client_id, None)
        self._wills.pop(client_id, None)
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
        self._away[session.client_id] = session
        if session.expiry < math.inf:
            self.agenda.set(
                ("session", session.client_id),
                self.agenda.now + session.expiry,
                lambda: self._expire(session),
            )
        if len(self._away) > self.limits.sessions:
            self._expire(next(iter(self._away.values())))

    def _expire(self, session: Session) -> None:
        self.counters.expired += 1
        self._forget(session)

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

    def take_stock(self) -> Iterator[Stock | None]:
        """Looks at every session, with None after each some, and what was found at the end."""
        messages = size = subscriptions = 0
        for number, session in enumerate(tuple(self._sessions.values()), 1):
            if not number % SESSIONS_AT_ONCE:
                yield None
            subscriptions += len(session.subscriptions)
            messages += session.held_messages
            size += session.held_bytes
        shared, retained = self._routes.shared_count, self._retained
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
        steps = self._retained.walk(wanted.topic_filter)
        first = tuple(islice(steps, STEPS_AT_ONCE))
        snapshot = Snapshot(chain(first, steps), grant((subscription,)), self._serial)
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
        more work, so that the reader gets more turns: a fast publisher goes at the pace of a
        reader that reads, and one that does not hardly slows it.
        Raises MalformedPacketError for what is no topic.
        """
        route = self._routes.known.get(raw_topic) or self._routes.look_up(raw_topic)
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
            self._retain(message, always=role.unlimited)
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
        self._wills[client_id] = will, role
        self.agenda.set(
            ("will", client_id),
            self.agenda.now + delay,
            lambda: self.publish_waiting_will(client_id),
        )

    def publish_waiting_will(self, client_id: str) -> None:
        self.agenda.cancel(("will", client_id))
        waiting = self._wills.pop(client_id, None)
        if waiting:
            self._publish_last(client_id, *waiting, self._sessions.get(client_id))

    def publish_own(self, topic: str, payload: bytes) -> None:
        """A retained message of the broker itself."""
        route = self._routes.look_up(topic.encode())
        message = Message(route.topic, route.encoded, payload, 1, is_urgent=route.is_urgent)
        self._retain(message, always=True)
        route.deliver(message)
        route.deliver_special(message, None, retain=True)

    def _retain(self, message: Message, *, always: bool) -> None:
        self._serial += 1
        message.serial = self._serial
        topic = message.topic
        self.was_retained = True
        if message.payload:
            self.was_retained = self._retained.put(message, always=always)
        else:
            self._retained.clear(topic)
        if message.expires_at < math.inf and message.payload and self.was_retained:
            self.agenda.set(
                ("retained", topic), message.expires_at, lambda: self._retained.clear(topic)
            )
        else:
            self.agenda.cancel(("retained", topic))


def _nobody(_line: str) -> None:
    """Where clients that come and go are no lines in the log."""


def _retained_cost(message: Message) -> int:
    """The topic is there as text and as bytes."""
    return message.cost() + 2 * len(message.encoded_topic)


def _same_user(session: Session, identity: Identity) -> bool:
    return session.identity.user == identity.user
