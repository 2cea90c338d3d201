"""A group as seen from outside: who is hot, and what changes. Asks every broker that answers.

It never has one source of truth: each broker says what its node sees, and the word with the
highest term counts (edge.client.beliefs).
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from weakref import WeakSet

from edge.adapters.mqtt import Disconnected, Endpoint, Refused
from edge.client.beliefs import NAME, Hot, View, absorb, believed
from edge.client.errors import AmbiguousGroupError, ClosedError, UnreachableGroupError
from edge.client.follower import Follower, FollowOptions
from edge.client.line import Handlers, Line, LineOptions
from edge.client.waiting import Bell, Stream, end_tasks
from edge.ports import Message
from edge.wire import Topics

log = logging.getLogger("edge.client")

DEFAULT_PORT = 1883
CHANGES_KEPT = 100
# While the name is looked for, so many groups of all brokers together are told apart.
GROUPS_MAX = 64
# A group whose terms begin anew (all its disks were replaced) is believed again when nobody has
# been hot for so long. Seconds.
FORGET_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """The hot node changed: to `node` with `term` and `reason`, or to nobody (None)."""

    node: str | None
    term: int
    reason: str
    previous: str | None


class Group:
    """`async with Group(["white:1883", "black:1883"]) as group:` follows that group.

    `addresses` are the brokers of its nodes, "host", "host:port" or "[v6]:port"; any of them may
    be down. `name` is the group's name; without it the brokers are asked, and must know only one.
    User, password and TLS context go to every broker. `timeout` is how long to wait for the first
    broker that answers, in seconds.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        name: str | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        identifier: str = "edge-client",
    ) -> None:
        if isinstance(addresses, str) or not addresses:
            raise ValueError('the addresses are a list of brokers, such as ["white:1883"]')
        if name is not None and not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no group's name: letters, digits, _ and - only")
        self._endpoints = {
            each: Endpoint(*split_address(each), username, password, tls) for each in addresses
        }
        self._options = LineOptions(identifier)
        self._timeout = timeout
        self._given_name = name
        self._name = name
        self._lines: list[Line] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._views: dict[tuple[str, str], View] = {}
        self._last_requests: dict[str, int] = {}
        self._answered: set[str] = set()
        self._owners: dict[str, str] = {}
        self._hot: Hot | None = None
        self._floor = 0
        self._forgetting: asyncio.TimerHandle | None = None
        self._problem: AmbiguousGroupError | None = None
        self._is_closed = False
        self._strangers: set[str] = set()
        self._bell = Bell()
        self._streams: WeakSet[Stream[Change]] = WeakSet()
        self._listeners: set[Callable[[], None]] = set()

    async def __aenter__(self) -> Self:
        """Returns when one broker has told what it knows of the group."""
        assert not self._tasks, "a group is entered once; make another one"
        handlers = Handlers(self._up, self._down, self._granted, self._received, _ignore)
        for address, endpoint in self._endpoints.items():
            line = Line(address, endpoint, self._options, handlers)
            self._lines.append(line)
            # No TaskGroup: it would wrap the exceptions of the caller's own block.
            self._tasks.append(asyncio.create_task(line.run(), name=f"watch {address}"))
        try:
            async with asyncio.timeout(self._timeout):
                await self._bell.wait_for(lambda: self._is_known or self._problem is not None)
        except TimeoutError:
            await self._close()
            raise UnreachableGroupError(self._why_unknown()) from None
        except asyncio.CancelledError:
            await self._close()
            raise
        if self._problem is not None:
            await self._close()
            raise self._problem
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _t: TracebackType | None,
    ) -> None:
        await self._close()

    @property
    def name(self) -> str:
        """The group's name; known inside `async with`."""
        return self._name or ""

    @property
    def hot(self) -> Hot | None:
        """The hot node, its term and the reason, or None while nobody is known to be hot."""
        return self._hot

    def changes(self) -> Stream[Change]:
        """A stream of changes, beginning with what holds now. A slow reader misses the oldest."""
        stream: Stream[Change] = Stream(CHANGES_KEPT, keeps_newest=True)
        stream.offer(self._change(None))
        self._streams.add(stream)
        return stream

    async def wait_for_hot(self) -> Hot:
        """The hot node, as soon as there is one; bound it with asyncio.timeout. ClosedError if the
        block is left meanwhile."""
        await self._bell.wait_for(lambda: self._hot is not None or self._is_closed)
        if self._hot is None:
            raise ClosedError("the group was left before there was a hot node")
        return self._hot

    def follow(
        self,
        *,
        limit: int = 1000,
        overlap: float = 5.0,
        repeat: float = 1.0,
        messages_kept: int = 10_000,
        farewell: float = 5.0,
    ) -> Follower:
        """A connection that follows the hot node: `async with group.follow() as connection:`.

        `limit`: how many publications may wait for an acknowledgement; more have to wait for room.
        `overlap`: how long before and after a move a broker's messages count, in seconds.
        `repeat`: what was acknowledged so long before a connection ended goes out again, in
        seconds; orders under edge/ never do.
        `messages_kept`: how many received messages may wait for the reader.
        `farewell`: how long leaving the block waits for acknowledgements, in seconds.
        """
        options = FollowOptions(limit, overlap, repeat, messages_kept, farewell, self._options)
        return Follower(self, self._endpoints, options)

    def owner(self, address: str) -> str | None:
        """The node whose broker is at this address, as the broker itself says."""
        return self._owners.get(address)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every change of the hot node or of an owner; returns the end."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    @property
    def _is_known(self) -> bool:
        """A broker told everything that it keeps about this group."""
        return self._name is not None and any(
            (address, self._name) in self._views for address in self._answered
        )

    def _up(self, line: Line) -> None:
        """Ask twice: when the second is granted, what is retained under the first is here."""
        topics = Topics(self._given_name or "+")
        line.subscribe(topics.broker, topics.hot, topics.states)
        self._last_requests[line.address] = line.subscribe(topics.broker)

    def _granted(self, line: Line, request: int) -> None:
        if request == self._last_requests.get(line.address):
            self._answered.add(line.address)
            self._find_name(line.address)
            self._evaluate()

    def _find_name(self, address: str) -> None:
        """The one group that this broker knows, if the caller did not name it."""
        names = sorted(group for at, group in self._views if at == address)
        if self._name is not None or not names:
            return
        if len(names) > 1:
            known = ", ".join(names)
            self._problem = AmbiguousGroupError(
                f'the broker at {address} knows several groups ({known}); say which: name="..."'
            )
            return
        (self._name,) = names
        log.info("the broker at %s is of group %s", address, self._name)

    def _received(self, line: Line, message: Message) -> None:
        root, _, rest = message.topic.partition("/")
        group, _, place = rest.partition("/")
        if root != "edge" or not NAME.fullmatch(group):
            return
        if self._name not in {None, group}:
            self._warn_of_stranger(line.address, group)
            return
        key = (line.address, group)
        before = self._views.get(key, View())
        view = absorb(before, place, message.payload)
        if view == before or (key not in self._views and len(self._views) >= GROUPS_MAX):
            return
        self._views[key] = view
        self._find_late(line.address)
        self._evaluate()

    def _warn_of_stranger(self, address: str, group: str) -> None:
        if address not in self._strangers:
            self._strangers.add(address)
            log.warning("the broker at %s is of group %s, not of %s", address, group, self._name)

    def _find_late(self, address: str) -> None:
        """A broker that answered before its node did."""
        if address in self._answered:
            self._find_name(address)

    def _down(self, line: Line, _event: Refused | Disconnected) -> None:
        self._answered.discard(line.address)
        for key in [key for key in self._views if key[0] == line.address]:
            del self._views[key]
        self._evaluate()

    def _evaluate(self) -> None:
        views = {
            address: view for (address, group), view in self._views.items() if group == self._name
        }
        owners = {address: view.broker for address, view in views.items() if view.broker}
        is_news = any(self._owners.get(address) != owner for address, owner in owners.items())
        self._owners.update(owners)
        hot = believed(views.values(), self._floor)
        if hot != self._hot:
            self._change_to(hot)
            is_news = True
        self._bell.ring()
        if is_news:
            for listener in tuple(self._listeners):
                listener()

    def _change_to(self, hot: Hot | None) -> None:
        previous, self._hot = self._hot, hot
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        if hot is None:
            loop = asyncio.get_running_loop()
            self._forgetting = loop.call_later(FORGET_AFTER, self._forget)
        else:
            self._floor = hot.term
        change = self._change(previous.node if previous else None)
        for stream in tuple(self._streams):
            stream.offer(change)

    def _forget(self) -> None:
        self._floor = 0
        self._evaluate()

    def _change(self, previous: str | None) -> Change:
        if self._hot is not None:
            return Change(self._hot.node, self._hot.term, self._hot.reason, previous)
        reason = "nobody is hot" if self._answered else "no broker answers"
        return Change(None, self._floor, reason, previous)

    def _why_unknown(self) -> str:
        """One line with what each broker answered."""
        group = self._given_name or "any group"
        answers = "; ".join(
            f"{each.address}: {each.problem or f'lets us in and knows nothing of {group}'}"
            for each in self._lines
        )
        return f"no broker told about {group} within {self._timeout:g} s ({answers})"

    async def _close(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._is_closed = True
        for stream in tuple(self._streams):
            stream.close()
        self._bell.ring()
        await end_tasks(self._tasks)  # last: who is cancelled here has told everybody


def split_address(text: str) -> tuple[str, int]:
    """Host and port of "host", "host:port", "[v6]:port"; ValueError with a sentence for others."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or parts.netloc != text or {"@", " "} & set(text):
        raise ValueError(f'{text!r} is no address: write "host", "host:port" or "[v6]:port"')
    return host, port or DEFAULT_PORT


def _ignore(*_: object) -> None:
    """Watching publishes nothing."""
