"""How fast the guard lets go: `python -m benchmarks.guard [rounds]`, as root (network namespaces).

From a fault to the kernel's notice that the address is gone, seen from outside the guard.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from edge.duty.guard.netlink import Address, Changes, parse
from tests.duty.stage import Agent, Machine, lan, marked

ADDRESS = "10.9.0.50/24"
WAIT = 10.0
# The shortest times of docs/protocol.md: who claims after a will waits for fence_delay.
FAST = {"lease": 0.25, "fence_delay": 0.05}
Fault = Callable[[Agent], float]
Gone = Callable[[list[int], Changes], float]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    # Who measures is not to be late because the machine is busy; what it starts is ordinary.
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(2))
    print(f"rounds: {rounds}; milliseconds: median, 95 %, worst\n")
    for load in (0, 4):
        with busy(load):
            print(f"{load} busy processes on {os.cpu_count()} processors")
            measure("agent killed -> no address", rounds, kill_agent)
            measure("agent killed -> no process", rounds, kill_agent, gone=processes_gone)
            measure("guard killed -> swept by the agent", rounds, kill_guard)
            measure("deadline -> no process (aim: -10)", rounds, let_it_pass, gone=processes_gone)
            measure("both killed -> removed by the kernel", rounds // 3, kill_both)
            measure_fast(rounds)
    print_memory()


def measure(
    what: str,
    rounds: int,
    fault: Fault,
    gone: Gone | None = None,
) -> None:
    times = sorted(one_round(fault, gone or address_gone) * 1000 for _ in range(rounds))
    at_95 = times[min(len(times) - 1, int(len(times) * 0.95))]
    print(f"  {what:50} {statistics.median(times):8.1f} {at_95:8.1f} {times[-1]:8.1f}")


def measure_fast(rounds: int) -> None:
    """How often something is left after all of fence_delay, of which half is the guard's.

    From the agent's death: its connections end then, and from then on others count.
    """
    for what, gone in (("address", address_gone), ("process", processes_gone)):
        times = [one_round(see_agent_die, gone, **FAST) for _ in range(rounds)]
        late = sum(each > FAST["fence_delay"] for each in times)
        print(f"  fast: agent dead -> no {what:25} worst {max(times) * 1000:6.1f}", end="")
        print(f", over 25: {sum(each > 0.025 for each in times)}, over 50: {late} of {rounds}")


def one_round(fault: Fault, gone: Gone, **settings: object) -> float:
    with ExitStack() as stack:
        white, *_ = stack.enter_context(lan())
        agent = hot_agent(white, **settings)
        changes = watch(white)
        stack.callback(changes.close)
        pids = [each.pid for each in marked(agent.group)]
        began_at = fault(agent)
        return gone(pids, changes) - began_at


def hot_agent(machine: Machine, **settings: object) -> Agent:
    """Hot, with an address and a process that ignores SIGTERM."""
    agent = machine.agent(wrapper=(), addresses=[(ADDRESS, "lan")], **settings)
    agent.order("keep", term=1)
    # Beyond what a busy stand-in of an agent might miss: the faults are ours alone.
    agent.order("extend", term=1, deadline=time.monotonic() + WAIT)
    assert "done" in agent.hold(ADDRESS)
    agent.spawn("stubborn", "sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000")
    return agent


def watch(machine: Machine) -> Changes:
    with machine.namespace.entered():
        return Changes()


def address_gone(_pids: list[int], changes: Changes) -> float:
    wanted, _ = parse(ADDRESS)
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        for news in changes.read():
            if isinstance(news, Address) and news.packed == wanted:
                return time.monotonic()
        time.sleep(0.0002)
    raise TimeoutError("the address stayed")


def processes_gone(pids: list[int], _changes: Changes) -> float:
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        if not any(map(is_there, pids)):
            return time.monotonic()
        time.sleep(0.0005)
    raise TimeoutError("a process stayed")


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_agent(agent: Agent) -> float:
    agent.signal(signal.SIGKILL)
    return time.monotonic()


def see_agent_die(agent: Agent) -> float:
    """On a busy machine a killed process takes its time to die."""
    agent.signal(signal.SIGKILL)
    agent.wait_dead()
    return time.monotonic()


def kill_guard(agent: Agent) -> float:
    os.kill(agent.guard, signal.SIGKILL)
    return time.monotonic()


def let_it_pass(agent: Agent) -> float:
    """The deadline itself: what ignores SIGTERM is to be gone a hundredth of a second earlier."""
    agent.order("let_go")
    deadline = time.monotonic() + 1.2
    agent.order("extend", term=2, deadline=deadline)
    return deadline


def kill_both(agent: Agent) -> float:
    agent.signal(signal.SIGSTOP)
    os.kill(agent.guard, signal.SIGKILL)
    agent.signal(signal.SIGKILL)
    return time.monotonic()


@contextmanager
def busy(count: int) -> Iterator[None]:
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def print_memory() -> None:
    with lan() as (white, *_):
        agent = hot_agent(white)
        sizes = psutil.Process(agent.guard).memory_full_info()
        parts = (f"{each} {getattr(sizes, each) / 1e6:.1f} MB" for each in ("rss", "pss", "uss"))
        print(f"\nguard, Python {sys.version.split()[0]}: {', '.join(parts)}")


if __name__ == "__main__":
    main()
