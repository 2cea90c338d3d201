"""The network paths from this node to one broker each: a new session for every connection.

A link subscribes to the lease first and to everything else second: when the broker has granted
the second request, the retained record of the first has been handed out, and `Subscribed` may be
said. A connection on which nothing is heard for a while, not even our own heartbeat, is given up.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

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
from edge.core.model import Link
from edge.ports import Message

log = logging.getLogger("edge.link")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What all links of a node have in common. Times in seconds."""

    first_filter: str
    other_filters: tuple[str, ...]
    keepalive: int
    silence_timeout: float
    connect_timeout: float = 1.0


@dataclass(frozen=True, slots=True)
class Handlers:
    """Whom a link tells; each call comes on the event loop and must not wait."""

    up: Callable[[Link, str], None]
    subscribed: Callable[[Link], None]
    lost: Callable[[Link], None]
    denied: Callable[[Link], None]
    received: Callable[[Link, Message], None]


@dataclass(slots=True, eq=False)
class MqttLink:
    """One path to one broker, for the life of the node."""

    link: Link
    endpoint: Endpoint
    options: LinkOptions
    handlers: Handlers
    new_session: Callable[[], str]
    client_id: Callable[[str], str]
    will: Callable[[Link, str], Message]
    session: str | None = None
    is_subscribed: bool = False
    _connection: Connection | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _last_request: int = 0
    _heard_at: float = 0.0
    _problem: str = ""
    _retained_checks: dict[int, Callable[[], None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Connect, live, and connect again, until cancelled."""
        pause = FIRST_PAUSE
        try:
            while True:
                was_good = await self._live()
                pause = FIRST_PAUSE if was_good else min(2 * pause, LONGEST_PAUSE)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  no secret
        finally:
            self._drop()

    def publish(self, message: Message) -> None:
        """Send over this path if it is up; the caller looks for the echo where it matters."""
        if self._connection is not None and self.session is not None:
            self._connection.publish(message)

    def give_up(self) -> None:
        """This connection swallows messages: make a new one."""
        self._drop()
        self._ended.set()

    def close(self) -> None:
        """Say good-bye, so that no will is published."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask_again(self, topic_filter: str, then: Callable[[], None]) -> None:
        """Have what is retained under an already subscribed filter handed out once more.

        `then` is called when it has been: the second of two requests is granted after the
        retained messages of the first.
        """
        if self._connection is None:
            return
        self._connection.subscribe(topic_filter)
        self._retained_checks[self._connection.subscribe(topic_filter)] = then

    async def _live(self) -> bool:
        """One connection, from its beginning to its end. True if it was accepted."""
        session = self.new_session()
        self._ended.clear()
        self._retained_checks.clear()
        self.is_subscribed = False
        self._connection = Connection(
            self.endpoint,
            self.client_id(session),
            lambda event: self._on_event(session, event),
            will=self.will(self.link, session),
            keepalive=self.options.keepalive,
            connect_timeout=self.options.connect_timeout,
        )
        self._connection.open()
        await self._until_ended()
        was_accepted = self.session is not None
        self.session = None
        self.is_subscribed = False
        return was_accepted

    async def _until_ended(self) -> None:
        """Wait for the end; a connection that has gone silent is given up."""
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        while not self._ended.is_set():
            silence_ends_at = self._heard_at + self.options.silence_timeout
            try:
                async with asyncio.timeout_at(silence_ends_at):
                    await self._ended.wait()
            except TimeoutError:
                if loop.time() >= self._heard_at + self.options.silence_timeout:
                    self._on_silence()

    def _on_silence(self) -> None:
        was_up = self.session is not None
        self.give_up()
        if was_up:
            self._report("nothing was heard on it")
            self.handlers.lost(self.link)

    def _on_event(self, session: str, event: ConnectionEvent) -> None:
        match event:
            case Connected():
                self._on_connected(session)
            case SubscribedTo(request):
                self._on_subscribed(request)
            case Received(message):
                self._heard_at = asyncio.get_running_loop().time()
                self.handlers.received(self.link, message)
            case Refused(reason, authentication):
                self._on_refused(reason, is_denied=authentication)
            case Disconnected(reason):
                self._report(reason)
                self._ended.set()
                self.handlers.lost(self.link)

    def _on_connected(self, session: str) -> None:
        assert self._connection is not None, "events come from a connection"
        self._problem = ""
        self.session = session
        log.info("%s: connected to %s", self.link.broker, self._where())
        self.handlers.up(self.link, session)
        self._connection.subscribe(self.options.first_filter)
        self._last_request = self._connection.subscribe(*self.options.other_filters)

    def _on_subscribed(self, request: int) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        check = self._retained_checks.pop(request, None)
        if check is not None:
            check()
        elif request == self._last_request and not self.is_subscribed:
            self.is_subscribed = True
            self.handlers.subscribed(self.link)

    def _on_refused(self, reason: str, *, is_denied: bool) -> None:
        self._report(reason)
        self._ended.set()
        if is_denied:
            self.handlers.denied(self.link)
        elif self.session is not None:
            self.handlers.lost(self.link)

    def _report(self, problem: str) -> None:
        """Each problem once, not once for every attempt."""
        if problem != self._problem:
            self._problem = problem
            log.warning("%s: no connection to %s: %s", self.link.broker, self._where(), problem)

    def _where(self) -> str:
        return f"{self.endpoint.host}:{self.endpoint.port}"

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
