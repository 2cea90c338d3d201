"""`edge demo`: a group to look at and to play with; `--once` tells the whole story and ends."""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from edge.adapters.operator import GroupClient, Login, group_client
from edge.commands.demo_group import GROUP, NODES, WITNESS, DemoGroup, demo_group
from edge.commands.group import Group, move, plain_console, watch
from edge.console.view import GroupView, hot_node, is_redundant
from edge.errors import OperatorError, UnreachableError
from edge.wire import Topics

START_TIMEOUT = 60.0
FAILOVER_TIMEOUT = 20.0
LOOK_INTERVAL = 0.5
RESTART_DELAY = 5.0


def run_demo(*, once: bool) -> int:
    """Run the demo; no process is left when this returns, whatever happened."""
    for key in [each for each in os.environ if each.startswith("EDGE_")]:
        del os.environ[key]  # the demo's own file is all that counts
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console = plain_console()
    with demo_group() as group:
        try:
            return asyncio.run(_story(group, console) if once else _play(group, console))
        except OperatorError as error:
            console.print(f"failed: {error}", style="bold red")
            console.print(group.tails())
            return 1
        except KeyboardInterrupt:
            console.print("stopping")
            return 0


async def _story(group: DemoGroup, console: Console) -> int:
    """Start, kill the hot node, let it come back, hand over by order."""
    first = await _start(group, console)
    survivor = next(name for name in NODES if name != first)
    await _show_failover(group, console, first, survivor)
    console.print(f"starting {first} again")
    group.start(first)
    await _until(group, survivor, is_redundant, START_TIMEOUT, "redundant again")
    console.print(f"ordering a switchover back to {first}")
    await move(_as_group(group, survivor, console), "switchover", {"to": first})
    await _until(group, survivor, is_redundant, START_TIMEOUT, "redundant after the switchover")
    console.print("done: everything is stopped now")
    return 0


async def _start(group: DemoGroup, console: Console) -> str:
    members = (*NODES, WITNESS)
    names = ", ".join(f"{name} on port {group.port(name)}" for name in members)
    console.print(f"starting two nodes and a witness: {names}")
    began = time.monotonic()
    for name in members:
        group.start(name)
    view = await _until(group, None, is_redundant, START_TIMEOUT, "redundant")
    hot = hot_node(view)
    assert hot is not None
    took = time.monotonic() - began
    console.print(f"redundant after {took:.1f} s: {hot} is hot")
    return hot


async def _show_failover(group: DemoGroup, console: Console, victim: str, survivor: str) -> None:
    """Kill, and time from outside until the survivor's broker says that the survivor is hot."""
    async with group_client(group.settings, Login(), survivor) as client:
        await client.wait_for_state()
        pid = group.processes[victim].pid
        console.print(f"killing {victim} (SIGKILL, process {pid})")
        killed_at = time.monotonic()
        group.kill(victim)
        await _until_hot(client, survivor)
        took = (time.monotonic() - killed_at) * 1000
    console.print(f"failover: {survivor} is hot {took:.0f} ms after the kill")


async def _until_hot(client: GroupClient, wanted: str) -> None:
    try:
        async with asyncio.timeout(FAILOVER_TIMEOUT):
            while hot_node(client.view) != wanted:
                await client.next_message()
    except TimeoutError:
        text = f"{wanted} did not become hot within {FAILOVER_TIMEOUT:.0f} s"
        raise OperatorError(text) from None


async def _until(
    group: DemoGroup,
    first: str | None,
    is_reached: Callable[[GroupView], bool],
    timeout: float,  # noqa: ASYNC109  a deadline over several connections, with its own words
    what: str,
) -> GroupView:
    """Look at the group, over new connections if need be, until `is_reached`."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        _require_running(group)
        view = await _look(group, first, is_reached)
        if view is not None:
            return view
    raise OperatorError(f"the group was not {what} within {timeout:.0f} s")


async def _look(
    group: DemoGroup, first: str | None, is_reached: Callable[[GroupView], bool]
) -> GroupView | None:
    """A short look through one connection; nothing if it was not long enough."""
    try:
        async with (
            group_client(group.settings, Login(), first) as client,
            asyncio.timeout(LOOK_INTERVAL),
        ):
            while not is_reached(client.view):
                await client.next_message()
            return client.view
    except UnreachableError:
        await asyncio.sleep(LOOK_INTERVAL / 5)
    except TimeoutError:
        pass
    return None


def _require_running(group: DemoGroup) -> None:
    ended = group.ended()
    if ended:
        raise OperatorError(f"{', '.join(ended)} ended by itself")


async def _play(group: DemoGroup, console: Console) -> int:
    """The live table until Ctrl-C; a member that is killed comes back after a while."""
    hot = await _start(group, console)
    console.print(_lines_to_try(group, hot))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_revive(group), name="revive")
        tasks.create_task(watch(_as_group(group, None, console)), name="watch")
    return 0


async def _revive(group: DemoGroup) -> None:
    while True:
        await asyncio.sleep(LOOK_INTERVAL)
        for name in group.ended():
            await asyncio.sleep(RESTART_DELAY)
            group.start(name)


def _lines_to_try(group: DemoGroup, hot: str) -> Text:
    other = next(name for name in NODES if name != hot)
    at_other = f"-h 127.0.0.1 -p {group.port(other)}"
    topics = Topics(GROUP)
    return Text(
        "\nTry these in another terminal (mosquitto_... is in the package mosquitto-clients).\n"
        f"A killed node is started again after {RESTART_DELAY:.0f} s. Ctrl-C ends everything.\n"
        f"  mosquitto_sub {at_other} -v -t {topics.hot} -t {topics.event}\n"
        f"  kill -9 {group.processes[hot].pid}    # {hot}: {other} takes over\n"
        f"  mosquitto_pub {at_other} -t {topics.request('switchover')} -m {other}\n"
        f"  {_typed_command()} status --config {group.file}\n"
    )


def _typed_command() -> str:
    """How this program was called, if the bare name would not be found."""
    return "edge" if shutil.which("edge") else sys.argv[0]


def _as_group(group: DemoGroup, first: str | None, console: Console) -> Group:
    return Group(group.settings, Login(), first, console)
