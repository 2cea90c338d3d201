"""Canonical values for the exhaustive exploration: two worlds that can never differ are one.

Instants are made relative to the present, old ones are drawn together as far as no rule can tell,
what only tells people something is blanked, and the counters of records become ranks.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import fields
from functools import cache, partial
from math import inf
from operator import is_
from typing import Any

from edge.core.model import (
    Group,
    Kind,
    Link,
    Member,
    Pause,
    Phase,
    Policy,
    RecordId,
    Role,
    Timing,
)
from edge.core.state import Attempt, Presence, State, Tenure
from edge.core.values import replace

# No rule of a group with a majority compares two instants that are further apart than a wait for a
# claim; two that are further apart may as well be exactly this many leases apart. (`lost_after` is
# longer and decides nothing here, where nobody gives orders.) Two brokers without a witness also
# wait for the end of a handover.
LONGEST_DISTANCE = 1.5
LONGEST_DISTANCE_ALONE = 3.5

# What to put in the place of a part, by the part's class.
Changes = dict[type, Callable[[Any], Any]]
# The session's node, its whole name; counters are compared within a session only.
Owner = tuple[str, str]
Ranks = dict[Owner, dict[int, int]]

# What has no instants inside, and no counters but those that a change names.
_LEAVES = frozenset(
    {str, int, bool, float, type(None), frozenset, Role, Phase, Policy, Kind}
    | {Group, Member, Timing, Pause, Link, RecordId}
)


def rebuilt(value: Any, changes: Changes) -> Any:  # noqa: ANN401  any value of the core
    """A copy of `value` in which `changes` has replaced every part whose class it names.

    What did not change is not copied.
    """
    kind = value.__class__
    change = changes.get(kind)
    if change is not None:
        return change(value)
    if kind in _LEAVES:
        return value
    if kind is tuple:
        copies = [rebuilt(each, changes) for each in value]
        is_same = all(map(is_, copies, value))
        return value if is_same else tuple(copies)
    changed = {}
    for name in _names(kind):
        part = getattr(value, name)
        copy = rebuilt(part, changes)
        if copy is not part:
            changed[name] = copy
    return _with(value, changed) if changed else value


@cache
def _names(kind: type) -> tuple[str, ...]:
    if issubclass(kind, tuple):
        return tuple(kind._fields)  # type: ignore[attr-defined]
    return tuple(each.name for each in fields(kind))  # type: ignore[arg-type]


def _with(value: Any, changed: dict[str, Any]) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return value._replace(**changed)  # type: ignore[attr-defined]
    has_slots = not hasattr(value, "__dict__")
    return dataclasses.replace(value, **changed) if has_slots else replace(value, **changed)


def aged(state: State, elapsed: float) -> State:
    """The same memory, `elapsed` seconds later; the present is always instant 0."""
    return canonical(rebuilt(state, {float: partial(_earlier, elapsed=elapsed)}))


def _earlier(instant: float, *, elapsed: float) -> float:
    return instant - elapsed


def canonical(state: State) -> State:
    """The one state that stands for all that decide alike."""
    state = _blank(state)
    is_alone = state.group.policy is Policy.AVAILABILITY
    distance = LONGEST_DISTANCE_ALONE if is_alone else LONGEST_DISTANCE
    state = _drawn_together(state, distance * state.group.timing.lease)
    views = [
        replace(view, presences=tuple(sorted(view.presences, key=_session_of)))
        for view in state.views
    ]
    return replace(state, views=tuple(views), last_sent=tuple(sorted(state.last_sent)))


def _session_of(presence: Presence) -> Owner:
    return presence.node, presence.session


def _blank(state: State) -> State:
    """Without what decides nothing: when the last step was, the dice, the words for people.

    `started_at` counts for `wait_for_all` alone, `since` only until the duty has started.
    """
    if not state.group.wait_for_all:
        state = replace(state, started_at=-inf)
    if state.attempt is not None:
        state = replace(state, attempt=_blank_attempt(state.attempt))
    if state.tenure is not None:
        state = replace(state, tenure=_blank_tenure(state.tenure))
    return replace(state, now=0.0, jitter=0.0, reason="")


def _blank_attempt(attempt: Attempt) -> Attempt:
    return replace(attempt, noticed_at=0.0, reason="", origin=None)


def _blank_tenure(tenure: Tenure) -> Tenure:
    tenure = replace(tenure, noticed_at=0.0, claimed_at=0.0, reason="", origin=None)
    if tenure.duty_started_at is None:
        return tenure
    return replace(tenure, since=0.0, duty_started_at=0.0)


def _drawn_together(state: State, distance: float) -> State:
    """Instants of the past, each gap between neighbours at most `distance`.

    Every comparison of the core is `one instant + constant <= another`, the constant no longer
    than `distance`: a longer gap than that answers each of them as this one does.
    """
    instants: set[float] = set()
    rebuilt(state, {float: partial(_collect, found=instants)})
    past = [each for each in instants if -inf < each < 0.0]
    if not past or min(past) >= -distance:
        return state
    moved: dict[float, float] = {}
    above, moved_above = 0.0, 0.0
    for instant in sorted(past, reverse=True):
        moved_above -= min(above - instant, distance)
        above = instant
        moved[instant] = moved_above
    if all(instant == each for instant, each in moved.items()):
        return state
    return rebuilt(state, {float: partial(_moved, moved=moved)})  # type: ignore[no-any-return]


def _collect(part: Any, *, found: set[Any]) -> Any:  # noqa: ANN401
    found.add(part)
    return part


def _moved(instant: float, *, moved: dict[float, float]) -> float:
    return moved.get(instant, instant)


def counters(value: Any) -> frozenset[tuple[Owner, int]]:  # noqa: ANN401
    """Every record that `value` knows of, as its session and counter."""
    found: set[RecordId | Presence] = set()
    collect = partial(_collect, found=found)
    rebuilt(value, {RecordId: collect, Presence: collect})
    return frozenset(((each.node, each.session), each.counter) for each in found if each.counter)


def ranks_of(known: set[tuple[Owner, int]]) -> Ranks:
    """Counters are only compared within their session, so that their order is all that counts."""
    by_owner: dict[Owner, set[int]] = {}
    for owner, counter in known:
        by_owner.setdefault(owner, set()).add(counter)
    return {
        owner: {counter: rank for rank, counter in enumerate(sorted(found), 1)}
        for owner, found in by_owner.items()
    }


def renumbered(value: Any, ranks: Ranks) -> Any:  # noqa: ANN401
    """The same value with ranks for counters. A node's next record comes after all of its own."""

    def change(part: RecordId | Presence) -> Any:  # noqa: ANN401
        if not part.counter:
            return part
        rank = ranks[part.node, part.session][part.counter]
        return part if rank == part.counter else _with(part, {"counter": rank})

    value = rebuilt(value, {RecordId: change, Presence: change})
    return _recounted(value, ranks) if isinstance(value, State) else value


def _recounted(state: State, ranks: Ranks) -> State:
    own = [max(found.values()) for (node, _), found in ranks.items() if node == state.me.name]
    return replace(state, counter=max(own, default=0))
