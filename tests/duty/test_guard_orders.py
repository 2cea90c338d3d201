"""Orders that meet another one which is still being carried out: each is answered, and true."""

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.duty.keeping import until
from tests.duty.pipe import BOUND, Pipe, guard_at_a_pipe
from tests.duty.stage import is_gone, marked, unique_group

GROUP = unique_group()
FOREVER = ("sleep", "1000")
# It ends and leaves something behind.
LEAVER = ("sh", "-c", "sleep 1000 & exit 0")


@pytest.fixture
async def pipe() -> AsyncIterator[Pipe]:
    async with guard_at_a_pipe(GROUP) as opened:
        yield opened
    assert not marked(GROUP)


def spawning(name: str, *argv: str, guarded: bool = True) -> dict[str, object]:
    return {"name": name, "argv": argv, "env": {}, "guarded": guarded, "grace": 5.0}


def farewell(name: str, *argv: str) -> dict[str, object]:
    return {"name": name, "argv": argv, "env": {}, "limit": 5.0}


async def test_what_a_farewell_leaves_behind_ends_with_it(pipe: Pipe) -> None:
    pipe.extend(1)
    await pipe.done("farewell", **farewell("relay", *LEAVER))
    await pipe.done("withdraw")
    assert not marked(GROUP)


async def test_end_of_a_name_whose_next_life_waits_for_the_last(pipe: Pipe) -> None:
    """Of two orders the later one counts."""
    pipe.extend(1)
    await pipe.done("spawn", **spawning("pump", *LEAVER))
    await pipe.exited("pump")
    with pipe.at_once():
        start = pipe.order("spawn", **spawning("pump", *FOREVER))
        end = pipe.order("end", name="pump", grace=5.0)
    await asyncio.wait({end}, timeout=BOUND)
    assert start.result()["is"] == "withheld"
    assert not marked(GROUP)


async def test_withdrawal_while_a_start_waits_for_the_last_life(pipe: Pipe) -> None:
    """One that was not guarded: nobody waits for its end."""
    pipe.extend(1)
    await pipe.done("spawn", **spawning("pump", *LEAVER, guarded=False))
    await pipe.exited("pump")
    with pipe.at_once():
        start = pipe.order("spawn", **spawning("pump", *FOREVER))
        withdrawal = pipe.order("withdraw")
    await asyncio.wait({withdrawal}, timeout=BOUND)
    assert start.result()["is"] == "withheld"


@pytest.mark.parametrize("term", [1, 2])
async def test_deadline_that_passes_during_a_withdrawal(pipe: Pipe, term: int) -> None:
    """Another came in time: neither of the same term nor of the next is it over with that."""
    pipe.extend(1, 0.3)
    await pipe.done("farewell", **farewell("relay", "sleep", "0.5"))
    withdrawal = pipe.order("withdraw")
    pipe.extend(term)
    await withdrawal
    await pipe.done("spawn", **spawning("pump", *FOREVER))


async def test_somebody_else_is_gone_at_the_end_of_a_withdrawal(pipe: Pipe) -> None:
    """What the withdrawal does not wait for is forgotten once, and the guard lives on."""
    pipe.extend(1)
    pump = await pipe.done("spawn", **spawning("pump", *FOREVER))
    check = await pipe.done("spawn", **spawning("check", *FOREVER, guarded=False))
    with pipe.at_once():
        withdrawal = pipe.order("withdraw")
        for each in (pump, check):
            os.kill(each["pid"], signal.SIGKILL)
            await until(partial(is_gone, each["pid"]))
    await asyncio.wait({withdrawal}, timeout=BOUND)
    assert withdrawal.result()["is"] == "done"
    await pipe.done("spawn", **spawning("check", *FOREVER, guarded=False))


async def test_no_room_for_another_process(pipe: Pipe) -> None:
    """It is refused, and what runs is not lost by it."""
    pipe.extend(1)
    running = await pipe.done("spawn", **spawning("pump", *FOREVER))
    resource.prlimit(pipe.pid, resource.RLIMIT_NOFILE, (4, 64))
    assert "Too many open files" in await pipe.refused("spawn", **spawning("meter", *FOREVER))
    resource.prlimit(pipe.pid, resource.RLIMIT_NOFILE, (64, 64))
    await pipe.done("spawn", **spawning("meter", *FOREVER))
    assert running["pid"] in {each.pid for each in marked(GROUP)}


async def test_no_room_for_a_farewell(pipe: Pipe) -> None:
    pipe.extend(1)
    await pipe.done("farewell", **farewell("relay", "true"))
    resource.prlimit(pipe.pid, resource.RLIMIT_NOFILE, (4, 64))
    await pipe.done("withdraw")
    assert "Too many open files" in pipe.withdrawals[0]["problems"][0]
