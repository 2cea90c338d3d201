"""Who gets what: sessions, subscriptions, retained messages. The one place that orders.

Pure. A message is routed completely before the next one is looked at, so every subscriber sees
the messages of a topic in one order, the publisher included.
"""

from collections.abc import Callable
from itertools import chain, islice
from typing import Final

from broker.access import CompiledRole, Identity
from broker.counters import Counters
from broker.fields import MalformedPacketError
from broker.messages import Message
from broker.packets import SUBSCRIPTION_REFUSED, Will, read_topic, text
from broker.session import Session, Snapshot
from broker.settings import BrokerSettings
from broker.topics import RetainedStore, SubscriptionTrie, covers, is_valid_filter

# A tenth of a turn is left to a publisher that fills a crowded queue.
CROWDED_WORK: Final = 9
# Steps through the retained messages that a subscription takes at once: below a millisecond.
STEPS_AT_ONCE: Final = 500
# Topics whose subscribers are remembered; when full, all are forgotten and looked up again.
ROUTES: Final = 4096


class Route:
    """What is known about a topic: its encoding and its subscribers, until either changes."""

    __slots__ = ("encoded", "is_urgent", "targets", "topic")

    def __init__(
        self, topic: str, targets: tuple[tuple[Session, int], ...], *, is_urgent: bool
    ) -> None:
        self.topic = topic
        self.encoded = text(topic)
        self.targets = targets
        self.is_urgent = is_urgent


class Router:
    """The state of the whole broker. `report` takes one line for the log."""

    def __init__(self, settings: BrokerSettings, report: Callable[[str], None]) -> None:
        self.report = report
        self.limits = settings.limits
        self.counters = Counters()
        self._urgent = settings.urgent
        self._sessions: dict[str, Session] = {}
        self._away: dict[str, Session] = {}  # those without a connection, longest away first
        self._subscriptions: SubscriptionTrie[Session] = SubscriptionTrie()
        self._retained: RetainedStore[Message] = RetainedStore(settings.limits.retained_messages)
        self._routes: dict[bytes, Route] = {}
        self._serial = 0
        for topic, payload in settings.seed:
            self.publish_own(topic, payload.encode())

    # Sessions

    def may_use(self, client_id: str, identity: Identity) -> bool:
        """A client id in use belongs to its user: nobody else may push that client out."""
        session = self._sessions.get(client_id)
        return session is None or session.link is None or _same_user(session, identity)

    def open_session(
        self, client_id: str, identity: Identity, *, is_clean: bool
    ) -> tuple[Session, bool]:
        """The session for a new connection, not attached yet, and whether it existed before.

        An older connection of the client ends first, with its will.
        """
        session = self._sessions.get(client_id)
        if session and session.link:
            session.link.take_over()
            session = self._sessions.get(client_id)
        if session and (is_clean or not _same_user(session, identity)):
            self._forget(session)
            session = None
        if session is None:
            fresh = Session(client_id, identity, self.limits, self.counters)
            fresh.is_clean = is_clean
            self._sessions[client_id] = fresh
            return fresh, False
        self._away.pop(client_id, None)
        if session.identity.role is not identity.role:
            self._routes.clear()
        session.identity = identity
        session.is_clean = is_clean
        return session, True

    def close_session(self, session: Session) -> None:
        """Its connection is gone."""
        session.detach()
        if session.is_clean:
            self._forget(session)
            return
        self._away[session.client_id] = session
        if len(self._away) > self.limits.sessions:
            self._forget(next(iter(self._away.values())))

    def _forget(self, session: Session) -> None:
        self._away.pop(session.client_id, None)
        del self._sessions[session.client_id]
        for topic_filter in session.subscriptions:
            self._subscriptions.remove(topic_filter, session)
        if session.subscriptions:
            self._routes.clear()

    # Subscriptions

    def subscribe(self, session: Session, topic_filter: str, qos: int) -> int:
        """Subscribe, hand out what is retained; the SUBACK's code for it."""
        if not self._is_allowed(session, topic_filter):
            self.counters.denied += 1
            return SUBSCRIPTION_REFUSED
        session.subscriptions[topic_filter] = qos
        self._subscriptions.add(topic_filter, session, qos)
        self._routes.clear()
        self._hand_out_retained(session, topic_filter, qos)
        return qos

    def _hand_out_retained(self, session: Session, topic_filter: str, qos: int) -> None:
        """Now for the first steps; a large store is walked while the client reads.

        What changes in the store meanwhile is left out there, because it came live.
        """
        steps = self._retained.walk(topic_filter)
        first = tuple(islice(steps, STEPS_AT_ONCE))
        session.add_snapshot(topic_filter, Snapshot(chain(first, steps), qos, self._serial))

    def _is_allowed(self, session: Session, topic_filter: str) -> bool:
        is_new = topic_filter not in session.subscriptions
        return (
            is_valid_filter(topic_filter, self.limits.topic_levels)
            and not (is_new and len(session.subscriptions) >= self.limits.subscriptions)
            and session.identity.role.may_subscribe(topic_filter)
        )

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        if topic_filter in session.subscriptions:
            del session.subscriptions[topic_filter]
            session.drop_snapshot(topic_filter)
            self._subscriptions.remove(topic_filter, session)
            self._routes.clear()

    # Messages

    def publish(
        self, raw_topic: bytes, payload: bytes, qos: int, role: CompiledRole, *, retain: bool
    ) -> int:
        """A client's message. How much work it was, in deliveries; -1 if its role may not.

        Filling a crowded queue counts as more work, so that the reader gets more turns: a fast
        publisher goes at the pace of a reader that reads, and one that does not hardly slows it.
        Raises MalformedPacketError for what is no topic.
        """
        route = self._routes.get(raw_topic)
        if route is None:
            route = self._add_route(raw_topic)
        if route.topic[0] == "$" or not role.may_publish(route.topic):
            self.counters.denied += 1
            return -1
        crowded = self.counters.crowded
        self._route(route, payload, qos, retain=retain)
        work = len(route.targets)
        return work if crowded == self.counters.crowded else work + CROWDED_WORK

    def publish_will(self, will: Will, role: CompiledRole) -> bool:
        """A will is a message like any other, with the rights of the connection that left it."""
        raw_topic = will.topic.encode()
        return self.publish(raw_topic, will.payload, will.qos, role, retain=will.retain) >= 0

    def publish_own(self, topic: str, payload: bytes) -> None:
        """A retained message of the broker itself."""
        raw_topic = topic.encode()
        route = self._routes.get(raw_topic) or self._add_route(raw_topic)
        self._route(route, payload, 1, retain=True)

    def _route(self, route: Route, payload: bytes, qos: int, *, retain: bool) -> None:
        message = Message(route.topic, route.encoded, payload, qos, is_urgent=route.is_urgent)
        if retain:
            self._retain(message)
        for session, granted in route.targets:
            session.deliver(message, min(qos, granted))

    def _retain(self, message: Message) -> None:
        self._serial += 1
        message.serial = self._serial
        if not message.payload:
            self._retained.clear(message.topic)
        elif not self._retained.put(message):
            self.counters.retained_refused += 1

    def _add_route(self, raw_topic: bytes) -> Route:
        topic = read_topic(raw_topic)
        if topic.count("/") >= self.limits.topic_levels:
            raise MalformedPacketError("a topic with too many levels")
        targets = tuple(
            (session, qos)
            for session, qos in self._subscriptions.match(topic).items()
            if session.identity.role.may_read(topic)
        )
        is_urgent = any(covers(each, topic) for each in self._urgent)
        route = Route(topic, targets, is_urgent=is_urgent)
        if len(self._routes) >= ROUTES:
            self._routes.clear()
        self._routes[raw_topic] = route
        return route


def _same_user(session: Session, identity: Identity) -> bool:
    return session.identity.user == identity.user
