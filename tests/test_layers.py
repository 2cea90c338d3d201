"""The shape of the code, held by the machine: who may import whom, and how large things may grow.

The picture that this table is taken from is in docs/architecture.md.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE_LINES = 400
FUNCTION_LINES = 40
NESTING = 3

# From the bottom up: a module imports from its own layer and from those before it.
# The longest name that fits decides, so edge.core is not in the layer of edge.
LAYERS = (
    ("edge", "edge.core"),
    ("edge.wire", "edge.plain", "edge.errors"),
    ("edge.ports", "edge.duty.ports"),
    ("edge.views", "edge.journal", "edge.twin"),
    ("edge.board", "edge.requests"),
    ("edge.recorder",),
    ("edge.agent", "edge.sim"),
    (
        "edge.adapters",
        "edge.client",
        "edge.console",
        "edge.duty",
        "edge.settings",
    ),
    ("edge.access",),
    ("edge.app",),
    ("edge.commands",),
    ("edge.cli",),
    ("edge.__main__",),
)
# The broker's folders, in the same way.
BROKER_LAYERS = (
    ("broker", "broker.settings", "broker.errors"),
    ("broker.protocol",),
    ("broker.admission",),
    ("broker.routing",),
    ("broker.connections", "broker.store"),
    ("broker.server",),
    ("broker.client", "broker.log", "broker.systemd"),
    ("broker.engines", "broker.probe"),
    ("broker.config_file",),
    ("broker.standalone",),
    ("broker.__main__",),
)
# Time is passed in there, and bytes come as arguments.
BROKER_CORE = ("broker.protocol", "broker.routing", "broker.connections")
BROKER_CORE_MAY_NOT_IMPORT = {"asyncio", "selectors", "socket", "ssl", "threading", "time"}
CORE_MAY_IMPORT = {
    "collections",
    "collections.abc",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
    "math",
    "typing",
}
# Each library that can be exchanged is used in one place.
ONLY_IN = {
    "paho": {"edge.adapters.mqtt"},
    "icmplib": {"edge.adapters.netcheck"},
    "h11": {"edge.console.http"},
    "typer": {"edge.cli"},
    "pydantic_settings": {"edge.settings.model", "edge.settings.file"},
}
# Drivers below the world know the broker by its plain values at most.
BROKER_VALUES = {"broker.settings"}
MAY_IMPORT_BROKER = (
    "edge.access",
    "edge.app",
    "edge.commands.password",
    "edge.commands.check",
    "edge.commands.demo_group",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for package in ("edge", "broker")
    for path in sorted((ROOT / package).rglob("*.py"))
}
EDGE = sorted(name for name in MODULES if name.startswith("edge"))
BROKER = sorted(name for name in MODULES if name.startswith("broker"))
SOURCES = sorted(
    path
    for folder in ("edge", "broker", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "node_modules" not in path.parts
)


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            name = node.module or ""
            inner = {f"{name}.{alias.name}" for alias in node.names}
            found |= {each for each in inner if each in MODULES} or {name}
    return found


def layer(name: str) -> int:
    fitting = [
        (len(start), index)
        for index, starts in enumerate(LAYERS if name.startswith("edge") else BROKER_LAYERS)
        for start in starts
        if name == start or (name.startswith(f"{start}.") and "." in start)
    ]
    assert fitting, f"{name} is in no layer; add it to LAYERS and to docs/architecture.md"
    return max(fitting)[1]


@pytest.mark.parametrize("name", [*EDGE, *BROKER])
def test_imports_point_downwards(name: str) -> None:
    own = layer(name)
    house = name.partition(".")[0]
    above = {
        each for each in imports(MODULES[name]) if each.startswith(house) and layer(each) > own
    }
    assert not above


@pytest.mark.parametrize("name", [name for name in BROKER if name.startswith(BROKER_CORE)])
def test_the_core_of_the_broker_knows_no_clock_and_no_socket(name: str) -> None:
    found = {each.partition(".")[0] for each in imports(MODULES[name])}
    assert not found & BROKER_CORE_MAY_NOT_IMPORT


@pytest.mark.parametrize("name", [name for name in EDGE if name.startswith("edge.core")])
def test_the_core_is_pure(name: str) -> None:
    foreign = {each for each in imports(MODULES[name]) if not each.startswith("edge.core")}
    assert foreign <= CORE_MAY_IMPORT


@pytest.mark.parametrize("name", BROKER)
def test_the_broker_knows_nothing_of_edge(name: str) -> None:
    assert not {each for each in imports(MODULES[name]) if each.partition(".")[0] == "edge"}


@pytest.mark.parametrize("name", EDGE)
def test_few_know_the_broker(name: str) -> None:
    found = {each for each in imports(MODULES[name]) if each.startswith("broker")}
    if not name.startswith(MAY_IMPORT_BROKER):
        assert found <= BROKER_VALUES


@pytest.mark.parametrize(("library", "homes"), ONLY_IN.items())
def test_a_library_has_one_home(library: str, homes: set[str]) -> None:
    users = {
        name
        for name in EDGE
        if any(f"{each}.".startswith(f"{library}.") for each in imports(MODULES[name]))
    }
    assert users <= homes


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def nesting(node: ast.AST) -> int:
    """How deep blocks stand in blocks; `elif` is not deeper than its `if`, a `def` starts anew."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        step = 1 if isinstance(child, BLOCKS) and not is_elif else 0
        deepest = max(deepest, step + nesting(child))
    return deepest


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_grows_too_large(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    is_test = path.is_relative_to(ROOT / "tests")
    assert is_test or text.count("\n") <= FILE_LINES
    too_long = {
        each.name: length(each) for each in functions(tree) if length(each) > FUNCTION_LINES
    }
    assert not too_long
    too_deep = {each.name: nesting(each) for each in functions(tree) if nesting(each) > NESTING}
    assert not too_deep


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    if text.strip():
        docstring = ast.get_docstring(ast.parse(text))
        assert docstring, "a module opens with one to five lines that say what it is for"
        lines = [line for line in docstring.splitlines() if line.strip()]
        assert len(lines) <= 8 or path.is_relative_to(ROOT / "tests")


def test_no_test_folder_hides_a_package() -> None:
    names = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert not names & {"edge", "broker", *sys.stdlib_module_names}
