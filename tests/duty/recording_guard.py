"""A guard that records what it is asked for and runs real processes, without a deadline."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from edge.duty.ports import Exit, GuardCallbacks, GuardError, Spawn, WithheldError


class RecordingGuard:
    """Each call leaves one line in `calls`; `refused` and `gates` bend the outcome of a call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refused: dict[str, str] = {}  # call -> the reason of its GuardError
        self.withheld: set[str] = set()  # calls that come too late
        self.gates: dict[str, asyncio.Event] = {}  # call -> waits for this before its outcome
        self.spawned: list[Spawn] = []
        self.addresses: set[str] = set()
        self.farewells: dict[str, tuple[str, ...]] = {}
        self.guarded: dict[str, bool] = {}
        self.callbacks: GuardCallbacks | None = None
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._all: list[asyncio.subprocess.Process] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def running(self) -> list[str]:
        return [name for name, each in self._processes.items() if each.returncode is None]

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    async def hold_address(self, address: str, interface: str) -> None:
        self.addresses.add(address)
        try:
            await self._call(f"hold {address} {interface}")
        except GuardError:
            self.addresses.discard(address)
            raise

    async def drop_address(self, address: str, interface: str) -> None:
        await self._call(f"drop {address} {interface}")
        self.addresses.discard(address)

    async def spawn(self, process: Spawn) -> int:
        assert process.name not in self.running, "a name runs once at a time"
        self.spawned.append(process)
        try:
            child = await asyncio.create_subprocess_exec(
                *process.argv,
                env={**os.environ, **process.env},
                cwd=process.cwd,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise GuardError(f"{process.argv[0]}: {error.strerror}") from None
        self._processes[process.name] = child
        self._all.append(child)
        self.guarded[process.name] = process.guarded
        assert child.stdin is not None
        if not process.keeps_stdin:
            child.stdin.close()
        self._tasks[process.name] = asyncio.create_task(self._follow(process.name, child))
        await self._call(f"spawn {process.name}")
        return child.pid

    async def end(self, name: str, grace: float) -> None:
        await self._call(f"end {name}")
        child = self._processes.get(name)
        if child is None:
            return
        self._signal(child, signal.SIGTERM)
        await asyncio.wait({self._tasks[name]}, timeout=grace)
        self._signal(child, signal.SIGKILL)
        await self._tasks[name]

    def say(self, name: str, line: str) -> None:
        self.calls.append(f"say {name} {line}")
        stdin = self._processes[name].stdin
        assert stdin is not None
        stdin.write(line.encode() + b"\n")

    async def set_guarded(self, name: str, *, guarded: bool) -> None:
        await self._call(f"{'guard' if guarded else 'unguard'} {name}")
        if name not in self.running:
            raise GuardError(f"{name} does not run")
        self.guarded[name] = guarded

    async def hold_farewell(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], limit: float
    ) -> None:
        del env, limit
        await self._call(f"farewell {name}")
        self.farewells[name] = tuple(argv)

    async def drop_farewell(self, name: str) -> None:
        await self._call(f"drop_farewell {name}")
        self.farewells.pop(name, None)

    def extend(self, term: int, deadline: float) -> None:
        """The deadline is for the real guard's tests."""

    async def withdraw(self) -> None:
        await self._call("withdraw")
        self.addresses.clear()
        self.farewells.clear()
        for name in [each for each in self.running if self.guarded[each]]:
            await self.end(name, 0.0)
        self._tell(lambda callbacks: callbacks.on_withdrawn("asked"))

    async def close(self) -> None:
        for name in tuple(self._processes):
            self.refused.pop(f"end {name}", None)
            await self.end(name, 0.0)
        for child in self._all:  # else a pipe may be closed only after the loop
            child._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    async def _call(self, line: str) -> None:
        self.calls.append(line)
        if line in self.gates:
            await self.gates[line].wait()
        if line in self.withheld:
            raise WithheldError("the lease is over")
        if line in self.refused:
            raise GuardError(self.refused[line])

    async def _follow(self, name: str, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        while line := await child.stdout.readline():
            if self.callbacks is not None:
                self.callbacks.on_output(name, line.decode(errors="replace").rstrip("\n"))
        status = await child.wait()
        self._signal(child, signal.SIGKILL)
        self._tell(lambda callbacks: callbacks.on_exit(Exit(name, status)))

    def _tell(self, tell: Callable[[GuardCallbacks], None]) -> None:
        if self.callbacks is not None:
            tell(self.callbacks)

    @staticmethod
    def _signal(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
