"""What the keeper of the duty asks of the guard: hold this, end that, until this deadline.

Two implementations exist: the handle of the real guard process, and the recording one of tests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class GuardError(Exception):
    """The guard refused or could not do it. The text is one line for an operator."""


class WithheldError(GuardError):
    """Not now: the lease is over or the duty is ending. Nothing is wrong with what was asked."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """One process of the duty, by a name that is unique in this guard.

    A guarded one ends with the deadline (run_on = hot); any other ends with the agent.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)  # added to the agent's own environment
    cwd: str | None = None
    user: str | None = None
    guarded: bool = True
    grace: float | None = None  # from SIGTERM to SIGKILL at a withdrawal; never past the deadline
    keeps_stdin: bool = False  # else it reads an end of file


@dataclass(frozen=True, slots=True)
class Exit:
    """A process has ended, by itself or because the guard ended it, whoever wanted that."""

    name: str
    status: int  # negative is a signal, as in subprocess
    by_guard: bool = False


@dataclass(frozen=True, slots=True)
class GuardCallbacks:
    """What the guard reports by itself. Called in the event loop, never from within a request."""

    on_exit: Callable[[Exit], None]
    on_output: Callable[[str, str], None]  # name, one line
    on_withdrawn: Callable[[str], None]  # why: "deadline", "asked", "agent_gone"
    on_lost: Callable[[str], None]  # why; everything that it held has been swept by then


class GuardHandle(Protocol):
    """The guard as seen from the agent. Everything asynchronous raises GuardError(reason)."""

    async def hold_address(self, address: str, interface: str) -> None:
        """Probe, add and announce an address ("192.168.2.50/24"); it is guarded."""

    async def drop_address(self, address: str, interface: str) -> None: ...

    async def spawn(self, process: Spawn) -> int:
        """Start a process and return its id."""

    async def end(self, name: str, grace: float) -> None:
        """SIGTERM, after `grace` SIGKILL, to all that it ever started; returns when none is left
        and its exit has been reported.

        A name that does not run (any more) is not an error.
        """

    async def set_guarded(self, name: str, *, guarded: bool) -> None:
        """From now on a running process ends with the deadline, or only with the agent.

        For instances that stay warm: the active one must not outlive the lease. A name that does
        not run (any more) is refused.
        """

    def say(self, name: str, line: str) -> None:
        """Write a line to a process's standard input; lost if it does not read."""

    async def hold_farewell(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], limit: float
    ) -> None:
        """A command that the guard runs when it withdraws, for at most `limit` seconds."""

    async def drop_farewell(self, name: str) -> None: ...

    def extend(self, term: int, deadline: float) -> None:
        """The guarded holdings may stay until this instant of the monotonic clock."""

    async def withdraw(self) -> None:
        """Let go of everything guarded, in reverse order of holding; addresses first."""
