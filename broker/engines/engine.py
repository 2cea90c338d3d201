"""The three methods behind which every broker of the group hides, and what keeps one running.

An engine runs the broker in a child process, so that application traffic never shares the
agent's event loop, and so that a broker that dies takes nothing with it. The child dies with its
parent, also when the parent is killed with SIGKILL. Starting it again is the work of `supervise`.
"""

import asyncio
from collections.abc import Callable
from typing import NoReturn, Protocol

from broker.errors import EngineError

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0


class Engine(Protocol):
    """A broker that can be started, stopped and watched. One life each: start once, stop once."""

    async def start(self) -> None:
        """Return when clients can connect on every listener, or raise EngineError."""

    async def stop(self) -> None:
        """Return when the process is gone and its ports are free. Safe to call at any time."""

    async def failed(self) -> str:
        """Wait until the broker ends by itself; return why, in one line. Not after a stop."""


async def supervise(
    make_engine: Callable[[], Engine],
    *,
    on_started: Callable[[], None],
    on_failed: Callable[[str], None],
) -> NoReturn:
    """Keep a broker running until cancelled, and stop it then.

    `on_started` is called whenever clients can connect (again), `on_failed` with one line for
    every end and every vain restart. Only the first start may fail for good: its EngineError is
    the operator's business and is raised to the caller.
    """
    pause = FIRST_PAUSE
    has_started = False
    while True:
        engine = make_engine()
        started_at = asyncio.get_running_loop().time()
        try:
            await engine.start()
            has_started = True
            on_started()
            reason = await engine.failed()
        except EngineError as error:
            if not has_started:
                raise
            reason = str(error)
        finally:
            await engine.stop()
        on_failed(reason)
        # A broker that served for a while did not fail because of the way it was started.
        if asyncio.get_running_loop().time() - started_at > LONGEST_PAUSE:
            pause = FIRST_PAUSE
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
