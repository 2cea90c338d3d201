"""The table from statement to test has no gap, and says nothing that is not so.

`python -m tests.conformance` prints it.
"""

import pytest

from tests.conformance import statements_5, statements_311
from tests.conformance.table import table

VERSIONS = {"3.1.1": statements_311, "5": statements_5}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_statement_has_a_test_or_a_reason(version: str) -> None:
    module = VERSIONS[version]
    shown = table(version)
    gaps = [each for each in module.STATEMENTS if each not in shown.keys() | module.WITHOUT_TEST]
    assert gaps == []


@pytest.mark.parametrize("version", VERSIONS)
def test_no_test_shows_what_is_no_statement(version: str) -> None:
    module = VERSIONS[version]
    assert table(version).keys() - module.STATEMENTS.keys() == set()
    assert module.WITHOUT_TEST.keys() - module.STATEMENTS.keys() == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_no_reason_stands_where_there_is_a_test(version: str) -> None:
    assert table(version).keys() & VERSIONS[version].WITHOUT_TEST.keys() == set()
