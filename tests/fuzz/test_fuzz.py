"""A short sample of the fuzzer, and whether it would find something."""

from unittest.mock import patch

import pytest

from broker.routing.lane import Lane
from broker.routing.router import Router
from tests.fuzz.client import WrongError
from tests.fuzz.execution import bounded_time, execute

EXECUTIONS = 600
SEED = 5


def execute_all(part: int, parts: int) -> None:
    for number in range(part, EXECUTIONS, parts):
        execute(SEED, number)


@pytest.mark.parametrize("part", range(4))
def test_nothing_breaks(part: int) -> None:
    """Part by part, so that they run beside each other; `scripts/fuzz` runs as many as wanted."""
    with bounded_time():
        execute_all(part, 4)


def forget_nothing(*_: object) -> None:
    """What a broker that leaks does."""


@pytest.mark.parametrize(
    ("place", "name", "promise"),
    [
        (Router, "_resume", "who has no link is away"),
        (Router, "publish_waiting_will", "wills that waited are published"),
        (Lane, "_is_full", "of a queue are bounded|a queue is bounded"),
    ],
)
def test_a_broken_broker_is_found(place: type, name: str, promise: str) -> None:
    with patch.object(place, name, forget_nothing), pytest.raises(WrongError, match=promise):
        execute_all(0, 1)
