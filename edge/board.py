"""Keeps the node's retained topics true on every broker: says what changed, and everything again
after each connect, because a broker may have forgotten.

A node's own state goes to all brokers; what it sees of the group goes to its own broker, and, from
the hot node, to the witnesses that run no edge.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf

from edge.core import peers
from edge.core.effects import Effect, Publish
from edge.core.events import HeartbeatSeen
from edge.core.model import Link, Phase, Role
from edge.core.state import State
from edge.journal import now_text, readable_word
from edge.ports import Message, Path
from edge.views import (
    ALERTS,
    Picture,
    alerts,
    changes,
    is_redundant,
    outlook,
    take_picture,
)
from edge.wire import Key, Payload, Topics, encode, heartbeat_payload, seal

WITHOUT_DISK = 100


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks: constant for the life of the process."""

    node: str
    boot: str
    version: str
    has_duty: bool = False


class Board:
    """What the topics shall say. `links` are all paths of this node; `foreign` the witnesses that
    nobody else keeps up to date."""

    def __init__(
        self,
        identity: Identity,
        key: Key,
        topics: Topics,
        links: Mapping[Link, Path],
        foreign: frozenset[str],
        history: Callable[[], list[Payload]],
        on_alert: Callable[[str, str | None], None],
    ) -> None:
        self._identity = identity
        self._key = key
        self._topics = topics
        self._links = links
        self._foreign = foreign
        self._history = history
        self._on_alert = on_alert
        self._standing: dict[str, str] = {}
        self._sequence = 0
        self._beats = 0
        self._word: Payload = {}
        self._picture: Picture | None = None
        self._since = now_text()
        self._extra_alerts: dict[str, str] = {}
        self._previous_hot: str | None = None
        self._shown: dict[str, bytes] = {}
        self._words: dict[str, Payload] = {}
        self._has_new_words = False
        self._headless_since = inf
        self.last_switch: Payload = {}

    def will(self, link: Link, session: str) -> Message:
        """What the broker shall say when this session dies."""
        return self._own(link, {"state": "lost", "session": session})

    def heard(self, node: str, word: Payload) -> None:
        """A node's own words, for the details that only people need."""
        self._words[node] = readable_word(word)
        self._has_new_words = True

    def update(self, state: State) -> None:
        """Say what changed since the last call."""
        self._update_word(state)
        picture = self._patient(take_picture(state), state)
        if picture != self._picture or self._has_new_words:
            self._has_new_words = False
            self._tell_changes(self._picture, picture)
            was_hot = self._picture is not None and self._picture.hot == self._identity.node
            if self._picture is not None and self._picture.hot not in {None, picture.hot}:
                self._previous_hot = self._picture.hot
            self._picture = picture
            became_hot = picture.hot == self._identity.node and not was_hot
            self._show_changes(state, everything_to_foreign=became_hot)

    def _patient(self, picture: Picture, state: State) -> Picture:
        """That nobody is hot is alarming when it lasts; in every switchover it is true once."""
        if picture.hot is not None:
            self._headless_since = inf
            return picture
        self._headless_since = min(self._headless_since, state.now)
        lasts = state.now - self._headless_since >= state.group.timing.lease
        return replace(picture, is_headless=lasts)

    def _tell_changes(self, before: Picture | None, after: Picture) -> None:
        """Nodes that came or went, and alerts that began, as events."""
        if before is None:
            return
        for payload in changes(before, after):
            self.event({**payload, "at": now_text()})

    def alert(self, name: str, sentence: str | None, state: State) -> None:
        """Raise or withdraw an alert that is not the group's but this machine's."""
        if self._extra_alerts.get(name) == sentence:
            return
        self._extra_alerts.pop(name, None)
        if sentence is not None:
            self._extra_alerts[name] = sentence
        if self._picture is not None:
            self._show_changes(state)

    def show_history(self) -> None:
        self._show(self._topics.history, encode(self._history()))

    def repeat(self, link: Link) -> None:
        """Everything again on one path: its broker may have forgotten it."""
        self._publish_word(self._links[link])
        if link.broker in self._viewed():
            self._name_broker(self._links[link])
            for topic, payload in self._shown.items():
                self._links[link].publish(Message(topic, payload, retained=True))

    def repeat_word(self, link: Link) -> None:
        """Our own state again: somebody's old will stands where it should be."""
        self._publish_word(self._links[link])

    def beat(self, state: State, late_ms: int, other_boot: str) -> None:
        """Show on every path that we live, and whom else we heard under our name, if anybody."""
        self._beats += 1
        topic = self._topics.node_heartbeat(self._identity.node)
        for link in self._live_links():
            assert link.session is not None, "a live link has a session"
            beat = HeartbeatSeen(
                link=link.link,
                node=self._identity.node,
                session=link.session,
                boot=self._identity.boot,
                sequence=self._beats,
                config=state.config,
                pause=state.pause,
                term=state.term,
                other_boot=other_boot,
            )
            payload = seal(self._key, link.link.broker, topic, heartbeat_payload(beat, late_ms))
            link.publish(Message(topic, payload, retained=True))

    def event(self, payload: Payload) -> None:
        """Something happened: not retained, on the brokers whose view is ours."""
        for link in self._view_links():
            link.publish(Message(self._topics.event, encode(payload)))

    def say_good_bye(self) -> None:
        """A clean stop: another word than the will's."""
        for link in self._live_links():
            payload = {"state": "stopped", "session": link.session}
            link.publish(self._own(link.link, payload))

    def hot_word(self) -> tuple[str | None, int, Payload]:
        """The hot node, its term, and how it became hot in its own words, if they are known."""
        name = self._picture.hot if self._picture else None
        word = self._word if name == self._identity.node else self._words.get(name or "", {})
        switch: Payload = word.get("switch", {})
        return name, switch.get("term", 0), switch

    def describe(self, state: State) -> Payload:
        """The `state` topic's payload."""
        picture = self._picture or take_picture(state)
        hot_word = self._words.get(picture.hot or "", {})
        if picture.hot == self._identity.node:
            hot_word = self._word
        return {
            "hot": picture.hot,
            "term": picture.term,
            "since": hot_word.get("since", self._since),
            "reason": hot_word.get("reason", "") if picture.hot else "nobody is hot",
            "previous": hot_word.get("switch", {}).get("from") or self._previous_hot,
            "policy": state.group.policy,
            "votes": {"held": picture.votes, "needed": picture.needed, "of": picture.of},
            "redundant": is_redundant(picture) and not self._is_no_heir(state),
            "paused": picture.is_paused,
            "outlook": outlook(picture, state.group.policy),
            "nodes": {each.name: self._node(each.name, picture) for each in picture.nodes},
            "witnesses": {
                name: Role.WITNESS if name in picture.connected else Role.LOST
                for name in sorted(self._foreign)
            },
        }

    def _node(self, name: str, picture: Picture) -> Payload:
        node = next(each for each in picture.nodes if each.name == name)
        word = self._word if name == self._identity.node else self._words.get(name, {})
        lives = node.role not in {Role.LOST, Role.STOPPED}
        return {
            "role": node.role,
            "phase": word.get("phase", Phase.NONE) if lives else Phase.NONE,
            "reason": word.get("reason", "") if lives else "",
            "priority": node.priority,
            "service_level": node.service_level,
            "term": word.get("term", 0),
            "version": word.get("version", ""),
            "since": word.get("since", "") if lives else "",
        }

    def _update_word(self, state: State) -> None:
        """Our own state, if it differs from what was said last."""
        word: Payload = {
            "state": "online",
            "role": state.role,
            "phase": state.phase,
            "reason": state.reason,
            "term": state.tenure.term if state.tenure else state.term,
            "boot": self._identity.boot,
            "priority": state.me.priority,
            "service_level": self._service_level(state),
            "synchronised": state.saved.was_synchronised,
            "duty": self._duty_word(state),
            "paused": state.pause.is_on,
            "version": self._identity.version,
            "switch": self.last_switch if state.is_hot else {},
        }
        changed = {key for key, value in word.items() if self._word.get(key) != value}
        if not changed:
            return
        if "role" in changed:
            self._since = now_text()
        self._has_new_words = True
        self._sequence += 1
        self._word = {**word, "since": self._since, "seq": self._sequence}
        for link in self._live_links():
            self._publish_word(link)

    def _duty_word(self, state: State) -> str:
        if not self._identity.has_duty:
            return "none"
        if state.tenure is None:
            return "off"
        if state.phase is Phase.STOPPING_DUTY:
            return "stopping"
        return "starting" if state.phase is Phase.STARTING_DUTY else "on"

    def _service_level(self, state: State) -> int:
        level = peers.service_level(state)
        is_well = level >= peers.HEALTHY or level == peers.MAINTENANCE
        return WITHOUT_DISK if is_well and self._is_no_heir(state) else level

    def _is_no_heir(self, state: State) -> bool:
        """Without its disk this node does not claim."""
        return "disk" in self._extra_alerts and not state.is_hot

    def _publish_word(self, link: Path) -> None:
        if self._word and link.session is not None:
            link.publish(self._own(link.link, {**self._word, "session": link.session}))

    def _own(self, link: Link, payload: Payload) -> Message:
        topic = self._topics.node_state(self._identity.node)
        return Message(topic, seal(self._key, link.broker, topic, payload), retained=True)

    def _show_changes(self, state: State, *, everything_to_foreign: bool = False) -> None:
        """Bring the view topics up to date; an empty payload clears an alert that is over."""
        assert self._picture is not None, "a picture was taken"
        picture = self._picture
        if everything_to_foreign:
            self._shown.clear()
            self.show_history()
            for link in self._view_links():
                self._name_broker(link)
        self._show(self._topics.hot, (picture.hot or "none").encode())
        for each in picture.nodes:
            self._show(self._topics.node_role(each.name), each.role.encode())
        for name in self._foreign:
            role = Role.WITNESS if name in picture.connected else Role.LOST
            self._show(self._topics.node_role(name), role.encode())
        self._show_alerts({**alerts(picture), **self._extra_alerts})
        self._show(self._topics.state, encode(self.describe(state)))

    def _show_alerts(self, standing: dict[str, str]) -> None:
        for name in ALERTS:
            self._show(self._topics.alert(name), standing.get(name, "").encode())
            if standing.get(name) != self._standing.get(name):
                self._on_alert(name, standing.get(name))
        self._standing = standing

    def _show(self, topic: str, payload: bytes) -> None:
        if self._shown.get(topic) == payload:
            return
        self._shown[topic] = payload
        for link in self._view_links():
            link.publish(Message(topic, payload, retained=True))

    def _name_broker(self, link: Path) -> None:
        """Whose broker it is: a client knows addresses, which need not tell."""
        link.publish(Message(self._topics.broker, link.link.broker.encode(), retained=True))

    def _viewed(self) -> frozenset[str]:
        """The brokers on which the view is ours to write."""
        is_hot = self._picture is not None and self._picture.hot == self._identity.node
        return frozenset({self._identity.node}) | (self._foreign if is_hot else frozenset())

    def _view_links(self) -> Iterable[Path]:
        """One live path to each broker that shows our view."""
        chosen: dict[str, Path] = {}
        for link in self._live_links():
            chosen.setdefault(link.link.broker, link)
        return [link for broker, link in chosen.items() if broker in self._viewed()]

    def _live_links(self) -> list[Path]:
        return [link for link in self._links.values() if link.session is not None]


def may_show(before: State, after: State, effects: list[Effect]) -> bool:
    """Whether the topics could differ. Renewals come many times a second and show nothing."""
    if any(not isinstance(effect, Publish) for effect in effects):
        return True
    return (before.role, before.phase, before.peers, before.saved) != (
        after.role,
        after.phase,
        after.peers,
        after.saved,
    ) or len(before.views) != len(after.views)
