"""The list of known defects stays true: each one has its test, and its sentence is for people."""

from pathlib import Path

import pytest

from broker.engines.defects import known_defects
from broker.settings import EngineName


@pytest.mark.parametrize("name", list(EngineName))
def test_each_known_defect_has_its_test(name: EngineName) -> None:
    tests = "".join(each.read_text() for each in Path(__file__).parent.glob("test_*.py"))
    for defect in known_defects(name):
        assert f"def test_{defect.id}(" in tests
        assert defect.sentence.startswith(name.value)
        assert "\n" not in defect.sentence


@pytest.mark.parametrize("name", list(EngineName))
def test_each_known_defect_is_in_the_handbook(name: EngineName) -> None:
    handbook = (Path(__file__).parents[2] / "docs" / "broker.md").read_text()
    for defect in known_defects(name):
        assert f"| `{name}` | {defect.sentence} |" in handbook


def test_the_embedded_engine_has_none() -> None:
    assert known_defects(EngineName.EMBEDDED) == ()
