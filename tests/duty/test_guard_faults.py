"""Agent, guard or both killed or frozen, at each moment of promotion and demotion."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.duty.conftest import MakeAgent
from tests.duty.stage import Agent, is_gone, marked
from tests.lan.deadline import holds_for, wait_until

SLEEPER = ["sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000"]
# A whole life as a hot node, order by order; a fault comes after so many of them.
LIFE: tuple[dict[str, object], ...] = (
    {"do": "keep", "term": 1},
    {"do": "spawn", "name": "one", "argv": SLEEPER},
    {"do": "hold_farewell", "name": "relay", "argv": ["sleep", "0.05"], "env": {}, "limit": 1.0},
    {"do": "spawn", "name": "two", "argv": SLEEPER},
    {"do": "end", "name": "two", "grace": 0.05},
    {"do": "let_go"},
    {"do": "withdraw"},
)
MOMENTS = range(len(LIFE) + 1)
KILLED_OR_FROZEN = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])


def live(agent: Agent, orders: int) -> None:
    """Send so many orders; the last one is still being carried out when this returns."""
    for order in LIFE[: max(0, orders - 1)]:
        agent.order(**order)  # type: ignore[arg-type]
    for order in LIFE[max(0, orders - 1) : orders]:
        agent.send(**order)  # type: ignore[arg-type]


def hold(agent: Agent) -> None:
    """Be hot with one process, which has started one itself."""
    for order in LIFE[:2]:
        agent.order(**order)  # type: ignore[arg-type]
    wait_until(lambda: len(marked(agent.group)) == 3, "both sleep")


def nothing_is_left(agent: Agent) -> None:
    wait_until(
        lambda: not marked(agent.group), "nothing left", explain=lambda: str(marked(agent.group))
    )


@KILLED_OR_FROZEN
@pytest.mark.parametrize("moment", MOMENTS)
def test_fault_of_the_agent(agent: Agent, number: signal.Signals, moment: int) -> None:
    live(agent, moment)
    agent.signal(number)
    nothing_is_left(agent)
    if number == signal.SIGKILL:
        wait_until(lambda: is_gone(agent.guard), "the guard ended too")


@KILLED_OR_FROZEN
@pytest.mark.parametrize("moment", MOMENTS)
def test_fault_of_the_guard(agent: Agent, number: signal.Signals, moment: int) -> None:
    live(agent, moment)
    os.kill(agent.guard, number)
    agent.wait(lambda news: "lost" in news, "lost")
    assert not marked(agent.group), "swept before anybody is told"
    assert is_gone(agent.guard)


@pytest.mark.parametrize("moment", MOMENTS)
def test_both_killed_and_started_again(make_agent: MakeAgent, moment: int) -> None:
    """Children die with the guard; what they had started is swept by the next life."""
    agent = make_agent()
    live(agent, moment)
    children = psutil.Process(agent.guard).children()
    kill_both(agent)
    wait_until(lambda: all(is_gone(each.pid) for each in children), "children died with the guard")
    make_agent(agent.group)
    assert not marked(agent.group)


def test_both_frozen_the_duty_ends_as_soon_as_the_guard_wakes(agent: Agent) -> None:
    """Nobody can end a process meanwhile: that is what a watchdog is for (docs/duty.md)."""
    hold(agent)
    agent.signal(signal.SIGSTOP)
    os.kill(agent.guard, signal.SIGSTOP)
    holds_for(1.5, lambda: marked(agent.group), "still running")
    os.kill(agent.guard, signal.SIGCONT)
    nothing_is_left(agent)


def test_frozen_guard_of_a_dead_agent_gives_way_to_a_new_life(make_agent: MakeAgent) -> None:
    old = make_agent()
    hold(old)
    os.kill(old.guard, signal.SIGSTOP)
    old.signal(signal.SIGKILL)
    make_agent(old.group)
    assert is_gone(old.guard)
    assert not marked(old.group)


def test_second_agent_of_the_same_node_is_refused(make_agent: MakeAgent) -> None:
    first = make_agent()
    hold(first)
    second = Agent(group=first.group)
    try:
        assert "another agent" in second.start()["refused"]
        assert marked(first.group), "the first one goes on"
    finally:
        second.close()


def test_guard_that_was_lost_can_be_started_again(agent: Agent) -> None:
    hold(agent)
    os.kill(agent.guard, signal.SIGKILL)
    agent.wait(lambda news: "lost" in news, "lost")
    agent.start()
    live(agent, len(LIFE))


def test_orders_to_a_lost_guard_fail_in_words(agent: Agent) -> None:
    hold(agent)
    agent.send("end", name="one", grace=60.0)
    os.kill(agent.guard, signal.SIGKILL)
    refused = agent.wait(lambda news: "refused" in news, "refused")["refused"]
    assert refused == "the guard is gone"
    agent.wait(lambda news: "lost" in news, "lost")
    assert "not running" in agent.order("spawn", name="a", argv=["true"])["refused"]


def test_what_an_earlier_life_left_is_named(make_agent: MakeAgent) -> None:
    old = make_agent()
    hold(old)
    kill_both(old)
    assert "process one" in make_agent(old.group).news[0]["swept"]


def test_guard_lets_nobody_stop_it_but_its_agent(agent: Agent) -> None:
    hold(agent)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(agent.guard, number)
    agent.spawn("two", "sleep", "1000")
    agent.order("close")
    assert is_gone(agent.guard)


def test_agent_gone_while_a_child_of_its_holds_the_pipe(make_agent: MakeAgent) -> None:
    """The end of a process is seen by its id too, long before the deadline."""
    agent = make_agent(lease=60.0)
    hold(agent)
    pipe = Path(f"/proc/{agent.guard}/fd/0")
    with pipe.open("wb"):
        agent.signal(signal.SIGKILL)
        nothing_is_left(agent)
        wait_until(lambda: is_gone(agent.guard), "the guard ended too")


def test_guard_is_small(make_agent: MakeAgent) -> None:
    """The very first one after an installation compiles its own modules, which takes more."""
    make_agent().order("close")
    agent = make_agent()
    hold(agent)
    assert psutil.Process(agent.guard).memory_info().rss < 12_000_000


def kill_both(agent: Agent) -> None:
    """The agent is frozen first, so that it cannot sweep after its guard."""
    agent.signal(signal.SIGSTOP)
    os.kill(agent.guard, signal.SIGKILL)
    agent.signal(signal.SIGKILL)
