"""The embedded engine: our own broker in a child process; see `broker.engines.embedded_child`."""

import sys
from importlib.metadata import version

from broker.engines.child import Child
from broker.settings import BrokerSettings, to_json


class EmbeddedEngine:
    """One process of the embedded broker."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._child = Child("embedded")

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> None:
        """Return when clients can connect on every listener, or raise EngineError."""
        # The child is told its version, because looking it up would cost it megabytes.
        command = [sys.executable, "-m", "broker", "embedded", version("edge-redundancy")]
        await self._child.start(command, to_json(self._settings))

    async def stop(self) -> None:
        await self._child.stop()

    async def failed(self) -> str:
        return await self._child.failed()
