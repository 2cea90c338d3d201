"""The three methods behind which every broker of the group hides.

An engine runs the broker in a child process, so that application traffic never shares the
agent's event loop, and so that a broker that dies takes nothing with it. The child dies with its
parent, also when the parent is killed with SIGKILL. Supervision (starting it again) is the
caller's business: see `supervise`.
"""

from typing import Protocol

from broker.settings import BrokerSettings, EngineName


class EngineError(Exception):
    """The broker cannot run. The text is one line for an operator: what is wrong, what to do."""


class Engine(Protocol):
    """A broker that can be started, stopped and watched. One life each: start once, stop once."""

    async def start(self) -> None:
        """Return when clients can connect on every listener; raise EngineError if they never will."""

    async def stop(self) -> None:
        """Return when the process is gone and its ports are free. Safe to call at any time."""

    async def failed(self) -> str:
        """Wait until the broker ends by itself; return why, as one line. Never returns after stop."""


def create_engine(name: EngineName, settings: BrokerSettings) -> Engine:
    """A new engine of the named kind, not started. Raises EngineError for settings it cannot honour."""
    raise NotImplementedError  # replaced in this very change by the three engines
