"""What can go wrong between two rounds of the exploration, as far as the bounds allow.

A fault touches only some processes; to have it between two rounds loses nothing but a pipe that is
cut between two of its messages. A node may also die between two effects, see `Draft.tell`.
"""

from collections.abc import Callable
from functools import partial

from edge.sim.explore.draft import Draft
from edge.sim.explore.game import DOWN, UP

Move = tuple[str, Callable[[Draft], None]]


def fault_moves(draft: Draft) -> list[Move]:
    """Every fault that may strike now, and the end of those that last."""
    return [*_deaths(draft), *_lives(draft), *_cuts(draft), *_freezes(draft)]


def _deaths(draft: Draft) -> list[Move]:
    if not draft.crashes:
        return []
    nodes = [node for node in range(draft.game.node_count) if draft.is_alive(node)]
    names = draft.game.names
    return [
        *((f"kill {names[node]}", partial(_crash, node=node, is_silent=False)) for node in nodes),
        *(
            (f"power cut {names[node]}", partial(_crash, node=node, is_silent=True))
            for node in nodes
        ),
    ]


def _crash(draft: Draft, *, node: int, is_silent: bool) -> None:
    down = draft.table.fallen(draft.minds[node], draft.saved(node))
    draft.fall(node, down, is_silent=is_silent)


def _lives(draft: Draft) -> list[Move]:
    """One restart: of a node that is down, or of a broker that no node owns."""
    if not draft.restarts:
        return []
    game = draft.game
    down = [node for node in range(game.node_count) if not draft.is_alive(node)]
    found: list[Move] = [(f"boot {game.names[node]}", partial(_boot, node=node)) for node in down]
    for broker in range(game.node_count, game.broker_count):
        name = game.names[broker]
        found.append((f"restart {name}", partial(_bounce, broker=broker, forgets=False)))
        found.append((f"restart {name}, empty", partial(_bounce, broker=broker, forgets=True)))
    return found


def _boot(draft: Draft, *, node: int) -> None:
    draft.restarts -= 1
    draft.boot(node)


def _bounce(draft: Draft, *, broker: int, forgets: bool) -> None:
    draft.restarts -= 1
    retained = draft.registers[broker][0]
    draft.stop_broker(broker)
    draft.registers[broker] = (0 if forgets else retained,)
    draft.has_forgotten = draft.has_forgotten or forgets


def _cuts(draft: Draft) -> list[Move]:
    if draft.cut:
        ends: list[Move] = [("heal", _heal)]
        # Frozen and reset by somebody else at once is the guard's case (docs/protocol.md).
        return ends if draft.frozen else [*ends, ("reset", _reset)]
    if not draft.cuts:
        return []
    bounds = draft.game.bounds
    links = _link_cuts(draft) if bounds.cuts_links else []
    return [*links, *_host_cuts(draft)] if bounds.cuts_hosts else links


def _link_cuts(draft: Draft) -> list[Move]:
    names, found = draft.game.names, list[Move]()
    for node, broker in _remote(draft):
        both = {way: 1 << _bit(draft, node, broker, way) for way in (UP, DOWN)}
        for ways, mask in (("up", both[UP]), ("down", both[DOWN]), ("both", sum(both.values()))):
            name = f"cut {names[node]} to {names[broker]}, {ways}"
            found.append((name, partial(_cut, mask=mask, host=0)))
    return found


def _host_cuts(draft: Draft) -> list[Move]:
    found: list[Move] = []
    for host in range(draft.game.node_count):
        masks = {"out": 0, "in": 0}
        for node, broker in _remote(draft):
            if host in {node, broker}:
                ways = (UP, DOWN) if node == host else (DOWN, UP)
                masks["out"] |= 1 << _bit(draft, node, broker, ways[0])
                masks["in"] |= 1 << _bit(draft, node, broker, ways[1])
        masks["off"] = masks["out"] | masks["in"]
        name = draft.game.names[host]
        for way, mask in masks.items():
            found.append((f"cut {name} {way}", partial(_cut, mask=mask, host=host + 1)))
    return found


def _remote(draft: Draft) -> list[tuple[int, int]]:
    nodes, brokers = range(draft.game.node_count), range(draft.game.broker_count)
    return [(node, broker) for node in nodes for broker in brokers if node != broker]


def _bit(draft: Draft, node: int, broker: int, way: int) -> int:
    return (node * draft.game.broker_count + broker) * 2 + way


def _cut(draft: Draft, *, mask: int, host: int) -> None:
    draft.cuts -= 1
    draft.cut, draft.cut_host = mask, host


def _heal(draft: Draft) -> None:
    draft.cut = draft.cut_host = 0


def _reset(draft: Draft) -> None:
    """The links are back, their connections are not. The node knows at once, well within
    `fence_delay` as the protocol asks; a broker may take its time."""
    links = [
        (node, broker)
        for node, broker in _remote(draft)
        if draft.is_cut(node, broker, UP) or draft.is_cut(node, broker, DOWN)
    ]
    _heal(draft)
    for node, broker in links:
        number = draft.connection(node, broker)
        if number > 0 and draft.is_alive(node):
            draft.purge(draft.game.code(node, broker, number, UP))
            draft.abandon(node, broker)
            draft.tell(node, broker, draft.table.message("lost"))


def _freezes(draft: Draft) -> list[Move]:
    nodes = [node for node in range(draft.game.node_count) if draft.is_alive(node)]
    names = draft.game.names
    if draft.frozen:
        return [("thaw", _thaw)]
    if not draft.freezes:
        return []
    return [(f"freeze {names[node]}", partial(_freeze, node=node)) for node in nodes]


def _freeze(draft: Draft, *, node: int) -> None:
    draft.freezes -= 1
    draft.frozen |= 1 << node


def _thaw(draft: Draft) -> None:
    draft.frozen = 0
    for node in range(draft.game.node_count):
        draft.wake(node)
