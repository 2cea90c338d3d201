"""The network paths from this node to one broker each: a new session for every connection.

A link subscribes to the lease first and to everything else second: when the broker has granted
the second request, the retained record of the first has been handed out, and `Subscribed` may be
said. A connection on which nothing is heard for a while, not even our own heartbeat, is given up.
Requests come over connections of their own, so that a flood of them delays no record.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

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
# A connection on which something was heard this long after the subscription is a good one:
# the next attempt comes at once, and its problems are news again. Seconds.
SETTLED_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What all links of one kind have in common. One subscription for each tuple of `filters`,
    one after the other. Times in seconds."""

    purpose: str
    filters: tuple[tuple[str, ...], ...]
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
    will: Callable[[Link, str], Message | None]
    session: str | None = None
    is_subscribed: bool = False
    _connection: Connection | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _last_request: int = 0
    _heard_at: float = 0.0
    _subscribed_at: float = inf
    _said: set[str] = field(default_factory=set)
    _retained_checks: dict[int, Callable[[], None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Connect, live, and connect again, until cancelled."""
        pause = FIRST_PAUSE
        try:
            while True:
                await self._live()
                pause = FIRST_PAUSE if self._has_settled else min(2 * pause, LONGEST_PAUSE)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  no secret
        finally:
            self._drop()

    def publish(self, message: Message) -> None:
        """Send over this path if it is up; the caller looks for the echo where it matters."""
        if self._connection is not None and self.session is not None:
            self._connection.publish(message)

    def give_up(self, reason: str) -> None:
        """This connection swallows messages: make a new one."""
        self._report(reason)
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

    @property
    def _has_settled(self) -> bool:
        return self._heard_at - self._subscribed_at > SETTLED_AFTER

    async def _live(self) -> None:
        """One connection, from its beginning to its end."""
        session = self.new_session()
        self._ended.clear()
        self._retained_checks.clear()
        self.is_subscribed = False
        self._subscribed_at = inf
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
        self.session = None
        self.is_subscribed = False

    async def _until_ended(self) -> None:
        """Wait for the end; a connection that has gone silent is given up.

        Connecting ends by itself: how long it takes is the name server's and TCP's business.
        """
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        while not self._ended.is_set():
            try:
                async with asyncio.timeout_at(self._heard_at + self.options.silence_timeout):
                    await self._ended.wait()
            except TimeoutError:
                if self.session is None:
                    self._heard_at = loop.time()
                elif loop.time() >= self._heard_at + self.options.silence_timeout:
                    self.give_up("nothing was heard on it")
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
        self.session = session
        self._heard_at = asyncio.get_running_loop().time()
        self.handlers.up(self.link, session)
        for each in self.options.filters:
            self._last_request = self._connection.subscribe(*each)

    def _on_subscribed(self, request: int) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        check = self._retained_checks.pop(request, None)
        if check is not None:
            check()
        elif request == self._last_request and not self.is_subscribed:
            self.is_subscribed = True
            self._subscribed_at = self._heard_at
            self._say(logging.INFO, "connected")
            self.handlers.subscribed(self.link)

    def _on_refused(self, reason: str, *, is_denied: bool) -> None:
        self._report(reason)
        self._ended.set()
        if is_denied:
            self.handlers.denied(self.link)
        elif self.session is not None:
            self.handlers.lost(self.link)

    def _report(self, problem: str) -> None:
        if self._has_settled:
            self._said.clear()
        self._say(logging.WARNING, f"no connection: {problem}")

    def _say(self, level: int, sentence: str) -> None:
        """Each sentence once, not once for every attempt or every short life."""
        if sentence not in self._said:
            self._said.add(sentence)
            where = f"{self.endpoint.host}:{self.endpoint.port}, {self.options.purpose}"
            log.log(level, "%s (%s): %s", self.link.broker, where, sentence)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
