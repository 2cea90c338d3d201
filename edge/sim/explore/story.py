"""The way to a world of the exploration in words: each move, and what it changed."""

from edge.core.model import Record
from edge.sim.explore.draft import Draft
from edge.sim.explore.game import UP, Game, World
from edge.sim.explore.moves import branches, moves

# More ways than any one move has.
WAYS_MAX = 10_000


def tell_story(game: Game, world: World, way: list[int]) -> list[str]:
    """One line for each move from `world`; the last one may be the one that broke the promise."""
    lines: list[str] = []
    ticks = 0
    for ordinal in way:
        idle = Draft(game, world, lambda _: 0)
        title, draft = _follow(game, world, idle, ordinal)
        ticks += title == "tick"
        lines.append(f"{ticks:3} {_words(idle, title)}")
        if draft is None:
            return lines
        after = draft.world()
        lines += [f"      {each}" for each in (*draft.notes, *_changes(game, world, after))]
        world = after
    return lines


def _follow(game: Game, world: World, idle: Draft, ordinal: int) -> tuple[str, Draft | None]:
    """The move and its result; no result if an assertion ended it."""
    for title, change in moves(idle):
        found = branches(game, world, change)
        for _ in range(WAYS_MAX):
            try:
                draft = next(found, None)
            except AssertionError as problem:
                return f"{title}: {problem}", None
            if draft is None:
                break
            if ordinal == 0:
                return title, draft
            ordinal -= 1
    raise LookupError("the way leads nowhere")


def _words(draft: Draft, title: str) -> str:
    """A delivery by names: what comes from where."""
    kind, _, code = title.partition(" ")
    number, colon, problem = code.partition(":")
    if kind != "deliver":
        return title
    node, broker, _, way = draft.game.decoded(int(number))
    message = draft.table.messages[draft.pipes[int(number)][0]]
    names = draft.game.names[node], draft.game.names[broker]
    source, target = names if way == UP else names[::-1]
    ends = f"{source} -> broker {target}" if way == UP else f"broker {source} -> {target}"
    return f"{ends}: {_content(message)}{colon}{problem}"


def _content(message: tuple[object, ...]) -> str:
    record = message[1] if len(message) > 1 else None
    if not isinstance(record, Record):
        return " ".join(str(each) for each in message)
    basis = "nothing" if record.basis is None else _id(record.basis)
    return f"{message[0]} {_id(record.id)} {record.kind} term {record.term} after {basis}"


def _id(record_id: tuple[str, str, int]) -> str:
    return "/".join(str(each) for each in record_id)


def _changes(game: Game, before: World, after: World) -> list[str]:
    """Who became hot, and who stopped being so."""
    traits, names = game.minds.traits, game.names
    lines = []
    for node, (old, new) in enumerate(zip(before.minds, after.minds, strict=True)):
        was, is_now = traits[old], traits[new]
        if was.is_hot != is_now.is_hot:
            term = max(was.hot_term, is_now.hot_term)
            lines.append(f"{names[node]} {'is' if is_now.is_hot else 'is not'} hot, term {term}")
    return lines
