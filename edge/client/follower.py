"""A connection that follows the hot node: publications go to its broker, messages come from it.

It is connected and subscribed at every address all the time, so that a move costs no message:
what a broker sends shortly before and after its node is hot counts too (`overlap`). Publications
that nobody acknowledged go to the next hot node's broker, in their order.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self
from weakref import WeakSet

from edge.adapters.mqtt import Disconnected, Endpoint, Refused
from edge.client.beliefs import Hot
from edge.client.copies import Copies
from edge.client.errors import ClosedError, RefusedError
from edge.client.line import Handlers, Line, LineOptions
from edge.client.outbox import Outbox
from edge.client.reception import Reception
from edge.client.subscriptions import Side, Subscriptions
from edge.client.topics import check_filter, check_topic
from edge.client.waiting import Bell, Stream, end_tasks
from edge.ports import Message

log = logging.getLogger("edge.client")

# So many publications are on their way to one broker at once.
WINDOW = 100
# A broker of a node ends the connection for a larger packet, 1 MiB with its head; such a message
# would come back to every connection after it.
PACKET_MAX = 1024 * 1024
HEAD_MAX = 16
# After so many connections that ended with the same message unacknowledged, the log names it.
SUSPICIOUS_AFTER = 5
MOVES_KEPT = 100
CLOSED = "the connection is closed; it lives inside its async with"
# What is published there are orders to a group: the same order again would be another one.
GROUPS = "edge/"
# So many messages of a broker whose node is not hot are kept for the moment when it is.
HELD_MAX = 2000
# How far one of two paths to the same broker may be behind the other, seconds.
COPY_PATIENCE = 5.0


class Source(Protocol):
    """What a follower needs to know of the group."""

    @property
    def hot(self) -> Hot | None: ...

    def owner(self, address: str) -> str | None: ...

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]: ...


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """See Group.follow."""

    limit: int
    overlap: float
    repeat: float
    messages_kept: int
    farewell: float
    lines: LineOptions


@dataclass(frozen=True, slots=True)
class Move:
    """From now on publications go to this node's broker at this address; `again` of them, that
    went to another connection before, first. After a lost connection it may be the same node."""

    node: str
    address: str
    term: int
    again: int


@dataclass(slots=True, eq=False)
class _Letter:
    message: Message
    is_taken: asyncio.Future[bool]
    number: int
    attempts: int = 0


class Follower:
    """Made by `Group.follow`; usable inside `async with`."""

    def __init__(
        self, group: Source, endpoints: Mapping[str, Endpoint], options: FollowOptions
    ) -> None:
        self._group = group
        self._endpoints = endpoints
        self._options = options
        self._outbox: Outbox[_Letter] = Outbox(options.limit, WINDOW, options.repeat)
        self._messages: Stream[Message] = Stream(options.messages_kept, keeps_newest=False)
        self._moves: WeakSet[Stream[Move]] = WeakSet()
        self._sides: list[Side] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._subscriptions = Subscriptions(self._sides)
        self._current: Side | None = None
        self._reception = Reception(options.overlap, HELD_MAX)
        self._copies = Copies(COPY_PATIENCE, HELD_MAX)
        self._again = 0
        self._bell = Bell()
        self._room = asyncio.Lock()
        self._is_open = False
        self._takes_more = False
        self._put_count = 0
        self._stop_listening: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        assert not self._tasks, "a connection is entered once; follow() makes another one"
        self._is_open = self._takes_more = True
        handlers = Handlers(self._up, self._down, self._granted, self._received, self._acknowledged)
        for address, endpoint in self._endpoints.items():
            line = Line(address, endpoint, self._options.lines, handlers)
            self._sides.append(Side(line))
            # No TaskGroup: it would wrap the exceptions of the caller's own block.
            self._tasks.append(asyncio.create_task(line.run(), name=f"follow {address}"))
        self._stop_listening = self._group.listen(self._follow)
        self._follow()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _t: TracebackType | None,
    ) -> None:
        """Leaving without an error waits for acknowledgements, and says so if there are none."""
        self._takes_more = False
        self._bell.ring()
        try:
            if kind is None:
                async with asyncio.timeout(self._options.farewell):
                    await self.drain()
        except TimeoutError:
            count = self._outbox.unacknowledged
            raise ClosedError(f"{count} messages were not acknowledged by any broker") from None
        finally:
            await self._close()

    @property
    def node(self) -> str | None:
        """The node to whose broker publications go now; None while there is no way to it."""
        hot = self._group.hot
        is_there = self._current is not None and self._leads_to(self._current, hot)
        return hot.node if hot is not None and is_there else None

    @property
    def unacknowledged(self) -> int:
        """How many publications no broker has acknowledged yet."""
        return self._outbox.unacknowledged

    @property
    def ready(self) -> frozenset[str]:
        """The addresses where everything is subscribed now."""
        return self._subscriptions.ready()

    @property
    def messages(self) -> Stream[Message]:
        """What is received. When the reader is too slow the newest are dropped and counted in
        `messages.dropped`."""
        return self._messages

    def moves(self) -> Stream[Move]:
        """A stream of moves, from now on. A slow reader misses the oldest."""
        stream: Stream[Move] = Stream(MOVES_KEPT, keeps_newest=True)
        self._moves.add(stream)
        return stream

    async def subscribe(self, *filters: str) -> None:
        """Ask for `filters` at QoS 1 everywhere; returns when all that are connected granted it.

        RefusedError if a broker does not let us. Moves and lost connections keep it.
        """
        for each in filters:
            check_filter(each)
        self._require_open()
        subscriptions = self._subscriptions
        subscriptions.add(*filters)
        await self._bell.wait_for(lambda: subscriptions.are_settled(filters) or not self._is_open)
        self._require_open()
        for each in filters:
            if each in subscriptions.refused:
                raise RefusedError(f"{each}: {subscriptions.refused.pop(each)}")

    async def unsubscribe(self, *filters: str) -> None:
        self._subscriptions.drop(*filters)

    async def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, retained: bool = False
    ) -> None:
        """Returns when the hot node's broker has acknowledged it (QoS 0: when it was sent).

        If the caller is cancelled meanwhile, the message may still go out.
        """
        letter = await self._put(topic, payload, qos, retained=retained)
        if not await letter.is_taken:
            raise ClosedError("the connection was closed before a broker acknowledged the message")

    async def enqueue(
        self, topic: str, payload: bytes | str, *, qos: int = 1, retained: bool = False
    ) -> None:
        """As `publish`, but returns as soon as the message is in the queue. A full queue makes
        the caller wait: nothing is ever thrown away. `drain` waits for the acknowledgements."""
        await self._put(topic, payload, qos, retained=retained)

    async def drain(self) -> None:
        """Returns when everything is acknowledged that was published before this call."""
        last = self._put_count
        await self._bell.wait_for(lambda: self._is_drained(last) or not self._is_open)
        self._require_open()

    def _is_drained(self, last: int) -> bool:
        oldest = self._outbox.oldest
        return oldest is None or oldest.number > last

    async def _put(self, topic: str, payload: bytes | str, qos: int, *, retained: bool) -> _Letter:
        check_topic(topic)
        content = payload.encode() if isinstance(payload, str) else bytes(payload)
        if qos not in {0, 1}:
            raise ValueError(f"qos is 0 or 1, not {qos!r}")
        size = len(content) + len(topic.encode()) + HEAD_MAX
        if size > PACKET_MAX:
            raise ValueError(f"with this payload a packet has {size} bytes, over {PACKET_MAX}")
        message = Message(topic, content, retained, qos)
        async with self._room:  # in the order in which they came
            await self._bell.wait_for(lambda: not self._outbox.is_full or not self._takes_more)
            if not self._takes_more:
                raise ClosedError(CLOSED)
            self._put_count += 1
            is_taken = asyncio.get_running_loop().create_future()
            letter = _Letter(message, is_taken, self._put_count)
            self._outbox.put(letter)
        self._send()
        return letter

    def _require_open(self) -> None:
        if not self._is_open:
            raise ClosedError(CLOSED)

    def _follow(self) -> None:
        """The hot node or the way to it may have changed."""
        hot = self._group.hot
        if hot is None:
            return  # what was sent may still be acknowledged; nothing more is sent
        if hot.node != self._reception.followed:
            self._reception.follow(hot.node, self._now())
            self._ask_for_retained()
        self._take_up()
        if self._current is None or not self._leads_to(self._current, hot):
            self._leave()
            self._use(next((each for each in self._sides if self._leads_to(each, hot)), None), hot)
        self._send()

    def _leads_to(self, side: Side, hot: Hot | None) -> bool:
        owner = self._group.owner(side.line.address)
        return hot is not None and side.line.is_up and owner == hot.node

    def _ask_for_retained(self) -> None:
        """What the new hot node's broker retains, as after any subscription."""
        for side in self._sides:
            if self._group.owner(side.line.address) == self._reception.followed and side.granted:
                side.line.subscribe(*side.granted)

    def _take_up(self) -> None:
        """What the followed node's broker said before we knew."""
        for side in self._sides:
            if self._group.owner(side.line.address) == self._reception.followed:
                for message in self._reception.taken_up(side.line.address, self._now()):
                    self._hand_on(side, message)

    def _leave(self) -> None:
        """What this connection did not acknowledge, or only just, goes out again over the next."""
        if self._current is not None:
            self._current = None
            self._again += self._outbox.begin_again()

    def _use(self, side: Side | None, hot: Hot) -> None:
        if side is None:
            return
        self._current = side
        move = Move(hot.node, side.line.address, hot.term, self._again)
        self._again = 0
        log.info("publishing to %s at %s", move.node, move.address)
        for stream in tuple(self._moves):
            stream.offer(move)

    def _send(self) -> None:
        """As much as may be on its way, if there is a hot node and a way to it."""
        side = self._current
        while side is self._current and side is not None and self._leads_to(side, self._group.hot):
            letter = self._outbox.next()
            number = 0 if letter is None else side.line.publish(letter.message)
            if letter is None or number == 0:
                break
            self._note_sent(letter, number)
        self._bell.ring()

    def _note_sent(self, letter: _Letter, number: int) -> None:
        if letter.message.qos == 0:
            self._outbox.skip()
            _resolve(letter, is_taken=True)
        else:
            self._outbox.sent(number)
        letter.attempts += 1
        if letter.attempts == SUSPICIOUS_AFTER and not letter.is_taken.done():
            size, topic = len(letter.message.payload), letter.message.topic
            log.warning("no broker acknowledges a message of %s bytes to %r", size, topic[:120])

    def _acknowledged(self, line: Line, number: int) -> None:
        """An acknowledgement of a connection that was left is of no use: it was sent again."""
        if self._current is None or self._current.line is not line:
            return
        letter = self._outbox.acknowledged(number)
        if letter is not None:
            _resolve(letter, is_taken=True)
            if self._options.repeat > 0 and not letter.message.topic.startswith(GROUPS):
                self._outbox.remember(letter, self._now())
            self._send()

    def _up(self, line: Line) -> None:
        self._subscriptions.up(self._side(line))
        self._follow()

    def _down(self, line: Line, event: Refused | Disconnected) -> None:
        side = self._side(line)
        self._subscriptions.down(side, event)
        self._copies.forget(line.address)
        if side is self._current:
            self._leave()
            self._follow()  # its node may have another address
        self._bell.ring()

    def _granted(self, line: Line, request: int) -> None:
        self._subscriptions.granted(self._side(line), request)
        self._bell.ring()

    def _received(self, line: Line, message: Message) -> None:
        owner = self._group.owner(line.address)
        if self._reception.counts(line.address, owner, message, self._now()):
            self._hand_on(self._side(line), message)

    def _hand_on(self, side: Side, message: Message) -> None:
        owner = self._group.owner(side.line.address)
        siblings = (
            each.line.address
            for each in self._sides
            if each is not side and each.granted and self._group.owner(each.line.address) == owner
        )
        if self._copies.is_first(side.line.address, siblings, message, self._now()):
            self._messages.offer(message)

    def _side(self, line: Line) -> Side:
        return next(each for each in self._sides if each.line is line)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _close(self) -> None:
        self._is_open = False
        self._stop_listening()
        for letter in self._outbox.clear():
            _resolve(letter, is_taken=False)
        self._messages.close()
        for stream in tuple(self._moves):
            stream.close()
        self._bell.ring()
        await end_tasks(self._tasks)  # last: who is cancelled here has told everybody


def _resolve(letter: _Letter, *, is_taken: bool) -> None:
    """A message that went out twice is acknowledged twice; its caller may be gone."""
    if not letter.is_taken.done():
        letter.is_taken.set_result(is_taken)
