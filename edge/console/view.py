"""What a group's topics say, gathered into one value that can be shown. Pure.

Everything here comes from the network, so every field may be missing or of the wrong kind:
what cannot be read is left out, never an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson

EVENTS_KEPT = 6
NOBODY = "none"

# The topics below edge/<group>/ that a view is made of. Who subscribes to `state` after the
# others has received what is retained there when the state arrives.
FILTERS = ("hot", "history", "alert/+", "event", "node/+/state", "node/+/role")
LAST_FILTER = "state"


@dataclass(frozen=True, slots=True)
class GroupView:
    """The group as the asked node sees it."""

    state: Mapping[str, object] | None = None
    hot: str | None = None
    hot_words: tuple[str, ...] = ()  # the last ones, of which some may have passed unseen
    history: tuple[Mapping[str, object], ...] = ()
    events: tuple[Mapping[str, object], ...] = ()
    alerts: Mapping[str, str] = field(default_factory=dict)
    node_states: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)


def absorb(view: GroupView, place: str, payload: bytes) -> GroupView:
    """The view after one message; `place` is the topic below edge/<group>/."""
    kind, _, name = place.partition("/")
    match kind:
        case "state":
            return replace(view, state=mapping(payload) or view.state)
        case "hot":
            word = _word(payload)
            return replace(view, hot=word, hot_words=(*view.hot_words, word)[-EVENTS_KEPT:])
        case "history":
            return replace(view, history=_entries(payload))
        case "event":
            return replace(view, events=(*view.events, mapping(payload))[-EVENTS_KEPT:])
        case "alert":
            return replace(view, alerts=_changed(view.alerts, name, _word(payload)))
    return _absorb_member(view, place, payload)


def _absorb_member(view: GroupView, place: str, payload: bytes) -> GroupView:
    match place.split("/"):
        case ["node", name, "role"]:
            return replace(view, roles=_changed(view.roles, name, _word(payload)))
        case ["node", name, "state"]:
            states = {**view.node_states, name: mapping(payload)}
            return replace(view, node_states=states)
    return view


def mapping(payload: bytes) -> Mapping[str, object]:
    """A JSON object, or an empty one for anything else."""
    found = _json(payload)
    return found if isinstance(found, dict) else {}


def text(source: Mapping[str, object], key: str) -> str:
    """A field as text, empty if it is not there."""
    value = source.get(key)
    return "" if value is None else str(value)


def table(source: Mapping[str, object], key: str) -> Mapping[str, object]:
    """A field that is a JSON object, or an empty one."""
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def hot_node(view: GroupView) -> str | None:
    """Who is hot; the one-word topic is written first at a change, so it wins."""
    name = view.hot if view.hot is not None else text(view.state or {}, "hot")
    return None if name in {"", NOBODY} else name


def is_redundant(view: GroupView) -> bool:
    """Only if the state is about the node that is hot now: it arrives after the one word."""
    state = view.state or {}
    return state.get("redundant") is True and hot_node(view) == text(state, "hot")


def recent_events(view: GroupView) -> tuple[Mapping[str, object], ...]:
    """The last events, oldest first; what the history keeps is known also after a reconnect."""
    missed = [each for each in view.history if each not in view.events]
    return tuple(sorted((*missed, *view.events), key=lambda each: text(each, "at"))[-EVENTS_KEPT:])


def node_fields(view: GroupView, name: str) -> Mapping[str, object]:
    """All that is known of one member: its own words, then what the asked node makes of them."""
    state = view.state or {}
    seen = table(table(state, "nodes"), name)
    role = view.roles.get(name) or text(table(state, "witnesses"), name)
    return {**view.node_states.get(name, {}), **seen, **({"role": role} if role else {})}


def _json(payload: bytes) -> object:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None


def _entries(payload: bytes) -> tuple[Mapping[str, object], ...]:
    found = _json(payload)
    return (
        tuple(each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()
    )


def _word(payload: bytes) -> str:
    return payload.decode(errors="replace").strip()


def _changed(source: Mapping[str, str], name: str, word: str) -> Mapping[str, str]:
    """An empty retained message means that the topic was cleared."""
    if word:
        return {**source, name: word}
    return {key: value for key, value in source.items() if key != name}
