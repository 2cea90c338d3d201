"""Which lines of the broker's core run: a small counter, because it is the only one needed here."""

import sys
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, Self

import broker

# The pure core, through which every execution goes; the shell and the other engines are not in it.
CORE: Final = (
    "protocol.codec", "protocol.codec5", "protocol.fields", "protocol.framing",
    "protocol.properties", "protocol.topics",
    "admission.access",
    "routing.agenda", "routing.lane", "routing.messages", "routing.router", "routing.routes",
    "routing.session", "routing.shared", "routing.subscriptions", "routing.terms",
    "connections.connection", "connections.conversation", "connections.conversation5",
    "connections.greeting",
)  # fmt: skip


class Coverage:
    """Counts while it is entered; slows everything down many times."""

    def __init__(self) -> None:
        folder = Path(next(iter(broker.__path__)))
        self._files = {str(folder / f"{name.replace('.', '/')}.py"): name for name in CORE}
        self._reached: dict[str, set[int]] = {path: set() for path in self._files}

    def __enter__(self) -> Self:
        sys.settrace(self._on_call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def table(self) -> list[tuple[str, int, int]]:
        """By module: lines in functions that were reached, and how many there are."""
        rows = []
        for path, name in self._files.items():
            wanted = _lines(path, name)
            rows.append((f"broker.{name}", len(wanted & self._reached[path]), len(wanted)))
        return rows

    def total(self) -> str:
        rows = self.table()
        reached, lines = sum(row[1] for row in rows), sum(row[2] for row in rows)
        return f"{reached} of the core's {lines} lines ({reached / lines:.1%})"

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002
        found = self._reached.get(frame.f_code.co_filename)
        if found is None:
            return None

        def on_line(inner: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001
            found.add(inner.f_lineno)
            return on_line

        found.add(frame.f_lineno)
        return on_line


def _lines(path: str, name: str) -> set[int]:
    """The lines of a module's functions; what runs at its import counts for nothing."""
    import_module(f"broker.{name}")
    whole = compile(Path(path).read_text(), path, "exec")
    found: set[int] = set()
    waiting = [each for each in whole.co_consts if isinstance(each, CodeType)]
    while waiting:
        code = waiting.pop()
        waiting += [each for each in code.co_consts if isinstance(each, CodeType)]
        if code.co_name.isidentifier() and code.co_name[0].isupper():
            continue  # the body of a class
        found |= {line for _, _, line in code.co_lines() if line is not None}
    return found
