"""The embedded broker as a process: settings in, `ready` or `error: ...` out, ends with its parent.

Standard error is the log, one line per event.
"""

import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from broker.admission.entrance import CHECKED, STRANGERS
from broker.errors import EngineError
from broker.log import Log
from broker.server.server import Server
from broker.settings import BrokerSettings, from_json

# Open files beside those of clients: strangers, those that read why they were refused, those whose
# password is checked, listeners, pipes, and some more.
SPARE_FILES: Final = 64 + 2 * STRANGERS + CHECKED
# When the collector looks for cycles, of which asyncio leaves one for each connection that has
# ended: seldom enough to cost nothing, often enough to have little to do, also among what is old.
COLLECT_AFTER: Final = (1000, 5, 5)
# Seconds that a broken broker may take to say what broke.
LAST_WORDS: Final = 2


def main(version: str) -> int:
    settings = from_json(sys.stdin.buffer.readline().decode())
    try:
        run(settings, version, _attend_parent)
    except EngineError as error:
        _tell(f"error: {error}")
        return 1
    return 0


def run(
    settings: BrokerSettings, version: str, attend: Callable[[asyncio.Event], Awaitable[None]]
) -> None:
    """Serve until a signal, or until `attend` returns, which begins when clients can connect and
    is told of the signal. Raises EngineError if they cannot."""
    gc.set_threshold(*COLLECT_AFTER)
    log = Log()
    asyncio.run(_serve(_within_files(settings, log), version, log, attend))


async def _serve(
    settings: BrokerSettings,
    version: str,
    log: Log,
    attend: Callable[[asyncio.Event], Awaitable[None]],
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(partial(_on_error, log))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = Server(settings, log.write, version)
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    gc.disable()  # what a start makes is there to stay, also a hundred thousand messages from disk
    try:
        await server.start()
        gc.freeze()
        gc.enable()
        await attend(stopped)
    finally:
        server.stop()


async def _attend_parent(stopped: asyncio.Event) -> None:
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _on_input, stopped)
    _tell("ready")
    await stopped.wait()


def _within_files(settings: BrokerSettings, log: Log) -> BrokerSettings:
    """Each connection is an open file: more of them than files would shut out everybody."""
    allowed = _allow_files(settings.limits.connections + SPARE_FILES)
    most = max(allowed - SPARE_FILES, 1)
    if most >= settings.limits.connections:
        return settings
    log.write(f"no more than {allowed} files may be open (ulimit -n): at most {most} connections")
    return replace(settings, limits=replace(settings.limits, connections=most))


def _allow_files(wanted: int) -> int:
    """How many may be open now; the usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return wanted if soft == resource.RLIM_INFINITY else soft


def _on_error(log: Log, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The network's errors are borne; ours mean that the state is broken, so the process ends."""
    error = context.get("exception")
    if isinstance(error, OSError | None):
        log.write(f"{context['message']}: {error}")
        return
    signal.alarm(LAST_WORDS)  # also if nobody takes them
    loop.default_exception_handler(context)
    sys.stderr.flush()
    os._exit(3)


def _tell(line: str) -> None:
    """To the parent, which waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _on_input(stopped: asyncio.Event) -> None:
    """The parent never writes again: anything but its end is ignored."""
    if not os.read(sys.stdin.fileno(), 4096):
        stopped.set()
