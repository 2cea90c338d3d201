"""The verdict on one history: what the group promises, each promise a pure function.

A `Finding` with an excuse is no violation, but it is counted and shown: either the documents
name the case, or the machine itself was later than the promise allows for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise

from tests.campaign.history import Calm, Died, History, Suffered
from tests.campaign.ledger import Hot, value_at
from tests.campaign.plan import FREEZES, Fault

# Beyond this, two readings of one clock differ.
EPSILON = 1e-4
# A word on a topic comes that much later than the step that brought it about; a busy machine and
# a client's round trip, not a promise.
WORD_COMES_WITHIN = 1.0
# How long a process needs to say why it ends, and to end.
ENDS_WITHIN = 2.0
BY_ORDER = {"switchover", "promoted"}
ISOLATES = {Fault.POWER, Fault.CABLE, Fault.SILENCE}
PARTS_TWO = {
    Fault.POWER,
    Fault.CABLE,
    Fault.SILENCE,
    Fault.CUT,
    Fault.ONE_WAY_DROP,
    Fault.ONE_WAY_REJECT,
    Fault.LOSS,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that was not kept, when, and what excuses it ("" for nothing)."""

    check: str
    at: float
    text: str
    excuse: str = ""


Check = Callable[[History], list[Finding]]


def never_two_hot(history: History) -> list[Finding]:
    """No moment belongs to intervals of two nodes."""
    found = []
    for first, second in combinations(history.hots, 2):
        seconds = min(first.end, second.end) - second.start
        if first.node != second.node and seconds > EPSILON:
            text = (
                f"{first.node} (term {first.term}, {first.reason}) and {second.node} "
                f"(term {second.term}, {second.reason}) hot for {seconds * 1000:.1f} ms"
            )
            excuse = _excuse_for_two(history, first, second)
            found.append(Finding("never two hot", second.start, text, excuse))
    return found


def _excuse_for_two(history: History, first: Hot, second: Hot) -> str:
    end = min(first.end, second.end)
    if history.rules.policy == "availability" and _parted(history, second.start, end):
        return "policy availability: the link between the two was broken"
    if _frozen_and_reset(history, first, second.start):
        return "frozen and its connections reset by a third party (docs/protocol.md)"
    late = history.lateness(second.start - history.rules.lease, end, first.node)
    if second.reason == "died" and late > history.rules.fence_delay:
        return f"the agent that had lost its connections ran {late * 1000:.0f} ms late"
    return ""


def _parted(history: History, start: float, end: float) -> bool:
    """Something between the two nodes was broken, until they had time to meet again."""
    rules = history.rules
    meet = rules.reconnect + rules.claim_after
    return any(
        each.fault in PARTS_TWO
        and each.touches(*rules.nodes)
        and each.struck_at <= start
        and end <= each.ended_at + meet
        for each in history.suffered
    )


def _frozen_and_reset(history: History, first: Hot, at: float) -> bool:
    froze = [
        each
        for each in history.suffered
        if each.fault in FREEZES
        and each.target == first.node
        and each.struck_at <= at <= each.ended_at + history.rules.lease
    ]
    resets = {Fault.RESET, Fault.ONE_WAY_REJECT}
    return any(
        other.fault in resets
        and other.touches(first.node)
        and freeze.struck_at - history.rules.lease <= other.ended_at
        and other.struck_at <= at
        for freeze in froze
        for other in history.suffered
    )


def terms_grow(history: History) -> list[Finding]:
    """Whoever becomes hot later has the higher term. Two nodes that could not know of each other
    (policy availability) are no successors."""
    found = []
    hots = history.hots
    for index, hot in enumerate(hots):
        before = [
            each
            for each in hots[:index]
            if history.rules.policy != "availability" or each.node == hot.node
        ]
        last = max(before, key=lambda each: each.term, default=None)
        if last is None or hot.term > last.term or (last.node, last.term) == (hot.node, hot.term):
            continue
        text = f"{hot.node} became hot with term {hot.term} after {last.node} with {last.term}"
        found.append(Finding("terms grow", hot.start, text))
    return found


def no_lease_is_longer(history: History) -> list[Finding]:
    """At no moment may a core allow itself more than one lease ahead: it must renew."""
    return [
        Finding("lease", entry.at, f"{node} allowed itself {entry.until - entry.at:.3f} s")
        for node in history.notes
        for entry in history.entries(node)
        if entry.until > entry.at + history.rules.lease + EPSILON
    ]


def stops_when_cut_off(history: History) -> list[Finding]:
    """Without any connection to another machine a node is hot for one lease at most."""
    return [
        Finding("stops when cut off", hot.end, _cut_off_text(hot, cut))
        for cut in history.suffered
        if cut.fault in ISOLATES and cut.target in history.rules.nodes
        for hot in history.hots
        if hot.node == cut.target
        and hot.start < cut.ended_at
        and min(hot.end, cut.ended_at) > cut.began_at + history.rules.lease + EPSILON
    ]


def _cut_off_text(hot: Hot, cut: Suffered) -> str:
    seconds = min(hot.end, cut.ended_at) - cut.began_at
    return f"{hot.node} was hot {seconds:.3f} s after {cut.fault} had begun"


def connects_and_recovers_in_time(history: History) -> list[Finding]:
    """After calm the links stand within `reconnect`, then somebody is hot within the bound."""
    found = []
    for calm in history.calms:
        connected_at = _connected_at(history, calm)
        bound = max(calm.began_at, calm.brokers_at) + history.rules.reconnect
        found += _late_by("connects in time", calm, connected_at, bound, history)
        if connected_at <= calm.ended_at:
            begin = max(connected_at, _resumed_at(history, calm), _promoted_at(history, calm))
            bound = begin + history.rules.elects_within
            found += _late_by("recovers in time", calm, hot_at(history, begin), bound, history)
    return found


def _late_by(check: str, calm: Calm, at: float, bound: float, history: History) -> list[Finding]:
    if at <= bound or calm.ended_at <= bound:
        return []
    noise = history.lateness(calm.began_at, min(at, calm.ended_at), *history.rules.nodes)
    took = "not at all" if at > calm.ended_at else f"{at - bound:.3f} s too late"
    excuse = ""
    if at - bound <= noise:
        excuse = f"the machine was {noise * 1000:.0f} ms late"
    elif at <= calm.ended_at and noise > history.rules.lease / 2:
        excuse = f"the machine slept {noise:.2f} s, more than half a lease: a stall"
    return [Finding(check, bound, took, excuse)]


def _connected_at(history: History, calm: Calm) -> float:
    """When every node reached every broker, as its own core knew it."""
    brokers = len(history.rules.brokers)
    return max(
        (_first(history, node, calm.began_at, brokers) for node in history.rules.nodes),
        default=calm.began_at,
    )


def _first(history: History, node: str, begin: float, brokers: int) -> float:
    now = value_at(history.notes.get(node, ()), begin)
    if now is not None and now.connected >= brokers:
        return begin
    later = (e.at for e in history.entries(node) if e.at > begin and e.connected >= brokers)
    return next(later, float("inf"))


def _resumed_at(history: History, calm: Calm) -> float:
    """Until when somebody was paused, in this calm."""
    ends = [calm.began_at]
    for node in history.rules.nodes:
        paused_now = value_at(history.notes.get(node, ()), calm.began_at)
        if paused_now is not None and paused_now.paused:
            ends.append(_unpaused(history, node, calm.began_at))
    return max(ends)


def _promoted_at(history: History, calm: Calm) -> float:
    """Policy safety: nobody becomes hot before an operator says so."""
    orders = [
        each.sent_at
        for each in history.requests
        if each.command == "promote" and calm.began_at <= each.sent_at <= calm.ended_at
    ]
    return orders[-1] if orders else calm.began_at


def _unpaused(history: History, node: str, begin: float) -> float:
    later = (e.at for e in history.entries(node) if e.at > begin and not e.paused)
    return next(later, float("inf"))


def hot_at(history: History, begin: float) -> float:
    """The first moment from `begin` on at which somebody is hot."""
    starts = [max(hot.start, begin) for hot in history.hots if hot.end > begin]
    return min(starts, default=float("inf"))


def nothing_moves_in_calm(history: History) -> list[Finding]:
    """While the calm is held, the hot role moves by order only.

    What the last fault kept back may still end a lease that was renewed before it was over.
    """
    found = []
    for calm in history.calms:
        since = max(calm.hold_from, calm.began_at + history.rules.claim_after)
        inside = [hot for hot in history.hots if hot.end > since and hot.start <= calm.ended_at]
        for before, after in pairwise(inside):
            if after.reason not in BY_ORDER:
                excuse = _excuse_for_move(history, calm, after)
                text = f"{before.node} -> {after.node} ({after.reason}), without a fault"
                found.append(Finding("nothing moves in calm", after.start, text, excuse))
    return found


def _excuse_for_move(history: History, calm: Calm, after: Hot) -> str:
    """A switchover that was answered with `failed` moves the role as well: away and back."""
    failed = [
        each
        for each in history.responses
        if each.command == "switchover" and each.code == "failed"
        if calm.hold_from <= each.at and after.start - each.at < history.rules.reconnect
    ]
    if failed and after.reason in {"released", "returned"}:
        return "a switchover was ordered, and answered: failed"
    noise = history.lateness(calm.hold_from - 1, calm.ended_at, *history.rules.nodes)
    return f"the machine slept {noise:.2f} s: a stall" if noise > history.rules.lease / 2 else ""


def words_are_true(history: History) -> list[Finding]:
    """At the end of each calm every node's broker names the node that is hot."""
    found = []
    for calm in history.calms:
        hot = {each.node for each in history.hots if each.start < calm.ended_at < each.end}
        since = max((each.start for each in history.hots if each.node in hot), default=0.0)
        if len(hot) != 1 or since > calm.ended_at - WORD_COMES_WITHIN or _never_held(calm):
            continue
        for node in history.rules.nodes:
            said = [w.hot for w in history.words if w.via == node and w.at <= calm.ended_at]
            if said and {said[-1]} != hot:
                text = f"the broker of {node} says {said[-1]}, hot is {min(hot)}"
                found.append(Finding("words are true", calm.ended_at, text))
    return found


def _never_held(calm: Calm) -> bool:
    return calm.hold_from > calm.ended_at


def events_are_true(history: History) -> list[Finding]:
    """What the event topic tells of a new hot node did happen, with that term."""
    real = {(hot.node, hot.term) for hot in history.hots}
    kinds = {"elected", "failover", "switchover", "promoted"}
    return [
        Finding("events are true", told.at, f"{told.event} to {told.to}, term {told.term}")
        for told in history.told
        if told.event in kinds and (told.to, told.term) not in real
    ]


def nobody_ends_by_itself(history: History) -> list[Finding]:
    return [
        Finding(
            "nobody ends by itself",
            died.at,
            f"{died.node} ended with exit code {died.code}",
            _excuse_for_end(history, died),
        )
        for died in history.deaths
        if died.by_itself
    ]


def _excuse_for_end(history: History, died: Died) -> str:
    """A node that cannot start says so in one line and ends; its supervisor tries again."""
    own = [each for each in history.suffered if each.target == died.node]
    if any(_was_on(each, Fault.DISK_FULL, died.at) for each in own):
        return "its disk was full"
    is_starting = not _has_lived(history, died)
    if is_starting and any(_was_on(each, Fault.KILL_BROKER, died.at) for each in own):
        return "its broker was killed while it started"
    return ""


def _has_lived(history: History, died: Died) -> bool:
    """Its agent has begun: then the loss of the broker must not end it."""
    last = value_at(history.notes.get(died.node, ()), died.at)
    return last is not None and last.connected > 0


def _was_on(suffered: Suffered, fault: Fault, at: float) -> bool:
    """In force then, or so shortly before that a process may still be ending for it."""
    is_near = suffered.struck_at <= at <= suffered.ended_at + ENDS_WITHIN
    return suffered.fault is fault and is_near
