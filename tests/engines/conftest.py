"""Runs each test of the contract on every engine; a known defect is an explained expected failure.

A test that takes `kind` runs on the three engines and on mosquitto as it comes; one that takes
`engine` on the three engines. The id of a defect is the name of the test that shows it.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker.engine import known_defects
from broker.settings import EngineName
from tests.engines.tools import Broker, free_port, open_settings, running

ENGINES = [name.value for name in EngineName]
KINDS = [*ENGINES, "reference"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    test = metafunc.function.__name__.removeprefix("test_")
    for argument, names in (("kind", KINDS), ("engine", ENGINES)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, [_case(name, test) for name in names])


def _case(kind: str, test: str) -> Any:
    if kind in ENGINES:
        for defect in known_defects(EngineName(kind)):
            if defect.id == test:
                mark = pytest.mark.xfail(reason=defect.sentence, strict=defect.shows_always)
                return pytest.param(kind, marks=mark)
    return kind


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def broker(kind: str, port: int) -> AsyncIterator[Broker]:
    """A broker on which everybody may do everything."""
    async with running(kind, open_settings(port)) as it:
        yield it
