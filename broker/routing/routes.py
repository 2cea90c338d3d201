"""Who gets the messages of a topic, worked out once and remembered until it changes. Pure."""

from typing import Final

from broker.protocol.codec import read_topic
from broker.protocol.fields import MalformedPacketError, write_text
from broker.protocol.reasons import ReasonCode
from broker.protocol.topics import SubscriptionTrie, covers
from broker.routing.lane import Delivery
from broker.routing.messages import Message
from broker.routing.session import Session
from broker.routing.shared import SharedGroup
from broker.routing.subscriptions import SHARE_PREFIX, Grant, Subscription, WantedFilter, grant
from broker.settings import Limits

# Topics whose subscribers are remembered; when full, all are forgotten and looked up again.
ROUTES: Final = 4096


class Route:
    """What is known about a topic: its encoding and its subscribers, until either changes.

    `targets` get what comes in the short way, `special` have wishes: what MQTT 5 brought. `size`
    counts all of them.
    """

    __slots__ = ("encoded", "groups", "is_urgent", "size", "special", "targets", "topic")

    def __init__(self, topic: str, *, is_urgent: bool) -> None:
        self.topic = topic
        self.encoded = write_text(topic)
        self.is_urgent = is_urgent
        self.size = 0
        self.targets: dict[int, list[Session]] = {}  # by QoS
        self.special: list[tuple[Session, Grant, Grant | None]] = []
        self.groups: list[SharedGroup] = []

    def deliver(self, message: Message) -> None:
        """To the targets; those with the same QoS share what they remember of it."""
        qos = message.qos
        for granted, sessions in self.targets.items():
            delivery = Delivery(message, qos if qos < granted else granted)  # noqa: FURB136 - cheaper
            for session in sessions:
                session.deliver(delivery)

    def deliver_special(self, message: Message, sender: Session | None, *, retain: bool) -> None:
        qos = message.qos
        for session, from_others, from_itself in self.special:
            granted = from_itself if session is sender else from_others
            if granted:
                keeps = retain and granted.keeps_retain
                identifiers = granted.identifiers
                session.deliver_any(Delivery(message, min(qos, granted.qos), keeps, identifiers))
        for group in self.groups:
            group.deliver(message, qos, retain=retain)


class Routes:
    """All subscriptions, and the routes that follow from them."""

    def __init__(self, limits: Limits, urgent: tuple[str, ...]) -> None:
        self._limits = limits
        self._urgent = urgent
        self._trie: SubscriptionTrie[Session | SharedGroup, Subscription] = SubscriptionTrie()
        self._groups: dict[tuple[str, str], SharedGroup] = {}
        self.known: dict[bytes, Route] = {}

    def admit(self, raw_topic: bytes) -> Route:
        """For a client's topic that is not in `known`. Raises MalformedPacketError for what is none
        and for what is beyond the limits."""
        self.require_small(raw_topic)
        return self.look_up(raw_topic)

    def look_up(self, raw_topic: bytes) -> Route:
        """The same without limits, for the broker's own topics."""
        topic = read_topic(raw_topic)
        route = Route(topic, is_urgent=self.is_urgent(topic))
        for subscriber, found in self._trie.match(topic).items():
            _add_target(route, subscriber, found)
        plain = sum(map(len, route.targets.values()))
        route.size = plain + len(route.special) + len(route.groups)
        if len(self.known) >= ROUTES:
            self.known.clear()
        self.known[raw_topic] = route
        return route

    def require_small(self, raw_topic: bytes) -> None:
        """Raises MalformedPacketError for a topic beyond the limits: each is remembered."""
        if raw_topic.count(b"/") >= self._limits.topic_levels:
            problem = "a topic with too many levels"
        elif len(raw_topic) > self._limits.topic_bytes:
            problem = "a topic that is too long"
        else:
            return
        raise MalformedPacketError(problem, ReasonCode.TOPIC_NAME_INVALID)

    def is_urgent(self, topic: str) -> bool:
        return bool(self._urgent) and any(covers(each, topic) for each in self._urgent)

    def forget(self) -> None:
        """Something changed on which routes depend."""
        self.known.clear()

    def add(self, wanted: WantedFilter, session: Session, subscription: Subscription) -> None:
        if not wanted.share:
            self._trie.add(wanted.topic_filter, session, subscription)
            self.known.clear()
            return
        key = (wanted.share, wanted.topic_filter)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = SharedGroup(
                f"{SHARE_PREFIX}{wanted.share}/{wanted.topic_filter}"
            )
            self._trie.add(wanted.topic_filter, group, subscription)
            self.known.clear()
        group.members[session] = grant((subscription,))

    def remove(self, wanted: WantedFilter, session: Session) -> None:
        if not wanted.share:
            self._trie.remove(wanted.topic_filter, session)
            self.known.clear()
            return
        key = (wanted.share, wanted.topic_filter)
        group = self._groups[key]
        del group.members[session]
        if not group.members:
            del self._groups[key]
            self._trie.remove(wanted.topic_filter, group)
            self.known.clear()

    @property
    def shared_count(self) -> int:
        """Of subscriptions."""
        return sum(len(each.members) for each in self._groups.values())

    def group(self, wanted: WantedFilter) -> SharedGroup | None:
        """The members of a shared subscription."""
        return self._groups.get((wanted.share, wanted.topic_filter))

    def is_empty(self) -> bool:
        return self._trie.is_empty()


def _add_target(route: Route, subscriber: Session | SharedGroup, found: list[Subscription]) -> None:
    if isinstance(subscriber, SharedGroup):
        route.groups.append(subscriber)
    elif not subscriber.identity.role.may_read(route.topic):
        return
    elif subscriber.terms.is_5:
        local = [each for each in found if not each.is_no_local]
        route.special.append((subscriber, grant(found), grant(local) if local else None))
    else:
        qos = max(each.qos for each in found)
        route.targets.setdefault(qos, []).append(subscriber)
