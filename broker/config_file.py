"""A broker's settings from a TOML file: its keys are the fields of `BrokerSettings`.

What is unknown, of the wrong kind or contradictory is one line that says what would be right.
"""

import dataclasses
import difflib
import json
import math
import re
import tomllib
import types
import typing
from enum import StrEnum
from pathlib import Path
from typing import Any

from broker.protocol.fields import PacketError, decode_text
from broker.protocol.topics import is_valid_filter, is_valid_topic
from broker.settings import BrokerSettings, Limits, Persistence

VERIFIER_STARTS = ("$argon2", "$7$", "token:")
HIDDEN = "(hidden)"
# What MQTT has two bytes for, and the largest packet that its lengths can say.
TWO_BYTES = 0xFFFF
MOST = {
    "listeners.port": TWO_BYTES,
    "limits.receive_maximum": TWO_BYTES,
    "limits.topic_aliases": TWO_BYTES,
    "limits.keep_alive": TWO_BYTES,
    "limits.topic_bytes": TWO_BYTES,
    "limits.packet_size": 5 + 0x0FFFFFFF,
}


class ConfigError(Exception):
    """One line for an operator."""


def load_settings(path: Path) -> BrokerSettings:
    try:
        settings = _table(BrokerSettings, _parse(path), "")
        assert isinstance(settings, BrokerSettings)
        _check(settings)
    except _RefusedError as refusal:
        raise ConfigError(f"{path}: {refusal}") from None
    return settings


class _RefusedError(Exception):
    """A line without the file's name."""


def _refuse(key: str, value: object, sentence: str) -> _RefusedError:
    shown = value if value is HIDDEN else json.dumps(value, default=str)
    return _RefusedError(f"{key} = {shown}: {sentence}")


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "is not UTF-8 text; save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem = f"is not valid TOML: {error}"
    raise _RefusedError(problem)


# From TOML to the fields of a dataclass


def _table(kind: Any, raw: object, key: str) -> object:  # noqa: ANN401 - a type
    if not isinstance(raw, dict):
        raise _refuse(key, raw, "is not a table; write it as [" + key + "]")
    fields = {each.name: each for each in dataclasses.fields(kind)}
    for name in raw:
        if name not in fields:
            raise _RefusedError(
                f"{_join(key, name)}: there is no such key; {_nearest(name, fields)}"
            )
    hints = typing.get_type_hints(kind)
    values = {}
    for name, each in fields.items():
        place = _join(key, name)
        if name in raw:
            values[name] = _field(each, hints[name], raw[name], place)
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise _RefusedError(f"{place} is missing; add it")
    return kind(**values)


def _field(field: "dataclasses.Field[Any]", kind: object, raw: object, key: str) -> object:
    try:
        value = _value(kind, raw, key)
    except _RefusedError:
        if field.repr:
            raise
        raise _refuse(key, HIDDEN, "is not text; put it in quotes") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        _require_in_range(value, field.default, key)
    return value


def _require_in_range(value: float, default: object, key: str) -> None:
    """0 stands for "no bound", where that is the default and nowhere else."""
    if not math.isfinite(value) or value < 0:
        raise _refuse(key, str(value), "is out of range; write a number that is not negative")
    if not value and default != 0:
        raise _refuse(key, value, "is too small; more than 0 is needed")
    most = MOST.get(re.sub(r"\.#\d+", "", key), math.inf)
    if value > most:
        raise _refuse(key, value, f"is too large; at most {most}")


def _value(kind: Any, raw: object, key: str) -> object:  # noqa: ANN401 - a type
    origin = typing.get_origin(kind)
    if origin in {types.UnionType, typing.Union}:
        (kind,) = (each for each in typing.get_args(kind) if each is not types.NoneType)
        return _value(kind, raw, key)
    if origin is tuple:
        return _list(typing.get_args(kind), raw, key)
    if dataclasses.is_dataclass(kind):
        return _table(kind, raw, key)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _choice(kind, raw, key)
    return _plain(kind, raw, key)


def _list(kinds: tuple[Any, ...], raw: object, key: str) -> tuple[object, ...]:
    if not isinstance(raw, list):
        raise _refuse(key, raw, "is not a list; write it in brackets: [...], tables as [[...]]")
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(raw)
    elif len(raw) != len(kinds):
        raise _refuse(key, raw, f"has {len(raw)} parts; write {len(kinds)}")
    pairs = zip(kinds, raw, strict=True)
    return tuple(_value(kind, each, _item(key, each, at)) for at, (kind, each) in enumerate(pairs))


def _choice(kind: type[StrEnum], raw: object, key: str) -> StrEnum:
    if not isinstance(raw, str) or raw not in set(kind):
        raise _refuse(key, raw, f"is not one of the choices; write one of: {', '.join(kind)}")
    return kind(raw)


_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "is neither true nor false; write true or false, without quotes"),
    int: ((int,), "is not a whole number; write one without quotes"),
    float: ((int, float), "is not a number; write one without quotes"),
    str: ((str,), 'is not text; put it in quotes: "..."'),
    Path: ((str,), 'is not a path; put it in quotes: "..."'),
}


def _plain(kind: type, raw: object, key: str) -> object:
    accepted, sentence = _KINDS[kind]
    if not isinstance(raw, accepted) or (isinstance(raw, bool) and kind is not bool):
        raise _refuse(key, raw, sentence)
    return kind(raw)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _item(key: str, raw: object, at: int) -> str:
    """The third user is users.<its name>, or users.#3."""
    name = raw.get("name") if isinstance(raw, dict) else None
    return f"{key}.{name}" if isinstance(name, str) and name else f"{key}.#{at + 1}"


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(names)}"


# What must hold between values


def _check(settings: BrokerSettings) -> None:
    if not settings.listeners:
        raise _refuse("listeners", [], "nobody could connect; add [[listeners]] with host and port")
    if settings.tls is None and any(each.transport.has_tls for each in settings.listeners):
        raise _RefusedError("tls is missing, which a listener has; add [tls] with the files")
    if settings.persistence is not Persistence.OFF and not settings.directory:
        raise _refuse("directory", "", f"is needed with persistence = {settings.persistence}")
    if settings.anonymous is None and not settings.users:
        raise _RefusedError(
            "nobody may log on; add [[users]], or anonymous with the name of a role"
        )
    _check_roles(settings)
    _check_users(settings)
    for key, filters in (("urgent", settings.urgent), ("not_kept", settings.not_kept)):
        for topic_filter in filters:
            _require_filter(key, topic_filter, settings.limits)
    for topic, _ in settings.seed:
        _require_topic("seed", topic, settings.limits)
    _require_text("response_information", settings.response_information, TWO_BYTES)


def _check_roles(settings: BrokerSettings) -> None:
    _require_unique("roles", [each.name for each in settings.roles])
    for role in settings.roles:
        for rule in role.rules:
            _require_filter(f"roles.{role.name}.rules", rule.topic_filter, settings.limits)
    if settings.anonymous is not None:
        _require_role("anonymous", settings.anonymous, settings)


def _check_users(settings: BrokerSettings) -> None:
    _require_unique("users", [each.name for each in settings.users])
    for user in settings.users:
        _require_role(f"users.{user.name}.role", user.role, settings)
        if not user.verifier.startswith(VERIFIER_STARTS):
            sentence = "is no password hash that is known; make one with: edge password"
            raise _refuse(f"users.{user.name}.verifier", HIDDEN, sentence)


def _require_unique(key: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise _refuse(f"{key}.name", name, "is there twice; give each its own")


def _require_role(key: str, name: str, settings: BrokerSettings) -> None:
    names = [each.name for each in settings.roles]
    if name not in names:
        known = f"one of: {', '.join(names)}" if names else "add [[roles]]"
        raise _refuse(key, name, f"is the name of no role; {known}")


def _require_filter(key: str, topic_filter: str, limits: Limits) -> None:
    if not is_valid_filter(topic_filter, limits.topic_levels):
        raise _refuse(key, topic_filter, "is no topic filter; # comes last, and + fills a level")


def _require_topic(key: str, topic: str, limits: Limits) -> None:
    _require_text(key, topic, limits.topic_bytes)
    if not is_valid_topic(topic, limits.topic_levels):
        raise _refuse(key, topic, "is no topic; it has neither wildcards nor too many levels")


def _require_text(key: str, text: str, most: int) -> None:
    """What clients are sent in a packet."""
    raw = text.encode()
    if len(raw) > most:
        raise _refuse(key, text[:20] + "...", f"is too long; at most {most} bytes")
    try:
        decode_text(raw)
    except PacketError:
        raise _refuse(key, text, "has control characters; leave them out") from None
