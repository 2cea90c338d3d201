"""The node's log goes on when nobody reads it, and says then what was missed."""

import logging
import os
from collections.abc import Iterator

import pytest

from broker.log import Log
from edge.app import log as module
from edge.app.log import LogHandler


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[logging.Logger, int]]:
    """A logger, and where its lines can be read."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    monkeypatch.setattr(module, "Log", lambda **options: Log(theirs, **options))
    logger, handler = logging.getLogger(__name__), LogHandler()
    logger.addHandler(handler)
    yield logger, ours
    logger.removeHandler(handler)
    for each in (ours, theirs):
        os.close(each)


def read(end: int) -> list[str]:
    return os.read(end, 2**20).decode().splitlines()


def test_a_reader_that_stalls_stops_nothing(logged: tuple[logging.Logger, int]) -> None:
    logger, end = logged
    count = 10_000
    for number in range(count):
        logger.warning("line %d", number)
    lines = read(end)
    assert lines == [f"line {number}" for number in range(len(lines))]
    logger.warning("again")
    assert read(end) == [f"{count - len(lines)} lines left out", "again"]


def test_every_line_of_an_error_is_there(logged: tuple[logging.Logger, int]) -> None:
    logger, end = logged
    try:
        int("why")
    except ValueError:
        logger.exception("it failed")
    lines = read(end)
    assert lines[0] == "it failed"
    assert lines[-1].startswith("ValueError: ")
