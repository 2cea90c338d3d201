"""The rule of the last will: when a holder is taken for dead without waiting for its lease."""

from math import inf

from edge.core.register import willed_at
from edge.core.state import State, View, views_of


def freed_at(state: State, view: View) -> float:
    """Rule 3 of *Claiming*: the holder is dead and `fence_delay` has passed, or infinity."""
    if view.holder is None or view.holder.is_assumed or view.holder.node == state.me.name:
        return inf  # somebody else may hold what a snapshot or a gap made us assume
    died_at = dead_since(state, view.holder.node)
    return inf if died_at is None else died_at + state.group.timing.fence_delay


def dead_since(state: State, node: str) -> float | None:
    """When the last of the wills that prove `node` dead was seen, or None.

    Within one `fence_delay` a majority of the brokers published its will, and its own broker
    published it too or our link there is lost. One reset connection therefore proves nothing.
    A sign of life after the wills, on any broker, says that they tell of sessions long replaced.
    """
    if not state.group.trust_will or not _has_will(state, node):
        return None
    wills = {
        broker: at
        for broker in state.group.brokers
        if (at := _willed_by(state, broker, node)) is not None
    }
    if node not in wills and views_of(state, node):
        return None
    window = state.group.timing.fence_delay
    died_at = _majority_at(sorted(wills.values()), state.group.quorum, window)
    return None if died_at is None or _lived_after(state, node, died_at) else died_at


def _has_will(state: State, node: str) -> bool:
    for view in state.views:
        for each in view.presences:
            if each.willed_at is not None and each.node == node:
                return True
    return False


def _lived_after(state: State, node: str, instant: float) -> bool:
    return any(
        each.node == node and each.willed_at is None and each.heard_at > instant
        for view in state.views
        for each in view.presences
    )


def _willed_by(state: State, broker: str, node: str) -> float | None:
    """All our sessions with a broker see the same; one of them that knows life is believed."""
    within = state.group.timing.claim_after
    views = views_of(state, broker)
    wills = [willed_at(view, node, now=state.now, within=within) for view in views]
    known = [at for at in wills if at is not None]
    return max(known) if known and len(known) == len(wills) else None


def _majority_at(times: list[float], quorum: int, window: float) -> float | None:
    """The earliest end of a window that holds a majority of the wills."""
    spans = zip(times, times[quorum - 1 :], strict=False)
    return next((last for first, last in spans if last - first <= window), None)


def is_silent(state: State, node: str) -> bool:
    """Every will of this node that we could know was published: it is gone, for display."""
    now, lost_after = state.now, state.group.timing.lost_after
    recent = [
        each.willed_at is not None
        for view in state.views
        for each in view.presences
        if each.node == node and now - each.heard_at <= lost_after
    ]
    return bool(recent) and all(recent)
