"""Finding and reading the group file, and wording what is wrong with it in one line.

Also what else must be read before anything can run: which node this is, and the group's secret.
"""

import json
import os
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings.exceptions import SettingsError as SourceError

from edge.errors import SettingsError
from edge.settings import Settings
from edge.settings.names import (
    environment_key,
    known_variables,
    nearest,
    table_keys,
    witness_variable,
)
from edge.settings.refusals import LawBrokenError

SECRET_BYTES = 16
MAKE_SECRET = "head -c 32 /dev/urandom | base64 > {path}; chmod 600 {path}"  # noqa: S105  a recipe


def find_file(given: Path | None) -> Path:
    """`--config`, else `EDGE_CONFIG`, else ./edge.toml, else /etc/edge/edge.toml."""
    if given is not None:
        return given
    if os.environ.get("EDGE_CONFIG"):
        return Path(os.environ["EDGE_CONFIG"])
    places = (Path("edge.toml"), Path("/etc/edge/edge.toml"))
    for place in places:
        if place.exists():
            return place
    raise SettingsError(
        "no group file: neither ./edge.toml nor /etc/edge/edge.toml exists; "
        "name it with --config FILE or EDGE_CONFIG, or try everything at once with: edge demo"
    )


def load_settings(given: Path | None = None) -> Settings:
    """The checked settings; SettingsError with one line if there is anything to refuse."""
    path = find_file(given)
    data = _anchor_paths(_parse(path), path.absolute().parent)
    for key in data:
        if key not in Settings.model_fields:
            raise SettingsError(_line(path, (key,), data[key], _unknown((key,))))
    _add_credentials(data)
    _refuse_unknown_variables(data)
    try:
        return Settings(**data)
    except ValidationError as error:
        raise SettingsError(_worded(path, data, error)) from None
    except SourceError as error:
        raise SettingsError(
            f"the environment: {error}; lists and tables are given as JSON"
        ) from None


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        problem = "there is no such file; name it with --config FILE or EDGE_CONFIG"
    except IsADirectoryError:
        problem = "is a folder; name the file in it"
    except PermissionError:
        problem = "may not be read by this user; run as its owner or allow it with: chmod +r"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text (byte {error.start + 1}); save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem = f"is not valid TOML: {error}"
    raise SettingsError(f"{path}: {problem}")


def _anchor_paths(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A relative path in the file starts at the file's folder, wherever the command is run."""
    _anchor(data, (), ("state_dir",), folder)
    _anchor(data, ("access",), ("secret_file",), folder)
    _anchor(data, ("broker", "tls"), ("certificate", "key", "ca"), folder)
    return data


def _anchor(
    data: dict[str, Any], place: tuple[str, ...], keys: tuple[str, ...], folder: Path
) -> None:
    table: object = data
    for step in place:
        table = table.get(step) if isinstance(table, dict) else None
    for key in keys:
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = folder / Path(table[key]).expanduser()


def _add_credentials(data: dict[str, Any]) -> None:
    """`EDGE_WITNESS_<NAME>_USER` and `_PASSWORD` keep a third party's password out of the file."""
    for witness in _witnesses(data):
        for key in ("user", "password"):
            value = os.environ.get(witness_variable(witness["name"], key))
            credentials = witness.setdefault("credentials", {}) if value else None
            if isinstance(credentials, dict):
                credentials[key] = value


def _witnesses(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The witness tables that have a usable name, before anything has been checked."""
    found = data.get("witness")
    if not isinstance(found, list):
        return []
    return [each for each in found if isinstance(each, dict) and isinstance(each.get("name"), str)]


def _refuse_unknown_variables(data: Mapping[str, Any]) -> None:
    names = [each["name"] for each in _witnesses(data)]
    known = known_variables(Settings, names)
    for name in sorted(os.environ):
        # EDGE_TEST_... belongs to the test suite.
        if not name.startswith("EDGE_") or name.startswith("EDGE_TEST_") or name in known:
            continue
        raise SettingsError(
            f"the environment: {name} = {_shown((name,), os.environ[name])}: "
            f"there is no such setting; {nearest(name, sorted(known))}"
        )


def _worded(path: Path, data: Mapping[str, Any], error: ValidationError) -> str:
    """The first mistake as one line; the next one shows itself when this one is mended."""
    first = error.errors()[0]
    broken = first.get("ctx", {}).get("error")
    if isinstance(broken, LawBrokenError):
        refusal = broken.refusal
        return _line(path, refusal.key, refusal.value, refusal.sentence)
    place = first["loc"]
    if first["type"] == "extra_forbidden":
        sentence = _unknown(place)
    else:
        sentence = _sentence(first["type"], first["msg"], first.get("ctx", {}))
    value = None if first["type"] == "missing" else first["input"]
    return _line(path, _key(place, data), value, sentence)


def _key(place: tuple[int | str, ...], data: object) -> tuple[str, ...]:
    """A place as a person would say it: the third node is node.<its name>, or node.#3."""
    words: list[str] = []
    for step in place:
        if isinstance(data, Mapping):
            data = data.get(str(step))
            words.append(str(step))
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
            name = data.get("name") if isinstance(data, dict) else None
            words.append(name if isinstance(name, str) else f"#{step + 1}")
        else:
            words.append(f"#{step + 1}" if isinstance(step, int) else step)
    return tuple(words)


def _unknown(place: tuple[int | str, ...]) -> str:
    return f"there is no such key; {nearest(str(place[-1]), table_keys(Settings, place[:-1]))}"


_SENTENCES = {
    "missing": "is missing; add it",
    "enum": "is not one of the choices; write one of: {expected}",
    "int": "is not a whole number; write one without quotes",
    "float": "is not a number; write a number without quotes",
    "bool": "is neither true nor false; write true or false, without quotes",
    "string": 'is not text; put it in quotes: "..."',
    "string_too_short": "is empty; fill it in or remove the key",
    "path": 'is not a path; put it in quotes: "..."',
    "tuple": "is not a list; write it in brackets: [...]",
    "too_short": "is empty; at least {min_length} is needed",
    "model": "is not a table; see the example files",
    "finite_number": "is not a finite number; write a number of seconds",
    "greater_than": "is too small; more than {gt} is needed",
    "greater_than_equal": "is too small; at least {ge} is needed",
    "less_than_equal": "is too large; at most {le} is possible",
}


def _sentence(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Our words for pydantic's error kinds; `int_parsing` and `int_type` are both about `int`."""
    if kind == "value_error":
        return str(context["error"])
    sentence = _SENTENCES.get(kind) or _SENTENCES.get(kind.split("_", maxsplit=1)[0])
    return sentence.format(**context) if sentence else message[:1].lower() + message[1:]


def _line(path: Path, key: tuple[str, ...], value: object, sentence: str) -> str:
    variable = environment_key(key)
    if variable in os.environ:
        return f"the environment: {variable} = {_shown(key, os.environ[variable])}: {sentence}"
    return f"{path}: {'.'.join(key)} = {_shown(key, value)}: {sentence}"


def _shown(key: tuple[str, ...], value: object) -> str:
    """The value as it stands in the file, short, and never a password."""
    if value is None:
        return "(not set)"
    if any(word in key[-1].lower() for word in ("password", "credentials", "dsn")):
        return "(hidden)"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def find_node(settings: Settings, given: str | None) -> str:
    """`--node`, else `EDGE_NODE`, else the host name, with or without its domain."""
    named = given or os.environ.get("EDGE_NODE")
    host = socket.gethostname()
    for candidate in (named,) if named else (host, host.partition(".")[0]):
        if candidate in settings.members:
            return candidate
    members = ", ".join(settings.members)
    if named:
        raise SettingsError(f"node = {json.dumps(named)}: is not in the file; one of: {members}")
    raise SettingsError(
        f"this machine's name, {host}, is not in the file; say which member it is with "
        f"--node or EDGE_NODE, one of: {members}"
    )


def read_secret(settings: Settings) -> bytes:
    """The group's shared secret; SettingsError says how to make one."""
    path = settings.access.secret_file
    recipe = MAKE_SECRET.format(path=path)
    try:
        secret = path.read_bytes().strip()
    except FileNotFoundError:
        problem = f"there is no such file; make one and copy it to every node: {recipe}"
    except PermissionError:
        problem = "may not be read by this user; run as its owner"
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); make one with: {recipe}"
    else:
        if len(secret) >= SECRET_BYTES:
            return secret
        problem = f"holds {len(secret)} bytes, at least {SECRET_BYTES} are needed; {recipe}"
    raise SettingsError(f'access.secret_file = "{path}": {problem}')
