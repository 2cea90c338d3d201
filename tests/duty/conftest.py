"""What the tests of the duty share: an environment without `EDGE_...`."""

import os

import pytest


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("EDGE_") and not name.startswith("EDGE_TEST_"):
            monkeypatch.delenv(name)
