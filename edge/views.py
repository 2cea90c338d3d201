"""What this node sees of the group, as the retained topics show it. Pure.

A `Picture` is taken after every step that may have changed something; the payloads are made from
it only when it differs from the last one.
"""

from dataclasses import dataclass

from edge.core import lease, peers
from edge.core.model import Policy, Role
from edge.core.state import Peer, State


@dataclass(frozen=True, slots=True)
class NodePicture:
    name: str
    role: Role
    priority: int
    service_level: int


@dataclass(frozen=True, slots=True)
class Picture:
    """The group in one comparable value. `votes` are those that the hot node holds, as seen;
    `is_headless` says that nobody is hot, and for longer than a switchover takes."""

    hot: str | None
    term: int
    reason: str
    votes: int
    needed: int
    of: int
    is_paused: bool
    nodes: tuple[NodePicture, ...]
    connected: frozenset[str]
    is_headless: bool = False

    @property
    def ready(self) -> tuple[str, ...]:
        """The standbys that can take over now, best first."""
        able = [
            each
            for each in self.nodes
            if each.role is Role.STANDBY and each.service_level >= peers.HEALTHY
        ]
        able.sort(key=lambda each: (each.priority, each.service_level, each.name), reverse=True)
        return tuple(each.name for each in able)


def take_picture(state: State) -> Picture:
    hot = peers.hot_peer(state)
    name = state.me.name if state.is_hot else (hot.name if hot else None)
    connected = frozenset(view.link.broker for view in state.views if view.is_subscribed)
    return Picture(
        hot=name,
        term=state.tenure.term if state.tenure else (hot.term if hot else state.term),
        reason=state.tenure.reason if state.tenure else state.reason,
        votes=_votes(state, name),
        needed=state.group.quorum,
        of=len(state.group.brokers),
        is_paused=state.pause.is_on,
        nodes=_nodes(state, connected),
        connected=connected,
        is_headless=name is None,
    )


def _votes(state: State, hot: str | None) -> int:
    if state.is_hot:
        return lease.votes_held(state)
    holders = {
        view.link.broker
        for view in state.views
        if view.holder is not None
        and view.holder.node == hot
        and state.now - view.heard_other_at <= state.group.timing.claim_after
    }
    return len(holders)


def _nodes(state: State, connected: frozenset[str]) -> tuple[NodePicture, ...]:
    return tuple(_node(state, each.name, connected) for each in state.group.members)


def _node(state: State, name: str, connected: frozenset[str]) -> NodePicture:
    member = state.group.member(name)
    if name == state.me.name:
        level = peers.service_level(state)
        return NodePicture(name, state.role, member.priority, level)
    peer = next(each for each in state.peers if each.name == name)
    if not member.can_be_hot:
        role = Role.WITNESS if name in connected else Role.LOST
        return NodePicture(name, role, 0, 0)
    role = _peer_role(state, peer)
    lives = role not in {Role.LOST, Role.STOPPED}
    return NodePicture(name, role, member.priority, peer.service_level if lives else 0)


def _peer_role(state: State, peer: Peer) -> Role:
    if peer.has_stopped:
        return Role.STOPPED
    if not peers.peer_lives(state, peer):
        return Role.LOST
    if peer.role is Role.HOT and not peers.peer_lives(state, peer, state.group.timing.claim_after):
        return Role.LOST
    return peer.role


def is_redundant(picture: Picture) -> bool:
    """The hot node or any one broker may fail, and somebody takes over by himself."""
    return (
        picture.hot is not None
        and bool(picture.ready)
        and not picture.is_paused
        and picture.votes >= min(picture.needed + 1, picture.of)
        and len(picture.connected) == picture.of
    )


def outlook(picture: Picture, policy: Policy) -> dict[str, str]:
    """What would happen now, in plain words, for three faults."""
    return {
        "hot_dies": _if_hot_dies(picture, policy),
        "standby_dies": _if_standby_dies(picture, policy),
        "link_breaks": _if_link_breaks(picture, policy),
    }


def _if_hot_dies(picture: Picture, policy: Policy) -> str:
    if picture.hot is None:
        return "nobody is hot"
    if picture.is_paused:
        return "nobody takes over: the group is paused"
    if not picture.ready:
        return "nobody takes over: no standby is ready"
    return _heir_takes_over(picture, policy, picture.ready[0])


def _heir_takes_over(picture: Picture, policy: Policy, heir: str) -> str:
    if policy is Policy.SAFETY:
        return f"nobody takes over by itself: an operator must promote {heir}"
    if policy is Policy.AVAILABILITY:
        return f"{heir} takes over, if it still reaches a reference"
    # The dead node's broker dies with it, so the others must be a majority without it.
    if len(picture.connected - {picture.hot}) < picture.needed:
        return f"nobody takes over: {heir} would not reach {picture.needed} of {picture.of} brokers"
    return f"{heir} takes over"


def _if_standby_dies(picture: Picture, policy: Policy) -> str:
    if picture.hot is None:
        return "nobody is hot"
    if policy is Policy.SAFETY:
        return f"{picture.hot} stops: with one of two brokers nobody may be hot by itself"
    if policy is Policy.AVAILABILITY:
        return f"{picture.hot} stays hot while it reaches a reference, without redundancy"
    others = len([each for each in picture.ready if each != picture.hot])
    if others and len(picture.connected) - 1 < picture.needed:
        return f"{picture.hot} stops: it would hold fewer than {picture.needed} votes"
    return f"{picture.hot} stays hot" + ("" if others > 1 else ", without redundancy")


def _if_link_breaks(picture: Picture, policy: Policy) -> str:
    if picture.hot is None:
        return "nobody is hot"
    if policy is Policy.SAFETY:
        return f"{picture.hot} stops, nobody takes over by itself"
    if policy is Policy.AVAILABILITY:
        return (
            f"{picture.hot} stays hot; if both nodes still reach a reference, both become hot "
            "until they meet again"
        )
    if picture.votes <= picture.needed - 1:
        return f"{picture.hot} stops: it holds {picture.votes} of {picture.of} votes"
    return f"{picture.hot} stays hot as long as it keeps {picture.needed} of {picture.of} votes"


def alerts(picture: Picture) -> dict[str, str]:
    """Every condition that somebody should look at; each id stands while its condition lasts."""
    found: dict[str, str] = {}
    if picture.is_headless:
        found["no_hot"] = "Nobody is hot."
    elif picture.hot is not None and not picture.ready:
        found["no_standby"] = "No standby is ready to take over."
    if picture.is_paused:
        found["paused"] = "The group is paused: nobody takes over by itself."
    for each in picture.nodes:
        if each.role is Role.FAULTY:
            found["faulty"] = f"{each.name} is faulty; its own state says why."
    gone = [each.name for each in picture.nodes if each.role is Role.LOST]
    if gone:
        found["lost"] = f"Not there: {', '.join(gone)}."
    return found


def changes(before: Picture, after: Picture) -> list[dict[str, str]]:
    """What the event topic says about the difference: who came, who went, what is alarming."""
    was_here = {each.name: is_here(each.role) for each in before.nodes}
    found = [
        {"event": "joined" if is_here(each.role) else "lost", "node": each.name, "role": each.role}
        for each in after.nodes
        if was_here.get(each.name) != is_here(each.role)
    ]
    standing = alerts(before)
    return found + [
        {"event": "alert", "alert": name, "reason": sentence}
        for name, sentence in alerts(after).items()
        if name not in standing
    ]


def is_here(role: Role) -> bool:
    return role not in {Role.LOST, Role.STOPPED}


# Every id that may stand, so that one left by an earlier writer of the same broker is cleared.
ALERTS = (
    "no_hot",
    "no_standby",
    "paused",
    "faulty",
    "lost",
    "bad_messages",
    "broker",
    "certificate",
    "disk",
    "duty",
    "guard",
    "not_yet",
    "same_name",
)
