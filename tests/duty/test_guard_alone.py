"""The guard depends on nothing but Python itself, and on little of that."""

import ast
from pathlib import Path

import pytest

GUARD = Path(__file__).parents[2] / "edge" / "duty" / "guard"
# What these bring with them is what the guard's 12 MB are made of.
MAY_IMPORT = {
    "_socket",
    "collections",
    "contextlib",
    "ctypes",
    "errno",
    "fcntl",
    "json",
    "math",
    "os",
    "select",
    "signal",
    "struct",
    "sys",
    "time",
    "typing",  # for the type checker alone
}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", sorted(GUARD.glob("*.py")), ids=lambda path: path.stem)
def test_guard_imports_itself_and_little_of_python(path: Path) -> None:
    foreign = {each for each in imported(path) if not each.startswith("edge.duty.guard")}
    assert {each.partition(".")[0] for each in foreign} <= MAY_IMPORT
