"""The load of the soak: clients that come, subscribe, publish, retain, fall silent and go, beside
a steady stream whose every message is checked. Everything, also the listener, is drawn from bounded
pools, so that a broker that forgets what is over stays as large as it is.
"""

import random
import selectors
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from benchmarks.broker.clients import TOPIC, Publisher, Subscriber, cycle, log_in, subscribe
from benchmarks.broker.streams import CHUNK, Stream, end_by_reset
from benchmarks.broker.work import Job, Load, Result, open_for, watched
from broker.protocol.codec import encode
from broker.protocol.framing import Incoming
from broker.protocol.kinds import DISCONNECT, PINGREQ
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    Acknowledge,
    Connect,
    Packet,
    Plain,
    Properties,
    Publish,
    Subscribe,
    Unsubscribe,
    Will,
)

CLIENT_IDS, TOPICS, LARGEST = 100, 200, 2000
# Connected at a time; then one goes for each that comes.
VISITORS = 50
STREAM_RATE = 200
# Of the stream under way: less than may wait for one client, or the broker would have to drop.
STREAM_WINDOW = 20
VISIT_RATE = 50
# Threads that open connections.
OPENERS = 20
# What the broker says to each of these needs an answer.
ANSWERS = {PUBREC: PUBREL, PUBREL: PUBCOMP}


def churn(job: Job) -> Result:
    """Visits and the stream, at fixed rates, for `seconds`; the rate is that of the stream."""
    draw = random.Random(job.count)
    stream = log_in(open_for(job), "subscriber", is_kept=job.is_kept)
    subscribe(stream, [TOPIC], 1)
    sender = log_in(open_for(job), "publisher")
    subscriber = Subscriber(stream, cycle(1), 1)
    load = Load([Publisher(sender, cycle(1), 1)], [subscriber], copies=1)
    visitors: list[Visitor] = []
    with ThreadPoolExecutor(OPENERS) as pool, watched(job) as watch:
        entrance = Entrance(job, pool)
        began_at = time.perf_counter()
        while (passed := time.perf_counter() - began_at) < job.seconds:
            if load.sent < passed * STREAM_RATE and load.sent - load.received < STREAM_WINDOW:
                load.sent += load.publishers[0].send(1)
            if entrance.visits < passed * VISIT_RATE:
                entrance.open(draw.randrange(len(job.ports)))
            visitors += [Visitor(each, draw, load.selector) for each in entrance.take()]
            while len(visitors) > VISITORS:
                visitors.pop(draw.randrange(VISITORS)).leave(draw)
            load.take(1 / STREAM_RATE)
        count = load.received
    for each in visitors:
        each.leave(draw)
    result = load.finish(watch, count, is_acknowledged=True)
    return replace(result, visits=entrance.visits, refused=entrance.refused)


class Entrance:
    """Opens connections beside the load: mosquitto takes 0.1 s for the request of a websocket."""

    def __init__(self, job: Job, pool: ThreadPoolExecutor) -> None:
        self.visits = 0
        self.refused = 0
        self._job = job
        self._pool = pool
        self._opening: list[Future[Stream]] = []

    def open(self, listener: int) -> None:
        self.visits += 1
        self._opening.append(self._pool.submit(open_for, self._job, listener))

    def take(self) -> list[Stream]:
        """Those that have been opened meanwhile."""
        done = [each for each in self._opening if each.done()]
        self._opening = [each for each in self._opening if each not in done]
        self.refused += sum(isinstance(each.exception(), OSError) for each in done)
        return [each.result() for each in done if not isinstance(each.exception(), OSError)]


class Visitor:
    """One client for a while."""

    def __init__(
        self, stream: Stream, draw: random.Random, selector: selectors.BaseSelector
    ) -> None:
        self._version = draw.choice((MQTT_3_1_1, MQTT_5))
        self._acknowledges = draw.random() < 0.9
        self._incoming = Incoming()
        self._selector = selector
        self._stream: Stream | None = stream
        selector.register(stream.fileno(), selectors.EVENT_READ, self)
        self._send(self._greeting(draw))
        for _ in range(draw.randrange(5)):
            self._send(self._request(draw))

    def receive(self) -> int:
        """Answer what comes. Nothing of it belongs to the stream: 0."""
        assert self._stream is not None
        try:
            self._incoming.feed(self._stream.recv(CHUNK))
        except OSError:  # another connection has taken its place
            self._close()
        while found := self._incoming.take(CHUNK):
            first, start, _ = found
            self._answer(first, start)
        return 0

    def leave(self, draw: random.Random) -> None:
        """In order, or so that the broker must notice by itself."""
        if self._stream is None:
            return
        if draw.random() < 0.5:
            self._send(Plain(DISCONNECT))
        elif draw.random() < 0.5:
            end_by_reset(self._stream)
        self._close()

    def _greeting(self, draw: random.Random) -> Connect:
        is_5 = self._version == MQTT_5
        expiry = draw.choice((0, 3, 3600))
        will = Will(
            _topic(draw),
            _payload(draw),
            draw.randrange(3),
            draw.random() < 0.5,
            Properties(will_delay=draw.randrange(5)) if is_5 else Properties(),
        )
        return Connect(
            f"visitor-{draw.randrange(CLIENT_IDS)}",
            clean_session=draw.random() < 0.3,
            keep_alive=draw.choice((2, 60)),
            will=will if draw.random() < 0.3 else None,
            version=self._version,
            properties=Properties(session_expiry=expiry, topic_alias_maximum=draw.randrange(9))
            if is_5
            else Properties(),
        )

    def _request(self, draw: random.Random) -> Packet:
        packet_id = draw.randrange(1, 100)
        kind = draw.random()
        if kind < 0.3:
            return Subscribe(packet_id, ((_filter(draw), draw.randrange(3)),))
        if kind < 0.4:
            return Unsubscribe(packet_id, (_filter(draw),))
        if kind < 0.5:
            return Plain(PINGREQ)
        qos = draw.randrange(3)
        has_expiry = self._version == MQTT_5 and draw.random() < 0.5
        return Publish(
            _topic(draw),
            _payload(draw) if draw.random() < 0.8 else b"",
            qos,
            draw.random() < 0.5,
            packet_id=packet_id if qos else 0,
            properties=Properties(message_expiry=draw.randrange(1, 20))
            if has_expiry
            else Properties(),
        )

    def _answer(self, first: int, start: int) -> None:
        data, kind, qos = self._incoming.data, first >> 4, first >> 1 & 3
        if kind == PUBLISH and qos and self._acknowledges:
            id_at = start + 2 + int.from_bytes(data[start : start + 2], "big")
            answer = PUBACK if qos == 1 else PUBREC
            self._send(Acknowledge(answer, int.from_bytes(data[id_at : id_at + 2], "big")))
        elif kind in ANSWERS:
            packet_id = int.from_bytes(data[start : start + 2], "big")
            self._send(Acknowledge(ANSWERS[kind], packet_id))

    def _send(self, packet: Packet) -> None:
        if self._stream is None:
            return
        try:
            self._stream.sendall(encode(packet, self._version))
        except OSError:  # the broker has closed, as it should after some of this
            self._close()

    def _close(self) -> None:
        if self._stream is not None:
            self._selector.unregister(self._stream.fileno())
            self._stream.close()
            self._stream = None


def _topic(draw: random.Random) -> str:
    number = draw.randrange(TOPICS)
    return f"churn/{number % 10}/{number}"


def _filter(draw: random.Random) -> str:
    number = draw.randrange(TOPICS)
    topic_filter = draw.choice((f"churn/{number % 10}/+", _topic(draw), f"churn/+/{number}"))
    share = f"$share/{number % 3}/" if draw.random() < 0.2 else ""
    return share + topic_filter


def _payload(draw: random.Random) -> bytes:
    return bytes(draw.randrange(LARGEST))
