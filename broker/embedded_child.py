"""The embedded broker as a process: settings in, `ready` or `error: ...` out, ends with its parent.

Standard error is the log, one line per event; a flood of events must not become a flood of lines.
"""

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from typing import Any, Final

from broker.engine import EngineError
from broker.server import Server
from broker.settings import BrokerSettings, from_json

# Log lines per second; what is beyond is only counted.
LINES_PER_SECOND: Final = 50
# Open files beside connections: listeners, pipes, and some more.
SPARE_FILES: Final = 64
# When the collector looks for cycles, of which asyncio leaves one for each connection that has
# ended: seldom enough to cost nothing, often enough to have little to do, also among what is old.
COLLECT_AFTER: Final = (1000, 5, 5)


def main(version: str) -> int:
    settings = from_json(sys.stdin.buffer.readline().decode())
    gc.set_threshold(*COLLECT_AFTER)
    _allow_files(settings.limits.connections + SPARE_FILES)
    return asyncio.run(_serve(settings, version))


async def _serve(settings: BrokerSettings, version: str) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_error)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = Server(settings, Log().write, version)
    try:
        await server.start()
    except EngineError as error:
        _tell(f"error: {error}")
        server.stop()
        return 1
    loop.add_reader(sys.stdin.fileno(), _on_input, stopped)
    gc.freeze()
    _tell("ready")
    await stopped.wait()
    server.stop()
    return 0


def _allow_files(wanted: int) -> None:
    """Each connection is an open file, and the usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _on_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The network's errors are borne; ours mean that the state is broken, so the process ends."""
    loop.default_exception_handler(context)
    if not isinstance(context.get("exception"), OSError | None):
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


class Log:
    """Lines for the operator, at most so many per second."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0

    def write(self, line: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            if self._lines > LINES_PER_SECOND:
                self._print(f"{self._lines - LINES_PER_SECOND} lines left out")
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= LINES_PER_SECOND:
            self._print(line)

    def _print(self, line: str) -> None:
        sys.stderr.write(line + "\n")
