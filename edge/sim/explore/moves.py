"""What can happen next in a world of the exploration, each possibility once.

An instant is a sequence of rounds. In a round first each broker, then each node has its turn and
takes what its pipes hold, one head after the other, in every order. What one process takes does
not touch what another one finds, so that the order of the turns loses nothing: any run is a run in
rounds (a normal form of Foata). A process may leave pipes for the rest of the instant; each counts
as one postponement. Time passes when nothing is left to take.
"""

from collections.abc import Callable, Iterator
from functools import partial

from edge.sim.explore.draft import Draft
from edge.sim.explore.faults import Move, fault_moves
from edge.sim.explore.game import DOWN, UP, Game, World
from edge.sim.explore.values import Owner, ranks_of


def successors(game: Game, world: World) -> Iterator[tuple[bool, World]]:
    """Every world that may come next, and whether time has passed on the way there."""
    idle = Draft(game, world, _first)
    for name, change in moves(idle):
        for draft in branches(game, world, change):
            yield name == "tick", draft.world()


def _first(_: int) -> int:
    return 0


def branches(game: Game, world: World, change: Callable[[Draft], None]) -> Iterator[Draft]:
    """One draft for each way in which `change` can go: dice, and deaths between two effects."""
    open_prefixes: list[tuple[int, ...]] = [()]
    while open_prefixes:
        prefix = open_prefixes.pop()
        taken: list[int] = []
        widths: list[int] = []

        def choose(
            width: int,
            prefix: tuple[int, ...] = prefix,
            taken: list[int] = taken,
            widths: list[int] = widths,
        ) -> int:
            if width == 1:
                return 0
            choice = prefix[len(taken)] if len(taken) < len(prefix) else 0
            taken.append(choice)
            widths.append(width)
            return choice

        draft = Draft(game, world, choose)
        change(draft)
        settle(draft)
        yield draft
        for place in range(len(prefix), len(widths)):
            open_prefixes += [(*taken[:place], other) for other in range(1, widths[place])]


def moves(draft: Draft) -> list[Move]:
    """All that may happen now; `draft` is only asked."""
    if draft.turn < draft.game.processes:
        return _turn_moves(draft)
    return [*_time_moves(draft), *fault_moves(draft)]


def _turn_moves(draft: Draft) -> list[Move]:
    waiting = draft.waiting(draft.turn)
    found: list[Move] = [(f"deliver {code}", partial(_deliver, code=code)) for code in waiting]
    if len(waiting) <= draft.postponements:
        found.append(("leave", _leave))
    return found


def _deliver(draft: Draft, *, code: int) -> None:
    draft.deliver(code)


def _leave(draft: Draft) -> None:
    waiting = draft.waiting(draft.turn)
    draft.postponements -= len(waiting)
    draft.left = tuple(sorted([*draft.left, *waiting]))
    draft.turn += 1


def settle(draft: Draft) -> None:
    """Hand the turn on to the next process that has something to take, if there is one."""
    processes, brokers = draft.game.processes, draft.game.broker_count
    while draft.turn < processes and not draft.waiting(draft.turn):
        draft.turn += 1
        if draft.turn == brokers:
            draft.was_hot = draft.hot()
    exchange_beats(draft)
    if draft.turn == processes:
        draft.was_hot = 0
        if is_busy(draft) and not draft.left and not fault_moves(draft):
            _begin_round(draft)
            settle(draft)


def is_busy(draft: Draft) -> bool:
    return any(draft.waiting(each) for each in range(draft.game.processes))


def _begin_round(draft: Draft) -> None:
    draft.turn = 0


def _begin_round_with_all(draft: Draft) -> None:
    draft.turn, draft.left = 0, ()


def _time_moves(draft: Draft) -> list[Move]:
    found: list[Move] = [("round", _begin_round)] if is_busy(draft) else [("tick", tick)]
    if draft.left:
        found.append(("round with all that was left", _begin_round_with_all))
    return found


def tick(draft: Draft) -> None:
    """One tick of the true time: clocks, timers, new connections, signs of life."""
    draft.left = ()
    renumber(draft)
    nodes = range(draft.game.node_count)
    for node in nodes:
        if draft.is_alive(node):
            draft.minds[node] = draft.table.older(node, draft.minds[node])
    for node in nodes:
        if draft.is_awake(node) and draft.game.has_reference and draft.cut_host != node + 1:
            draft.tell(node, 0, draft.table.message("checked"))
        draft.woken = 0
        draft.wake(node)
    for node in nodes:
        for broker in range(draft.game.broker_count):
            if draft.is_awake(node) and _can_connect(draft, node, broker):
                draft.open(node, broker)


def _can_connect(draft: Draft, node: int, broker: int) -> bool:
    is_cut = draft.is_cut(node, broker, UP) or draft.is_cut(node, broker, DOWN)
    return draft.connection(node, broker) <= 0 and bool(draft.registers[broker]) and not is_cut


def exchange_beats(draft: Draft) -> None:
    """Heartbeats go through empty pipes at once, and are lost where something is in the way.

    A round trip without any delay is a possible one; what is lost are beats that come late.
    """
    beating, draft.beating = draft.beating, []
    for node in beating:
        for broker in range(draft.game.broker_count):
            if draft.is_awake(node) and _passes(draft, node, broker, UP):
                _beat(draft, node, broker)


def _passes(draft: Draft, node: int, broker: int, way: int) -> bool:
    number = draft.connection(node, broker)
    code = draft.game.code(node, broker, abs(number), way)
    is_open = number > 0 and bool(draft.registers[broker])
    return is_open and code not in draft.pipes and not draft.is_cut(node, broker, way)


def _beat(draft: Draft, node: int, broker: int) -> None:
    subscribers = [
        draft.game.of_subscriber(each) for each in draft.registers[broker][1:] if each % 2
    ]
    if (node, draft.connection(node, broker)) not in subscribers:
        return
    table, name = draft.table, draft.game.names[node]
    session = draft.session(node, broker, draft.connection(node, broker))
    boot, saved = str(table.traits[draft.minds[node]].boot), draft.saved(node)
    beat = table.message("beat", name, session, boot, saved.pause, saved.term)
    for other, number in subscribers:
        is_current = draft.connection(other, broker) == number
        if is_current and draft.is_awake(other) and _passes(draft, other, broker, DOWN):
            draft.tell(other, broker, beat)


def renumber(draft: Draft) -> None:
    """Give every counter its rank, in all places at once: worlds that differ only in how many
    records there were before are the same."""
    table = draft.table
    known = set(_known(draft))
    ranks = ranks_of(known)
    if all(counter == rank for each in ranks.values() for counter, rank in each.items()):
        return
    mark = tuple(sorted(known))

    def again(kind: str, number: int) -> int:
        return table.with_ranks(kind, number, ranks, mark)

    draft.minds = [again("mind", each) for each in draft.minds]
    draft.registers = [
        (again("message", each[0]), *each[1:]) if each and each[0] else each
        for each in draft.registers
    ]
    draft.pipes = {
        code: tuple(again("message", each) for each in messages)
        for code, messages in draft.pipes.items()
    }


def _known(draft: Draft) -> Iterator[tuple[Owner, int]]:
    table = draft.table
    for mind in draft.minds:
        yield from table.known("mind", mind)
    for register in draft.registers:
        if register and register[0]:
            yield from table.known("message", register[0])
    for messages in draft.pipes.values():
        for each in messages:
            yield from table.known("message", each)
