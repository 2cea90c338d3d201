"""The outside observer: one MQTT subscriber per broker, each inside the namespace it looks from.

All of them live in one thread of the test's own process (a socket keeps the namespace in which
it was made), so every time is CLOCK_MONOTONIC of one machine and one reader.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Self

from tests.lan import mqtt
from tests.lan.namespaces import Namespace

RETRY_INTERVAL = 0.05
PING_INTERVAL = 0.2
SILENCE_TIMEOUT = 3.0
RECEIVE_SIZE = 65536

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message, and when the broker `via` handed it to its observer."""

    at: float
    via: str
    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Attached:
    """The observer is subscribed at that broker from now on."""

    at: float
    via: str


@dataclass(frozen=True, slots=True)
class Detached:
    """The observer lost that broker."""

    at: float
    via: str


Entry = Delivered | Attached | Detached


@dataclass(frozen=True, slots=True)
class Lens:
    """Where one observer stands and what it looks at."""

    via: str
    namespace: Namespace
    address: str
    port: int
    login: mqtt.Login = mqtt.ANONYMOUS
    topic_filters: tuple[str, ...] = ("edge/#",)


@dataclass(slots=True)
class Feed:
    """One observer's connection, made again whenever it is lost."""

    lens: Lens
    record: Callable[[Entry], None]
    connection: socket.socket | None = None
    buffer: bytearray = field(default_factory=bytearray)
    attached: bool = False
    heard_at: float = 0.0
    next_at: float = 0.0
    pinged_at: float | None = None
    round_trips: list[tuple[float, float]] = field(default_factory=list)

    def turn(self, now: float, selector: selectors.BaseSelector) -> None:
        """What time alone demands: a new attempt, a ping, giving up on a silent broker."""
        if now < self.next_at:
            return
        if self.connection is None:
            self._open(now, selector)
        elif now - self.heard_at > SILENCE_TIMEOUT:
            self.close(selector)
        elif self.attached and self.pinged_at is None:
            self.pinged_at, self.next_at = now, now + PING_INTERVAL
            self._send(mqtt.PINGREQ)
        else:
            self.next_at = now + PING_INTERVAL

    def receive(self, selector: selectors.BaseSelector) -> None:
        assert self.connection is not None
        try:
            data = self.connection.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.heard_at = time.monotonic()
        if not data:
            self.close(selector)
            return
        self.buffer += data
        while (found := mqtt.take_packet(self.buffer)) is not None:
            self._handle(found, self.heard_at)

    def close(self, selector: selectors.BaseSelector) -> None:
        if self.connection is None:
            return
        selector.unregister(self.connection)
        self.connection.close()
        self.connection, self.pinged_at = None, None
        self.next_at = time.monotonic() + RETRY_INTERVAL
        if self.attached:
            self.attached = False
            self.record(Detached(time.monotonic(), self.lens.via))

    def _open(self, now: float, selector: selectors.BaseSelector) -> None:
        self.connection = self.lens.namespace.socket()
        self.connection.setblocking(False)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.connect_ex((self.lens.address, self.lens.port))
        self.buffer.clear()
        self.heard_at, self.next_at = now, now + PING_INTERVAL
        selector.register(self.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def introduce(self, selector: selectors.BaseSelector) -> None:
        """The TCP connection stands (or failed, which the next read tells)."""
        assert self.connection is not None
        selector.modify(self.connection, selectors.EVENT_READ, self)
        self._send(mqtt.connect(f"observer-{next(_numbers)}", self.lens.login))
        self._send(mqtt.subscribe(*self.lens.topic_filters))

    def _handle(self, found: mqtt.Packet, now: float) -> None:
        if found.kind == mqtt.PUBLISH:
            self._deliver(mqtt.read_publish(found), now)
        elif found.kind == mqtt.SUBACK:
            self.attached = True
            self.record(Attached(now, self.lens.via))
        elif found.kind == mqtt.PINGRESP and self.pinged_at is not None:
            self.round_trips.append((now, now - self.pinged_at))
            self.pinged_at = None

    def _deliver(self, message: mqtt.Publication, now: float) -> None:
        if message.number:
            self._send(mqtt.acknowledge(message.number))
        self.record(Delivered(now, self.lens.via, message.topic, message.payload, message.retained))

    def _send(self, data: bytes) -> None:
        assert self.connection is not None
        with suppress(OSError):  # a broken connection shows itself at the next read
            self.connection.send(data)


class Observer:
    """The thread that runs all feeds, and what they have seen so far."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.feeds: dict[str, Feed] = {}
        self.latest: dict[tuple[str, str], bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End all connections; what was seen stays. May be called twice."""
        self._stopping.set()
        self._thread.join()

    def watch(self, lens: Lens) -> None:
        self.feeds[lens.via] = Feed(lens, self._record)

    def value(self, via: str, topic: str) -> bytes | None:
        """The last payload on that topic at that broker; None if there is none or it is gone."""
        return self.latest.get((via, topic)) or None

    def is_attached(self, via: str) -> bool:
        return self.feeds[via].attached

    def _record(self, entry: Entry) -> None:
        self.entries.append(entry)
        match entry:
            case Delivered():
                self.latest[entry.via, entry.topic] = entry.payload
            case Detached():
                self._forget(entry.via)
            case Attached():
                pass

    def _forget(self, via: str) -> None:
        """What a lost broker said last is not what it says now."""
        self.latest = {key: value for key, value in self.latest.items() if key[0] != via}

    def _run(self) -> None:
        while not self._stopping.is_set():
            for feed in list(self.feeds.values()):
                feed.turn(time.monotonic(), self._selector)
            for key, events in self._selector.select(0.02):
                _serve(key.data, events, self._selector)
        for feed in self.feeds.values():
            feed.close(self._selector)
        self._selector.close()


def _serve(feed: Feed, events: int, selector: selectors.BaseSelector) -> None:
    if events & selectors.EVENT_WRITE:
        feed.introduce(selector)
    if events & selectors.EVENT_READ:
        feed.receive(selector)
