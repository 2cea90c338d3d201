"""The amqtt engine: the library in a child process of ours. Its limits: `known_defects`."""

import sys

from broker.engines.child import Child
from broker.errors import EngineError
from broker.settings import BrokerSettings, Persistence, to_json


class AmqttEngine:
    """One amqtt process."""

    def __init__(self, settings: BrokerSettings) -> None:
        if settings.persistence is not Persistence.OFF:
            raise EngineError(
                "amqtt keeps nothing on disk; set broker.persistence to off or take another engine"
            )
        self._settings = settings
        self._child = Child("amqtt")

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> None:
        """Return when clients can connect."""
        command = [sys.executable, "-m", "broker", "amqtt"]
        await self._child.start(command, to_json(self._settings))

    async def stop(self) -> None:
        await self._child.stop()

    async def failed(self) -> str:
        return await self._child.failed()
