"""The guard depends on nothing but Python itself, and on little of that."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

GUARD = Path(__file__).parents[2] / "edge" / "duty" / "guard"
# What these bring with them is what the guard's 12 MB are made of.
MAY_IMPORT = {
    "_collections_abc",
    "_signal",
    "_socket",
    "ctypes",
    "errno",
    "fcntl",
    "marshal",
    "math",
    "os",
    "select",
    "struct",
    "sys",
    "time",
}


def run(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything but what is for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (each for branch in node.orelse for each in (branch, *run(branch)))
        else:
            yield node
            yield from run(node)


def imported(path: Path) -> set[str]:
    found = set()
    for node in run(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", sorted(GUARD.glob("*.py")), ids=lambda path: path.stem)
def test_guard_imports_itself_and_little_of_python(path: Path) -> None:
    foreign = {each for each in imported(path) if not each.startswith("edge.duty.guard")}
    assert {each.partition(".")[0] for each in foreign} <= MAY_IMPORT
