"""A short sample of the storms; `python -m tests.duty.storm` makes as many as wanted."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.duty.stage import ROOT
from tests.duty.storm import storm_of
from tests.lan.namespaces import Namespace, unique_name

STEPS = 40


@pytest.mark.parametrize("seed", [1, 3, 4, 5])
async def test_every_answer_comes_and_is_true(seed: int) -> None:
    assert await storm_of(seed, STEPS) == []


@pytest.fixture
def machine() -> Iterator[Namespace]:
    """One with an interface at which nobody is; CI always has it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        why = "network namespaces need root and ip"
        if os.environ.get("CI"):
            pytest.fail(f"CI must run these tests, but: {why}")
        pytest.skip(why)
    namespace = Namespace(unique_name("storm", "one"))
    namespace.create()
    try:
        namespace.ip("link", "add", "lan", "type", "veth", "peer", "name", "nobody")
        for each in ("lan", "nobody"):
            namespace.ip("link", "set", each, "up")
        yield namespace
    finally:
        namespace.delete()


@pytest.mark.parametrize("seed", [7, 8, 10])
def test_with_an_address(machine: Namespace, seed: int) -> None:
    storm = (sys.executable, "-m", "tests.duty.storm", "--only", str(seed), "--interface", "lan")
    command = machine.command(*storm, "--steps", str(STEPS))
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
