"""Messages that say only that their sender still lives: most of all that a node ever hears.

A heartbeat without news and a renewal by the known holder can only postpone what a standby might
do, and give a hot node nothing to do at all. So no rule has to be asked, as long as the instant for
which the core wanted to be woken has not come. tests/core/test_routine.py holds this to be so: the
rules, asked after each of them, want nothing and end with the very same state.
"""

from math import inf

from edge.core.events import HeartbeatSeen, PeerSeen, RecordSeen
from edge.core.lease import renewal_due_at
from edge.core.model import Kind
from edge.core.peers import alive
from edge.core.register import heard_again, presence_of
from edge.core.state import (
    Holder,
    Peer,
    Presence,
    State,
    View,
    peer_of,
    peers_with,
    view_of,
    views_with,
    with_view,
)
from edge.core.values import replace

Signs = HeartbeatSeen | PeerSeen | RecordSeen


def heard(state: State, event: Signs) -> State | None:
    """The state after a routine message, or None for one that the rules must look at."""
    view = view_of(state, event.link)
    if event.retained or view is None or not state.saved.secret_is_proven:
        return None
    if isinstance(event, HeartbeatSeen):
        return _after_heartbeat(state, view, event)
    if isinstance(event, PeerSeen):
        return _after_word(state, view, event)
    if state.tenure is None:
        return _after_renewal(state, view, event)
    return _after_echo(state, view, event)


def _after_heartbeat(state: State, view: View, event: HeartbeatSeen) -> State | None:
    if event.pause != state.saved.pause or event.term > state.saved.term:
        return None
    known = _lively_presence(state, view, event.node, event.session)
    if known is None:
        return None
    view = replace(view, presences=heard_again(view, known, state.now, 0))
    if event.node == state.me.name:
        return with_view(state, view)
    peer = _lively_peer(state, event.node)
    if peer is None or peer.boot != event.boot or peer.config != event.config:
        return None
    if event.sequence > peer.sequence:
        peer = replace(peer, sequence=event.sequence)
    return _with_life(state, view, peer)


def _after_word(state: State, view: View, event: PeerSeen) -> State | None:
    """A word comes over every broker: after the first time it is no news."""
    peer = _lively_peer(state, event.node)
    if peer is None or peer.boot != event.boot or event.version > peer.version:
        return None
    known = _lively_presence(state, view, event.node, event.session)
    if known is None:
        return None
    view = replace(view, presences=heard_again(view, known, state.now, 0))
    return _with_life(state, view, peer)


def _after_renewal(state: State, view: View, event: RecordSeen) -> State | None:
    """The hot node's, as a bystander sees it: to a claimant every foreign record is news."""
    record = event.record
    node, session, counter = record.id
    is_bystander = state.attempt is None and view.outstanding is None
    is_next = record.kind is Kind.RENEW and record.basis == view.tail
    if not (is_bystander and is_next and record.term == state.saved.term):
        return None
    holder = view.holder
    if node == state.me.name or holder is None or holder.is_assumed or holder.node != node:
        return None
    peer, known = _lively_peer(state, node), _lively_presence(state, view, node, session)
    if peer is None or known is None:
        return None
    view = replace(
        view,
        tail=record.id,
        holder=_holder(view, node, session),
        heard_other_at=state.now,
        held_until=-inf,
        presences=heard_again(view, known, state.now, counter),
    )
    return _with_life(state, view, peer)


def _after_echo(state: State, view: View, event: RecordSeen) -> State | None:
    """Our own renewal, come back: we hold for longer, and the next one has its time."""
    record, outstanding = event.record, view.outstanding
    if outstanding is None or outstanding.id != record.id or record.basis != view.tail:
        return None
    is_under_way = state.is_forced or state.handover or state.promotion
    if record.kind is not Kind.RENEW or is_under_way:
        return None
    known = _own_presence(state, view)
    if known is None:
        return None
    node, session, counter = record.id
    view = replace(
        view,
        tail=record.id,
        outstanding=None,
        held_until=outstanding.sent_at + state.group.timing.lease,
        holder=_holder(view, node, session),
        presences=heard_again(view, known, state.now, counter),
    )
    state = with_view(state, view)
    due_at = renewal_due_at(state, event.link.broker)
    return replace(state, wakeup_at=min(state.wakeup_at, due_at)) if due_at > state.now else None


def _with_life(state: State, view: View, peer: Peer) -> State:
    """The view, and the peer that was heard through it: one copy of the state for both."""
    peer = alive(peer, state.now)
    return replace(state, views=views_with(state, view), peers=peers_with(state, peer))


def _holder(view: View, node: str, session: str) -> Holder | None:
    """Over two paths it is now one session, now the other."""
    known = view.holder
    is_same = known is not None and known.session == session and known.node == node
    return known if is_same else Holder(node, session)


def _own_presence(state: State, view: View) -> Presence | None:
    """Our own session there, if the register is ours."""
    if view.holder is None or view.holder.is_assumed or view.holder.node != state.me.name:
        return None
    return _lively_presence(state, view, state.me.name, view.session)


def _lively_presence(state: State, view: View, node: str, session: str) -> Presence | None:
    """This session is known and was heard a moment ago: hearing it again changes no judgement
    about its node, about this link, or about who died."""
    presence = presence_of(view, node, session)
    if presence is None or presence.willed_at is not None:
        return None
    is_recent = state.now - presence.heard_at <= state.group.timing.deaf_after
    return presence if is_recent else None


def _lively_peer(state: State, node: str) -> Peer | None:
    """A retained record tells of a session, but not of a living node."""
    peer = peer_of(state, node)
    if peer is None or peer.has_stopped:
        return None
    return peer if state.now - peer.heard_at <= state.group.timing.deaf_after else None
