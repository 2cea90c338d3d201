"""The agent's side of the guard: starts it, speaks with it, and replaces it once it is lost.

A guard that died or froze is killed and what it held is swept from here, by the same code; only
then is anybody told.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from edge.duty import users
from edge.duty.guard import frames, leftovers
from edge.duty.ports import Exit, GuardCallbacks, GuardError, Spawn, WithheldError
from edge.duty.tasks import in_own_thread

ROOT = Path(__file__).resolve().parents[2]
# Isolated and without site-packages: what it does not import costs no memory and breaks nothing.
CODE = "import sys; sys.path.append(sys.argv[1]); from edge.duty.guard.main import main; main()"
START_LIMIT = 20.0
END_LIMIT = 10.0
EXIT_LIMIT = 0.1
# Looked at so often in the time after which a silent guard counts as frozen.
LOOKS = 4
# Deadlines are passed on from this step on; smaller ones are not worth a line.
SMALLEST_STEP = 0.005

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """What the guard has to know from the beginning."""

    group: str
    node: str
    boot: str
    lease: float
    fence_delay: float
    addresses: tuple[tuple[str, str], ...] = ()  # address, interface: swept before the start
    probes: int = 2
    probe_wait: float = 0.04
    with_cgroups: bool = True  # where they can be written
    watchdog: str = ""  # the device; "" for none
    watchdog_timeout: int = 1
    watchdog_is_required: bool = False

    def to_message(self) -> dict[str, object]:
        return {
            "do": "begin",
            "group": self.group,
            "node": self.node,
            "boot": self.boot,
            "lease": self.lease,
            # Whoever saw our connections end claims after fence_delay: be done by half of it.
            "gone_grace": self.fence_delay / 2,
            "addresses": self.addresses,
            "probes": self.probes,
            "probe_wait": self.probe_wait,
            "with_cgroups": self.with_cgroups,
            "watchdog": self._watchdog(),
            # The kernel takes the address of a dead guard away within the lease, rounded up.
            "probe_patience": int(self.lease) + 1.5,
        }

    def _watchdog(self) -> dict[str, object] | None:
        if not self.watchdog:
            return None
        return {
            "device": self.watchdog,
            "timeout": self.watchdog_timeout,
            "is_required": self.watchdog_is_required,
        }


class Handle:
    """See edge.duty.ports.GuardHandle. After `on_lost`, `start` begins anew."""

    def __init__(self, settings: GuardSettings, callbacks: GuardCallbacks) -> None:
        self._settings = settings
        self._callbacks = callbacks
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ready: asyncio.Future[list[str]] | None = None
        self._number = 0
        self._last_asked = 0  # the number of the last line that is answered at once
        self._unanswered = 0  # the number of one that is not answered yet
        self._said: tuple[int, float] = (-1, -inf)
        self._is_closing = False
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The guard's process id while it runs."""
        return None if self._process is None else self._process.pid

    async def start(self) -> list[str]:
        """Start the guard; what it found of an earlier life and removed, in words."""
        assert self._process is None, "one guard at a time"
        self._is_closing, self._unanswered, self._said = False, 0, (-1, -inf)
        self._ended.clear()
        self._ready = asyncio.get_running_loop().create_future()
        try:
            self._process = process = await _start_process()
        except (OSError, RuntimeError) as error:  # no room for one more, or for a thread, yet
            raise GuardError(f"the guard cannot be started: {_in_words(error)}") from None
        name = f"guard {process.pid}"
        self._tasks = [_task(self._listen(process), name)]
        self._send(self._settings.to_message())
        try:
            async with asyncio.timeout(START_LIMIT):
                swept = await self._ready
        except TimeoutError:
            _kill(process)  # it holds nothing yet
            await self.close()
            raise GuardError(f"the guard was not ready within {START_LIMIT:g} s") from None
        except GuardError:
            await self.close()
            raise
        # Not earlier: it may have to wait for the guard of an earlier life to go.
        if self._process is process:
            self._tasks.append(_task(self._watch(process), f"watch of {name}"))
        return swept

    async def close(self) -> None:
        """Let go of everything; the guard ends by itself as its pipe closes."""
        process = self._process
        if process is None:
            return
        self._ask_for_life()  # the last time; how long it then takes to let go is its own affair
        self._is_closing = True
        assert process.stdin is not None
        process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_LIMIT):
                await self._ended.wait()
                return
        _kill(process)
        await self._ended.wait()

    async def hold_address(self, address: str, interface: str) -> None:
        await self._ask("hold_address", address=address, interface=interface)

    async def drop_address(self, address: str, interface: str) -> None:
        await self._ask("drop_address", address=address, interface=interface)

    def announce(self) -> None:
        self._send({"do": "announce"})

    async def spawn(self, process: Spawn) -> int:
        user = await users.look_up(process.user)
        answer = await self._ask(
            "spawn",
            name=process.name,
            argv=process.argv,
            env={**(user.env if user else {}), **process.env},
            cwd=process.cwd,
            user=user and (user.uid, user.gid, user.groups),
            guarded=process.guarded,
            grace=process.grace,
            stdin=process.keeps_stdin,
        )
        return int(answer["pid"])

    async def end(self, name: str, grace: float) -> None:
        await self._ask("end", name=name, grace=grace)

    def say(self, name: str, line: str) -> None:
        self._send({"do": "tell", "name": name, "line": line})

    async def set_guarded(self, name: str, *, guarded: bool) -> None:
        await self._ask("set_guarded", name=name, guarded=guarded)

    async def hold_farewell(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], limit: float
    ) -> None:
        await self._ask("farewell", name=name, argv=tuple(argv), env=dict(env), limit=limit)

    async def drop_farewell(self, name: str) -> None:
        await self._ask("drop_farewell", name=name)

    def extend(self, term: int, deadline: float) -> None:
        if self._process is None or self._is_closing:
            return  # there is nobody to answer it
        said_term, said_deadline = self._said
        if term == said_term and deadline < said_deadline + SMALLEST_STEP:
            return
        self._said = (term, deadline)
        number = self._expect_answer()
        self._send({"do": "extend", "term": term, "deadline": deadline, "n": number})

    async def withdraw(self) -> None:
        await self._ask("withdraw")

    async def _ask(self, what: str, **more: object) -> dict[str, Any]:
        if self._process is None or self._is_closing:
            raise GuardError("the guard is not running")
        self._number += 1
        number = self._number
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._send({"do": what, "id": number, **more})
        try:
            message: dict[str, Any] = await answer
        finally:
            self._answers.pop(number, None)
        match message["is"]:
            case "failed":
                raise GuardError(message["why"])
            case "withheld":
                raise WithheldError(message["why"])
        return message

    def _send(self, message: dict[str, object]) -> None:
        """A frozen guard does not read; it is found out long before the pipe's buffer matters."""
        if self._process is not None and not self._is_closing:
            assert self._process.stdin is not None
            self._process.stdin.write(frames.pack(message))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with suppress(asyncio.IncompleteReadError):  # the end of the pipe
            while True:
                head = await process.stdout.readexactly(frames.HEAD)
                body = await process.stdout.readexactly(frames.body_length(head))
                self._take(frames.unpack(body))
        await self._over(process)

    def _take(self, message: dict[str, Any]) -> None:
        match message["is"]:
            case "done" | "failed" | "withheld":
                self._answered(message)
            case "alive":
                self._unanswered = self._last_asked if self._last_asked > message["n"] else 0
            case "exited":
                name, status, by_guard = (message[key] for key in ("name", "status", "by_guard"))
                self._callbacks.on_exit(Exit(name, status, by_guard))
            case "output":
                self._callbacks.on_output(message["name"], message["line"])
            case "withdrawn":
                for problem in message["problems"]:
                    log.warning("Guard: %s", problem)
                self._callbacks.on_withdrawn(message["why"])
            case "problem":
                log.warning("Guard: %s", message["why"])
            case "ready" | "refused":
                self._started(message)

    def _answered(self, message: dict[str, Any]) -> None:
        answer = self._answers.get(message["id"])
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _started(self, message: dict[str, Any]) -> None:
        if self._ready is None or self._ready.done():
            return
        if message["is"] == "ready":
            self._ready.set_result(message["swept"])
        else:
            self._ready.set_exception(GuardError(message["why"]))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Frozen: no answer for a third of the lease.

        It is asked all the time, also as a standby's guard: a promotion is no time to find out.
        Looks are counted, not time: a stall of our own, however long, is one look, and before the
        next one we have read what he answered meanwhile.
        """
        interval = self._settings.lease / 3 / LOOKS
        missed, looks, open_number = 0, 0, 0
        while missed < LOOKS:
            await asyncio.sleep(interval)
            if self._process is not process:
                return
            looks += 1
            if not self._unanswered or self._unanswered != open_number:
                missed, open_number = 0, self._unanswered
            else:
                missed += 1
            if looks % LOOKS == 0:
                self._ask_for_life()
        log.error("The guard does not answer any more: it is killed")
        _kill(process)

    def _ask_for_life(self) -> None:
        """Unless it owes us an answer, or will read no more of us."""
        if not self._unanswered and not self._is_closing:
            self._send({"do": "ping", "n": self._expect_answer()})

    def _expect_answer(self) -> int:
        self._number += 1
        self._last_asked = self._number
        self._unanswered = self._unanswered or self._number
        return self._number

    async def _over(self, process: asyncio.subprocess.Process) -> None:
        """Its pipe is closed: nothing that it held may be left, whatever it died of."""
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        await _forget_input(process)
        status = await _end_of(process)
        was_ready = _has_result(self._ready)
        is_lost = was_ready and not self._is_closing
        if was_ready:  # else what there is may be the duty of somebody who has the right to it
            await self._sweep()
        self._process = None
        self._fail_open(GuardError("the guard is gone"))
        self._ended.set()
        if is_lost:
            self._callbacks.on_lost(f"the guard ended with status {status}")

    async def _sweep(self) -> None:
        settings = self._settings
        sweep = partial(leftovers.sweep, settings.group, settings.node, list(settings.addresses))
        try:
            found = await in_own_thread(sweep)  # the agent has a lease to give up meanwhile
        except OSError as error:
            log.error("What the guard held cannot be swept: %s", error)  # noqa: TRY400 - one line
            return
        for each in found:
            log.warning("Swept after the guard: %s", each)

    def _fail_open(self, error: GuardError) -> None:
        for answer in [*self._answers.values(), self._ready]:
            if answer is not None and not answer.done():
                answer.set_exception(error)


async def _start_process() -> asyncio.subprocess.Process:
    """In a session of its own: a Ctrl-C at the terminal is not for the guard."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", "-c", CODE, str(ROOT), str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=frames.LONGEST,
        start_new_session=True,
    )


def _has_result(future: asyncio.Future[list[str]] | None) -> bool:
    """Not so if whoever waited for it was cancelled: we stop while the guard starts."""
    return (
        future is not None
        and future.done()
        and not future.cancelled()
        and future.exception() is None
    )


async def _forget_input(process: asyncio.subprocess.Process) -> None:
    """What was written to somebody dead is an error that asyncio of Python 3.11.2 (Debian 12) hands
    to the loop's exception handler if nobody asks for it; and that one ends the node."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(EXIT_LIMIT):
            await asyncio.shield(process.stdin.wait_closed())


async def _end_of(process: asyncio.subprocess.Process) -> int:
    """Killed only if it lives on without its pipe."""
    with suppress(TimeoutError):
        async with asyncio.timeout(EXIT_LIMIT):
            return await process.wait()
    _kill(process)
    return await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    """If it lives: kill() asks for the status, and takes it from the thread that waits for it."""
    with suppress(ChildProcessError):  # the thread has it
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            process.kill()


def _in_words(error: OSError | RuntimeError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _task(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_show_failure)
    return task


def _show_failure(task: asyncio.Task[None]) -> None:
    """A mistake of ours goes to the loop's handler instead of nowhere."""
    if not task.cancelled():
        task.result()
