"""The names of all settings, as keys of the file and as variables of the environment.

Used to refuse a misspelt name together with the one that was probably meant.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import get_args, get_origin

from pydantic import BaseModel

# Read elsewhere than in the settings: by the commands, or set by us for duty processes.
OTHER_VARIABLES = frozenset(
    {
        "EDGE_CONFIG",
        "EDGE_NODE",
        "EDGE_PASSWORD",
        "EDGE_TERM",
        "EDGE_ROLE",
        "EDGE_REASON",
        "EDGE_ALERT",
        "EDGE_TARGET",
    }
)


def nearest(name: str, known: Sequence[str]) -> str:
    """What to write instead of an unknown name."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def environment_key(key: Iterable[str]) -> str:
    return "EDGE_" + "__".join(key).upper()


def witness_variable(name: str, key: str) -> str:
    return f"EDGE_WITNESS_{name}_{key}".upper().replace("-", "_")


def table_keys(root: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """The keys of the table at a place of the file, for example ("node", 0)."""
    table = root
    for step in place:
        if isinstance(step, str) and step in table.model_fields:
            table = _table_in(table.model_fields[step].annotation) or table
    return sorted(table.model_fields)


def known_variables(root: type[BaseModel], witnesses: Iterable[str]) -> frozenset[str]:
    """Every `EDGE_...` name that means something; lists such as [[node]] have none of their own."""
    credentials = {
        witness_variable(name, key) for name in witnesses for key in ("user", "password")
    }
    return OTHER_VARIABLES | credentials | set(_variables(root))


def _variables(root: type[BaseModel]) -> Iterable[str]:
    return (environment_key(key) for key in _keys(root))


def _keys(root: type[BaseModel]) -> Iterable[tuple[str, ...]]:
    for key, field in root.model_fields.items():
        yield (key,)
        table = _table_in(field.annotation)
        if table is not None and not _is_list(field.annotation):
            yield from ((key, *inner) for inner in _keys(table))


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is tuple


def _table_in(annotation: object) -> type[BaseModel] | None:
    """The table that an annotation such as `tuple[Node, ...]` or `Console | None` is about."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
