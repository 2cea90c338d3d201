"""What holds in a router at any time, and what is left of it when everybody has gone."""

from broker.connections.connection import Connection
from broker.protocol.codec import encode
from broker.protocol.packets import Connect, Plain
from broker.protocol.topics import RetainedStore
from broker.routing.lane import Lane
from broker.routing.messages import Message
from broker.routing.session import URGENT_EXTRA, Session
from broker.settings import Limits
from tests.fuzz.client import require
from tests.fuzz.world import World


def check_bounds(world: World) -> None:
    router, limits = world.router, world.settings.limits
    sessions = router._sessions
    require(len(router._away) <= limits.sessions, "sessions of clients that are away are bounded")
    require(set(router._away) <= set(sessions), "who is away has a session")
    for name, session in sessions.items():
        require(session.client_id == name, "sessions are found by their name")
        require((session.link is None) == (name in router._away), "who has no link is away")
        _check_session(session, limits)
    connected = sum(session.link is not None for session in sessions.values())
    require(router.counters.connected == connected, "those connected are counted right")
    require(set(router._wills) <= set(sessions), "a will that waits has a session")
    retained = router.retained.store
    require(retained.count <= max(limits.retained_messages, 1), "retained messages are bounded")
    require(retained.count == len(_stored(retained)), "retained messages are counted right")


def _check_session(session: Session, limits: Limits) -> None:
    require(len(session.subscriptions) <= limits.subscriptions, "subscriptions are bounded")
    require(len(session.inflight) <= limits.inflight + URGENT_EXTRA, "the window is bounded")
    if session.terms.is_5:
        require(len(session.received) <= 0xFFFF, "packet ids are bounded")
    for lane in (session._urgent, session._normal):
        _check_lane(lane, limits)


def _check_lane(lane: Lane, limits: Limits) -> None:
    require(len(lane.entries) <= limits.queue_messages, "a queue is bounded")
    costs = [each.message.cost() for each in lane.entries]
    require(lane.bytes == sum(costs), "the bytes of a queue are counted right")
    require(sum(costs[:-1]) < limits.queue_bytes, "the bytes of a queue are bounded")
    plain = sum(not each.qos for each in lane.entries)
    require(lane._plain == plain, "messages of QoS 0 in a queue are counted right")


def check_nothing_is_left(world: World) -> None:
    """After `leave`: sessions that never end are taken over by clean clients first."""
    router = world.router
    for client_id in tuple(router._sessions):
        connection = Connection(router, world.access, "cleaner", world.now, lambda: None)
        connection.receive(encode(Connect(client_id)) + encode(Plain(14)))
        while connection.process(world.now):
            pass
    require(not router._sessions, "sessions end")
    require(not router._away, "sessions that ended are forgotten")
    require(not router._wills, "wills that waited are published")
    require(router._routes.is_empty(), "subscriptions end with their sessions")
    require(not router._routes._groups, "shared subscriptions end with their members")
    require(not len(router.agenda), "nothing is due when nothing is there")
    require(router.counters.connected == 0, "nobody is connected")
    for message in _stored(router.retained.store):
        router.retained.store.clear(message.topic)
    require(router.retained.store.count == 0, "the retained store can be emptied")
    require(not router.retained.store._root.children, "the retained store keeps no empty places")


def _stored(store: RetainedStore[Message]) -> list[Message]:
    found = []
    leaves = [store._root]
    while leaves:
        leaf = leaves.pop()
        found += [leaf.item] if leaf.item else []
        leaves.extend(leaf.children.values())
    return found
