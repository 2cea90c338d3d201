"""Runs each test of the contract on every engine; a known defect is an explained expected failure.

A test that takes `kind` runs on the three engines and on mosquitto as it comes; one that takes
`engine` on the three engines; one that takes `five` on all that speak MQTT 5. The id of a defect
is the name of the test that shows it.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.engines.defects import known_defects
from broker.settings import EngineName
from tests.engines.tools import Broker, free_port, open_settings, running

ENGINES = [name.value for name in EngineName]
KINDS = [*ENGINES, "reference"]
# amqtt knows MQTT 3.1.1 only, as its list of defects says.
WITH_MQTT_5 = [each for each in KINDS if each != EngineName.AMQTT]
NODE = Path(__file__).parent / "node"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    test = metafunc.function.__name__.removeprefix("test_")
    for argument, names in (
        ("kind", KINDS),
        ("engine", ENGINES),
        ("five_kind", WITH_MQTT_5),
    ):
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


@pytest.fixture
async def five(five_kind: str, port: int) -> AsyncIterator[Broker]:
    """The same, on a broker that speaks MQTT 5."""
    async with running(five_kind, open_settings(port)) as it:
        yield it


@pytest.fixture(scope="session")
def javascript() -> Path:
    """The folder of the JavaScript client, its one library installed by npm from the lock file."""
    if shutil.which("npm") is None:
        reason = "npm is not installed (Debian packages nodejs and npm)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not skip this")
        pytest.skip(reason)
    with (NODE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes, one installation
        if not (NODE / "node_modules" / ".package-lock.json").exists():
            command = ["npm", "ci", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=NODE, check=True, capture_output=True)
    return NODE
