"""The other nodes: who lives, who is ready, who comes first, whose configuration differs."""

from collections import Counter
from math import inf

from edge.core import death
from edge.core.events import HeartbeatSeen, PeerSeen, WillSeen
from edge.core.model import Pause, Role
from edge.core.register import with_presence, with_will
from edge.core.state import (
    Peer,
    State,
    View,
    earliest,
    peer_of,
    view_of,
    with_peer,
    with_proof,
    with_term,
    with_view,
)
from edge.core.values import replace

HEALTHY = 200
# Of a healthy standby in a paused group.
MAINTENANCE = 0
# The node is there, but its duty fails on it.
UNFIT = 50


def with_word(state: State, event: PeerSeen) -> State:
    """A node's own state. A retained one may be from an earlier life: it shows no life."""
    peer = peer_of(state, event.node)
    if peer is None or (peer.boot == event.boot and event.version <= peer.version):
        return _with_life(state, event)
    if peer.has_stopped and peer.boot == event.boot:
        return state  # said before the good-bye, come over a slower path
    if event.retained and peer_lives(state, peer):
        return state
    fresh = replace(
        peer,
        boot=event.boot,
        sequence=peer.sequence if peer.boot == event.boot else -1,
        version=event.version,
        role=event.role,
        term=event.term,
        is_synchronised=event.is_synchronised,
        service_level=event.service_level,
        has_stopped=False,
    )
    state = with_term(with_peer(state, fresh), event.term)
    return _with_life(_with_readiness(state, fresh), event)


def _with_readiness(state: State, peer: Peer) -> State:
    is_ready = peer.role is Role.STANDBY and peer.is_synchronised
    since = min(peer.ready_since, state.now) if is_ready else inf
    return with_peer(state, replace(peer, ready_since=since))


def with_heartbeat(state: State, event: HeartbeatSeen) -> State:
    """Believed as a sign of life only when it is live, which a retained one is not.

    Its term counts all the same: a record that came late may stand on the register over that of
    the last hot node, but nobody writes over another node's heartbeat (docs/protocol.md, R19).
    """
    state = with_term(state, event.term)
    peer = peer_of(state, event.node)
    if peer is None:
        return _with_life(state, event)  # our own, come back: the session is not deaf
    if _is_news(state, peer, event):
        sequence = event.sequence if event.boot == peer.boot else -1
        state = with_peer(state, replace(peer, config=event.config, sequence=sequence))
    return _with_life(with_pause(state, event.pause), event)


def _is_news(state: State, peer: Peer, event: HeartbeatSeen) -> bool:
    """Counted anew in each life. Another life than that of the living peer's own word is over."""
    if event.boot == peer.boot:
        return event.sequence > peer.sequence
    return peer.boot == "" or not peer_lives(state, peer)


def with_pause(state: State, pause: Pause) -> State:
    """The newer order stands, wherever it was given."""
    if (pause.counter, pause.is_on) <= (state.pause.counter, state.pause.is_on):
        return state
    return replace(state, saved=replace(state.saved, pause=pause))


def with_good_bye(state: State, event: WillSeen) -> State:
    """A last will, or a node's own good-bye. One that was retained tells of the past."""
    view = view_of(state, event.link)
    peer = peer_of(state, event.node)
    if event.retained or view is None:
        return state
    state = with_view(state, with_will(view, event.node, event.session, now=state.now))
    if peer is None or not event.is_clean:
        return state
    return with_peer(state, replace(peer, has_stopped=True, ready_since=inf, hot_heard_at=-inf))


def _with_life(state: State, event: PeerSeen | HeartbeatSeen) -> State:
    """A live message proves that its sender lived a moment ago and knows our secret."""
    view = view_of(state, event.link)
    if event.retained or view is None:
        return state
    view = with_presence(view, event.node, event.session, now=state.now)
    state = with_view(state, view)
    peer = peer_of(state, event.node)
    if peer is None:
        return state
    return with_proof(with_peer(state, alive(peer, state.now)))


def alive(peer: Peer, now: float) -> Peer:
    if peer.role is Role.HOT:
        return replace(peer, heard_at=now, hot_heard_at=now)
    return replace(peer, heard_at=now)


def heard_record(state: State, node: str) -> State:
    """A live record is a sign of life too."""
    peer = peer_of(state, node)
    return state if peer is None else with_peer(state, alive(peer, state.now))


def peer_lives(state: State, peer: Peer, within: float | None = None) -> bool:
    limit = state.group.timing.lost_after if within is None else within
    return (
        state.now < peer.heard_at + limit
        and not peer.has_stopped
        and not death.is_silent(state, peer.name)
    )


def hot_peer(state: State) -> Peer | None:
    """The living peer that says that it is hot; of two, the one with the higher term."""
    hot = [
        peer
        for peer in state.peers
        if peer.role is Role.HOT and peer_lives(state, peer, state.group.timing.claim_after)
    ]
    return max(hot, key=lambda peer: peer.term, default=None)


def ready_peers(state: State, *, is_ordered: bool = False) -> list[Peer]:
    """Peers that could take over when they are told to, best first."""
    ready = [peer for peer in state.peers if not why_not_ready(state, peer, is_ordered=is_ordered)]
    return sorted(ready, key=lambda peer: _merit(state, peer), reverse=True)


def why_not_ready(state: State, peer: Peer, *, is_ordered: bool = False) -> str:
    """Empty if this peer can take over now, else the reason, for an operator. His own order is
    carried out in a paused group too (R26), where a healthy standby is in maintenance."""
    if not state.group.member(peer.name).can_be_hot:
        return "it is a witness and can never be hot"
    if not peer_lives(state, peer):
        return "it is not there"
    if peer.role is not Role.STANDBY:
        return f"it is {peer.role}, not standby"
    if not peer.is_synchronised:
        return "it is not synchronised"
    is_well_kept = is_ordered and state.pause.is_on and peer.service_level == MAINTENANCE
    if peer.service_level < HEALTHY and not is_well_kept:
        return f"its service level is {peer.service_level}, below {HEALTHY}"
    return ""


def _merit(state: State, peer: Peer) -> tuple[bool, bool, int, int, str]:
    """Best candidate: synchronised first, then fit, then priority, then health, then name."""
    priority, is_fit = state.group.member(peer.name).priority, peer.role is not Role.CRASHED
    return (peer.is_synchronised, is_fit, priority, peer.service_level, peer.name)


def betters(state: State) -> list[Peer]:
    """The living candidates that come before us; the silent last hot node is none of them."""
    candidates = [peer for peer in state.peers if _is_candidate(state, peer)]
    if not candidates:
        return []
    is_fit, priority = not state.unfit, state.me.priority
    level, name = service_level(state), state.me.name
    ours = (state.saved.was_synchronised, is_fit, priority, level, name)
    within = state.group.timing.claim_after
    return [
        peer
        for peer in candidates
        if _merit(state, peer) > ours and peer_lives(state, peer, within)
    ]


def _is_candidate(state: State, peer: Peer) -> bool:
    if peer.role is Role.FAULTY or (peer.role is Role.HOT and peer.name == state.last_hot):
        return False
    member = state.group.member(peer.name)
    return member.can_be_hot and member.priority > 0


def service_level(state: State) -> int:
    """OPC UA's one byte: 0 maintenance, 1 no data, 2-199 degraded, 200-255 healthy."""
    if state.unfit:
        return UNFIT
    if state.is_hot:
        return 255
    if state.role in {Role.FAULTY, Role.STARTING}:
        return 1
    brokers = {view.link.broker for view in state.views if view.subscribed_at < inf}
    if len(brokers) < state.group.quorum or state.now < settled_at(state):
        return 100
    if state.pause.is_on:
        return MAINTENANCE
    return 200 + 50 * len(brokers) // len(state.group.brokers)


def settled_at(state: State) -> float:
    """When this node can follow a release: its sessions with a majority are older than
    `claim_after` then (R11). A switchover to a node that has just come would have to wait."""
    youngest = sorted(earliest(state, _unbroken_since))[state.group.quorum - 1]
    return youngest + state.group.timing.claim_after


def _unbroken_since(view: View) -> float:
    """Since when this session has seen every record, or infinity."""
    return max(view.subscribed_at, view.gap_at)


def everybody_was_seen(state: State) -> bool:
    return all(
        peer.heard_at > -inf for peer in state.peers if state.group.member(peer.name).can_be_hot
    )


def why_faulty(state: State) -> str:
    """Empty, or why this node does not belong: its file or its secret disagrees with the group's.

    A hot node stays hot: its file is the group's, also after it has died. Where nobody was hot
    yet, it is the file that most living nodes hold; with a tie nobody becomes hot.
    """
    if state.is_hot:
        return ""
    refusing = _refusing_betters(state)
    if refusing:
        return f"the broker of {', '.join(refusing)} refuses this node's secret"
    if state.last_hot is not None:
        return _difference(state, [peer for peer in state.peers if peer.name == state.last_hot])
    living = [peer for peer in state.peers if peer.config and peer_lives(state, peer)]
    votes = Counter([state.config, *(peer.config for peer in living)])
    is_common = votes[state.config] * 2 > votes.total()
    return "" if is_common else _difference(state, living)


def _difference(state: State, others: list[Peer]) -> str:
    names = sorted([peer.name for peer in others if peer.config not in {"", state.config}])
    return f"its configuration differs from that of {', '.join(names)}" if names else ""


def _refusing_betters(state: State) -> list[str]:
    """Nodes that come before us and whose brokers refuse our secret, if nothing speaks for it.

    Two nodes that refuse each other cannot tell whose secret is wrong, but only one of them may
    carry on, and both know which: the better one. A secret that another node accepts, or that
    was good before, is right; that a witness accepts us says nothing, it may accept anybody.
    """
    if state.saved.secret_is_proven:
        return []
    members = {each.name: each for each in state.group.members if each.can_be_hot}
    if state.accepted_by & members.keys() - {state.me.name}:
        return []
    ours = (state.me.priority, state.me.name)
    refusing = [members[name] for name in state.denied_by if name in members]
    return sorted(each.name for each in refusing if (each.priority, each.name) > ours)
