"""Agents, and machines where root may make them."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.duty.stage import Agent, Machine, lan

MakeAgent = Callable[..., Agent]


@pytest.fixture
def make_agent() -> Iterator[MakeAgent]:
    agents: list[Agent] = []

    def make(group: str = "", **settings: object) -> Agent:
        agents.append(Agent(group=group))
        agents[-1].start(**settings)
        return agents[-1]

    yield make
    for agent in agents:
        agent.close()


@pytest.fixture
def agent(make_agent: MakeAgent) -> Agent:
    return make_agent()


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine, Machine]]:
    """Three machines at one switch; CI always has them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        why = "network namespaces need root and ip"
        if os.environ.get("CI"):
            pytest.fail(f"CI must run these tests, but: {why}")
        pytest.skip(why)
    with lan() as all_of_them:
        yield all_of_them
