"""Who is hot, out of what several brokers say. Pure.

A broker's view names a hot node if its word `hot` does and that node's own state there agrees. The
highest term wins, and never one below what was believed before: that is a frozen node's old word.
What cannot be read changes nothing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import orjson

from edge.wire import PAYLOAD_MAX, TERM_MAX

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NOBODY = "none"
# So many nodes of one broker may say that they are hot; a flood of names costs no more memory.
CLAIMS_MAX = 64
REASON_MAX = 200


@dataclass(frozen=True, slots=True)
class Hot:
    """The hot node, the number of its tenure, and why it became hot."""

    node: str
    term: int
    reason: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A node's own word that it is hot; `session` is the one that said it."""

    hot: Hot
    session: str


@dataclass(frozen=True, slots=True)
class View:
    """What one broker says: whose it is, who is hot, and who says so of himself."""

    broker: str | None = None
    hot: str | None = None
    claims: Mapping[str, Claim] = field(default_factory=dict)


def absorb(view: View, place: str, payload: bytes) -> View:
    """The view after one message; `place` is the topic below edge/<group>/."""
    match place.split("/"):
        case ["broker"]:
            return replace(view, broker=_name(payload) or view.broker)
        case ["hot"]:
            word = _name(payload)
            return view if word is None else replace(view, hot=None if word == NOBODY else word)
        case ["node", node, "state"] if NAME.fullmatch(node):
            return _with_word(view, node, payload)
    return view


def named_hot(view: View) -> Hot | None:
    """Whom this broker names, if that node says the same there."""
    claim = view.claims.get(view.hot or "")
    return claim.hot if claim is not None else None


def believed(views: Iterable[View], floor: int) -> Hot | None:
    """The hot node of the highest term, if that is not below `floor`."""
    named = (each for each in map(named_hot, views) if each is not None and each.term >= floor)
    return max(named, key=lambda each: (each.term, each.node), default=None)


def _name(payload: bytes) -> str | None:
    try:
        word = payload[: PAYLOAD_MAX + 1].decode("ascii")
    except UnicodeDecodeError:
        return None
    return word if NAME.fullmatch(word) else None


def _with_word(view: View, node: str, payload: bytes) -> View:
    word = _word(payload)
    if word is None:
        return view
    session = word["session"]
    match word["state"]:
        case "online":
            return _with_claim(view, node, _claim(node, word))
        case "lost" | "stopped":
            # The will of an older session may come late; the newer one's word stands.
            known = view.claims.get(node)
            return view if known and known.session != session else _with_claim(view, node, None)
    return view


def _word(payload: bytes) -> dict[str, object] | None:
    if not payload or len(payload) > PAYLOAD_MAX:
        return None
    try:
        word = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return word if isinstance(word, dict) and _is_readable(word) else None


def _is_readable(word: Mapping[str, object]) -> bool:
    if not isinstance(word.get("session"), str):
        return False
    if word.get("state") != "online":
        return word.get("state") in ("lost", "stopped")  # a set would want it to be hashable
    term = word.get("term")
    is_natural = isinstance(term, int) and not isinstance(term, bool) and 0 <= term <= TERM_MAX
    return is_natural and isinstance(word.get("role"), str)


def _claim(node: str, word: Mapping[str, object]) -> Claim | None:
    if word["role"] != "hot":
        return None
    term, session = word["term"], word["session"]
    assert isinstance(term, int), "a readable word"
    assert isinstance(session, str), "a readable word"
    return Claim(Hot(node, term, str(word.get("reason", ""))[:REASON_MAX]), session)


def _with_claim(view: View, node: str, claim: Claim | None) -> View:
    others = {key: value for key, value in view.claims.items() if key != node}
    if claim is not None and len(others) < CLAIMS_MAX:
        others[node] = claim
    return replace(view, claims=others)
