"""Dataclasses and named tuples as plain JSON values and back, by the annotations of their fields.

Reading is safe whoever wrote: only the annotated types come out, anything else is a MisfitError.
"""

from collections.abc import Callable, Hashable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from math import inf
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

# JSON has no infinity; instants of the core are often infinite.
INFINITIES = {"inf": inf, "-inf": -inf}
# Says which class of a union this is; no field is named so.
TAG = "is"

Value = TypeVar("Value")


class MisfitError(ValueError):
    """A value is not of the annotated type."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Both directions of one type."""

    to_plain: Callable[[Any], Any]
    from_plain: Callable[[Any], Any]


def to_plain(kind: object, value: object) -> object:
    """What orjson can write; `kind` is the annotation of `value`."""
    return codec(kind).to_plain(value)


def from_plain(kind: type[Value], plain: object) -> Value:
    """Raises MisfitError for whatever `to_plain` would not have made."""
    return cast("Value", codec(cast("Hashable", kind)).from_plain(plain))


@cache
def codec(kind: Hashable) -> Codec:  # noqa: PLR0911  one line a kind
    """A TypeError here is ours: a new kind of field that this module has to learn."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return _union(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is frozenset:
        return _frozenset(arguments[0])
    if kind is float:
        return Codec(_float_to_plain, _float_from_plain)
    if kind in {bool, int, str}:
        return Codec(_as_it_is, lambda plain: _exactly(kind, plain))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return Codec(lambda value: value.value, lambda plain: _member(kind, plain))
    if isinstance(kind, type) and (is_dataclass(kind) or hasattr(kind, "_field_defaults")):
        return _fielded(kind)
    raise TypeError(f"{kind} cannot be written as plain JSON")


def _as_it_is(value: object) -> object:
    return value


def _exactly(kind: type, plain: object) -> object:
    if type(plain) is not kind:
        raise MisfitError(f"{plain!r:.60} is not of type {kind.__name__}")
    return plain


def _member(kind: type[Enum], plain: object) -> Enum:
    try:
        return kind(plain)
    except ValueError:
        raise MisfitError(f"{plain!r:.60} is not a {kind.__name__}") from None


def _float_to_plain(value: float) -> float | str:
    return str(value) if value in {inf, -inf} else value


def _float_from_plain(plain: object) -> float:
    if isinstance(plain, str) and plain in INFINITIES:
        return INFINITIES[plain]
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise MisfitError(f"{plain!r:.60} is not a number")
    return plain


def _list(plain: object) -> list[Any]:
    if not isinstance(plain, list):
        raise MisfitError(f"{plain!r:.60} is not a list")
    return plain


def _object(plain: object) -> dict[str, Any]:
    if not isinstance(plain, dict):
        raise MisfitError(f"{plain!r:.60} is not an object")
    return plain


def _frozenset(kind: Hashable) -> Codec:
    inner = codec(kind)
    return Codec(
        lambda value: sorted(inner.to_plain(each) for each in value),
        lambda plain: frozenset(inner.from_plain(each) for each in _list(plain)),
    )


def _tuple(arguments: tuple[Any, ...]) -> Codec:
    if arguments[-1] is Ellipsis:
        inner = codec(arguments[0])
        return Codec(
            lambda value: [inner.to_plain(each) for each in value],
            lambda plain: tuple(inner.from_plain(each) for each in _list(plain)),
        )
    inners = [codec(each) for each in arguments]

    def read(plain: object) -> tuple[Any, ...]:
        if len(_list(plain)) != len(inners):
            raise MisfitError(f"{plain!r:.60} is not a list of {len(inners)}")
        return tuple(
            inner.from_plain(each) for inner, each in zip(inners, _list(plain), strict=True)
        )

    return Codec(
        lambda value: [inner.to_plain(each) for inner, each in zip(inners, value, strict=True)],
        read,
    )


def _union(arguments: tuple[Any, ...]) -> Codec:
    """`X | None`, or one of several dataclasses, told apart by their names."""
    others = [each for each in arguments if each is not NoneType]
    inner = codec(others[0]) if len(others) == 1 else _tagged(others)
    if len(others) == len(arguments):
        return inner
    return Codec(
        lambda value: None if value is None else inner.to_plain(value),
        lambda plain: None if plain is None else inner.from_plain(plain),
    )


def _tagged(kinds: list[type]) -> Codec:
    by_name = {each.__name__: codec(each) for each in kinds}

    def write(value: object) -> dict[str, Any]:
        name = type(value).__name__
        return {TAG: name, **by_name[name].to_plain(value)}

    def read(plain: object) -> object:
        rest = dict(_object(plain))
        name = rest.pop(TAG, None)
        if not isinstance(name, str) or name not in by_name:
            raise MisfitError(f"{name!r:.60} is none of {', '.join(by_name)}")
        return by_name[name].from_plain(rest)

    return Codec(write, read)


def _fielded(kind: type) -> Codec:
    """An object without the fields that have their default."""
    hints = get_type_hints(kind)
    defaults = _defaults(kind)
    parts = [(name, default, codec(hints[name])) for name, default in defaults.items()]
    readers = {name: inner.from_plain for name, _, inner in parts}
    required = {name for name, default in defaults.items() if default is MISSING}

    def write(value: object) -> dict[str, Any]:
        made = {}
        for name, default, inner in parts:
            found = getattr(value, name)
            if default is MISSING or found != default:
                made[name] = inner.to_plain(found)
        return made

    def read(plain: object) -> object:
        given = _object(plain)
        if unknown := given.keys() - readers.keys():
            raise MisfitError(f"{kind.__name__} has no field {min(unknown)!r:.60}")
        if missing := required - given.keys():
            raise MisfitError(f"{kind.__name__} lacks its field {min(missing)}")
        return kind(**{name: readers[name](each) for name, each in given.items()})

    return Codec(write, read)


def _defaults(kind: type) -> dict[str, Any]:
    """Every field that the constructor takes, with its default or MISSING."""
    if is_dataclass(kind):
        return {each.name: each.default for each in fields(kind) if each.init}
    given = getattr(kind, "_field_defaults", {})
    return {name: given.get(name, MISSING) for name in getattr(kind, "_fields", ())}
