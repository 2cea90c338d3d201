"""One address: a connection to the broker there, and another one whenever it ends."""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from edge.adapters.mqtt import (
    Connected,
    Connection,
    ConnectionEvent,
    Disconnected,
    Endpoint,
    Received,
    Refused,
    SubscribedTo,
)
from edge.ports import Message

log = logging.getLogger("edge.client")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
# A connection that lasted so long was a good one: the next attempt comes at once. Seconds.
SETTLED_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class LineOptions:
    """What all lines of a group have in common; times in seconds."""

    identifier: str
    keepalive: int = 5
    connect_timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Handlers:
    """Whom a line tells; each call comes on the event loop and must not wait."""

    up: Callable[["Line"], None]
    down: Callable[["Line", Refused | Disconnected], None]
    granted: Callable[["Line", int], None]
    received: Callable[["Line", Message], None]
    acknowledged: Callable[["Line", int], None]


class Line:
    """The way to one address, until its task is cancelled."""

    def __init__(
        self, address: str, endpoint: Endpoint, options: LineOptions, handlers: Handlers
    ) -> None:
        self.address = address
        self.problem = "no answer yet"
        self._endpoint = endpoint
        self._options = options
        self._handlers = handlers
        self._connection: Connection | None = None
        self._is_up = False
        self._token = secrets.token_hex(6)
        self._lives = 0

    @property
    def is_up(self) -> bool:
        return self._is_up

    def subscribe(self, *filters: str) -> int:
        """`granted` follows with the returned number; 0 if the line is down."""
        return self._connection.subscribe(*filters) if self._connection and self._is_up else 0

    def unsubscribe(self, *filters: str) -> None:
        if self._connection and self._is_up:
            self._connection.unsubscribe(*filters)

    def publish(self, message: Message) -> int:
        """`acknowledged` follows with the returned number; 0 if the line is down."""
        return self._connection.publish(message) if self._connection and self._is_up else 0

    async def run(self) -> None:
        """Connect, live, and connect again, until cancelled."""
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            began_at = loop.time()
            await self._live()
            is_good = loop.time() - began_at > SETTLED_AFTER + self._options.connect_timeout
            pause = FIRST_PAUSE if is_good else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  no secret

    async def _live(self) -> None:
        """One connection, from its beginning to its end; a cancelled one says good-bye."""
        self._lives += 1
        ended = asyncio.Event()
        connection = Connection(
            self._endpoint,
            f"{self._options.identifier}-{self._token}-{self._lives}",
            lambda event: self._on_event(event, ended),
            keepalive=self._options.keepalive,
            connect_timeout=self._options.connect_timeout,
            on_acknowledged=lambda number: self._handlers.acknowledged(self, number),
        )
        self._connection = connection
        try:
            connection.open()
            await ended.wait()
        finally:
            self._is_up = False
            self._connection = None
            connection.close()

    def _on_event(self, event: ConnectionEvent, ended: asyncio.Event) -> None:
        match event:
            case Connected():
                self._is_up = True
                self.problem = ""
                self._handlers.up(self)
            case SubscribedTo(request):
                self._handlers.granted(self, request)
            case Received(message):
                self._handlers.received(self, message)
            case Refused() | Disconnected():
                self._is_up = False
                if event.reason != self.problem:
                    log.info("%s: %s", self.address, event.reason)
                self.problem = event.reason
                ended.set()
                self._handlers.down(self, event)
