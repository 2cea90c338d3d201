"""Which tests show a statement: collected from the test modules themselves."""

from importlib import import_module
from pathlib import Path

from tests.conformance.tools import ATTRIBUTE


def table(version: str) -> dict[str, list[str]]:
    """By statement, the names of its tests."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path.stem == "test_coverage":
            continue
        for name, test in vars(import_module(f"tests.conformance.{path.stem}")).items():
            for statement in getattr(test, ATTRIBUTE, {}).get(version, ()):
                found.setdefault(statement, []).append(f"{path.stem}.{name}")
    return found
