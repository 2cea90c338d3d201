"""One child process that runs a broker: started, heard, stopped, and never left behind.

Our own children get their settings as one line on standard input, which then stays open as a
lifeline: its end tells the child that the parent is gone, however it went. A foreign program gets
the kernel's parent-death signal instead (see `bound_to_parent`).
"""

import asyncio
import logging
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress

from broker.errors import EngineError

READY_TIMEOUT = 30.0  # a cold Python on a small board takes seconds
STOP_TIMEOUT = 5.0
DRAIN_TIMEOUT = 1.0  # for the last words of a process that has ended
LINE_LIMIT = 1024 * 1024

logger = logging.getLogger("broker")


class Child:
    """A broker process. One life: start once, stop once; stop is safe at any time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: Process | None = None
        self._ready: asyncio.Future[None] | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._last_line = ""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self, command: Sequence[str], settings_json: str) -> None:
        """Run one of our own children; return when it says `ready`, raise EngineError otherwise."""
        assert "\n" not in settings_json
        await self._run(command, line=settings_json, ready_text=None)

    async def start_foreign(self, command: Sequence[str], ready_text: str) -> None:
        """Run a foreign, bound program; ready is when its standard error says `ready_text`."""
        await self._run(command, line=None, ready_text=ready_text)

    async def stop(self) -> None:
        """SIGTERM, after some seconds SIGKILL; return when the process is gone."""
        self._is_stopping = True
        process = self._process
        if process is None:
            return
        try:
            _send(process, signal.SIGTERM)
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            logger.warning("%s: did not stop within %g s, killing it", self._name, STOP_TIMEOUT)
        finally:
            _send(process, signal.SIGKILL)
        await process.wait()
        await self._finish_readers()

    async def failed(self) -> str:
        """Wait until the process ends by itself; return why, as one line."""
        assert self._process is not None, "start comes first"
        await self._process.wait()
        await self._finish_readers()
        if self._is_stopping:
            await asyncio.get_running_loop().create_future()  # an ordered end is not a failure
        return self._obituary()

    async def _run(self, command: Sequence[str], line: str | None, ready_text: str | None) -> None:
        self._ready = asyncio.get_running_loop().create_future()
        try:
            self._process = await _spawn(command, has_lifeline=line is not None)
            self._read(self._process, ready_text)
            if line is not None:
                await _write_line(self._process, line)
            await self._until_ready()
        except BaseException:  # also when cancelled: a half-started broker must not stay
            await self.stop()
            raise

    def _read(self, process: Process, ready_text: str | None) -> None:
        def on_error_line(line: str) -> None:
            self._last_line = line
            logger.log(self._level(line, ready_text), "%s: %s", self._name, line)
            if ready_text is not None and ready_text in line:
                self._resolve(None)

        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            asyncio.create_task(_each_line(process.stdout, self._on_output_line), name="stdout"),
            asyncio.create_task(_each_line(process.stderr, on_error_line), name="stderr"),
        ]

    def _level(self, line: str, ready_text: str | None) -> int:
        """Our own children say what matters; foreign ones, and those told to stop, say more."""
        if self._is_stopping:
            return logging.DEBUG
        if ready_text is None:
            return logging.INFO
        return logging.WARNING if line.startswith(("Error", "Warning")) else logging.DEBUG

    def _on_output_line(self, line: str) -> None:
        if line == "ready":
            self._resolve(None)
        elif line.startswith("error: "):
            self._last_line = line.removeprefix("error: ")
            self._resolve(EngineError(self._last_line))

    def _resolve(self, error: EngineError | None) -> None:
        assert self._ready is not None
        if self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)

    async def _until_ready(self) -> None:
        assert self._ready is not None
        ended = asyncio.create_task(self.failed(), name=f"{self._name} ended")
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                await asyncio.wait((self._ready, ended), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            text = f"the {self._name} broker did not start within {READY_TIMEOUT:g} s"
            raise EngineError(text) from None
        finally:
            ended.cancel()
        if not self._ready.done():
            self._resolve(EngineError(self._obituary()))
        self._ready.result()

    async def _finish_readers(self) -> None:
        """Let the last lines through; a stray holder of the pipe must not hold us up."""
        if self._readers:
            _, late = await asyncio.wait(self._readers, timeout=DRAIN_TIMEOUT)
            for task in late:
                task.cancel()

    def _obituary(self) -> str:
        assert self._process is not None
        code = self._process.returncode
        assert code is not None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        said = f": {self._last_line}" if self._last_line else ""
        return f"the {self._name} broker {how}{said}"


def bound_to_parent(command: Sequence[str], *options: str) -> list[str]:
    """The command, wrapped so that the kernel kills it when the thread that started it ends.

    The signal is bound to the parent *thread*: start brokers from a thread that lives as long as
    the process. Changing the user clears it, so `options` is where setpriv is told to do that.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EngineError("setpriv is missing; install it (Debian package util-linux)")
    return [setpriv, *options, "--pdeathsig", "KILL", "--", *command]


async def _spawn(command: Sequence[str], *, has_lifeline: bool) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE if has_lifeline else DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            limit=LINE_LIMIT,
            start_new_session=True,  # Ctrl-C reaches the parent only, which stops us in order
        )
    except OSError as error:
        raise EngineError(f"cannot run {command[0]}: {error.strerror}") from None


async def _write_line(process: Process, line: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line.encode() + b"\n")
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        # It ended before it read: the exit status says more than we could. Asked for once more, as
        # asyncio of Python 3.11.2 (Debian 12) calls an error that nobody asks for one of ours.
        with suppress(OSError):
            await process.stdin.wait_closed()


async def _each_line(stream: asyncio.StreamReader, handle: Callable[[str], None]) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue  # longer than LINE_LIMIT: dropped, what matters is that the pipe drains
        if not line:
            return
        handle(line.decode(errors="replace").rstrip())


def _send(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        try:
            process.send_signal(number)
        except ProcessLookupError:
            return  # it ended in this very moment, which is what we want
