"""The service behind the probe: on each node, answers who it is, as long as this node acts.

python -m benchmarks.responder NAME                    whoever holds the asked address answers
python -m benchmarks.responder NAME --role-topic T     only while the node's own broker says hot
"""

import argparse
import selectors
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field

from tests.lan import mqtt

PORT = 7777
BROKER = ("127.0.0.1", 1883)
RETRY_INTERVAL = 0.02
IP_PKTINFO = 8
HOT = b"hot"
# A question that is answered whether this node acts or not, with what the responder knows.
PRESENCE = b"present?"


@dataclass(slots=True)
class Follower:
    """Reads one retained word at the broker of this machine; a lost broker is no word."""

    topic: str
    selector: selectors.BaseSelector
    word: bytes = b""
    connection: socket.socket | None = None
    buffer: bytearray = field(default_factory=bytearray)
    next_at: float = 0.0

    def turn(self, now: float) -> None:
        if self.connection is not None or now < self.next_at:
            return
        self.next_at = now + RETRY_INTERVAL
        with suppress(OSError):
            self.connection = socket.create_connection(BROKER, timeout=1.0)
            self.connection.sendall(mqtt.connect(f"responder-{now}", keepalive=0))
            self.connection.sendall(mqtt.subscribe(self.topic))
            self.selector.register(self.connection, selectors.EVENT_READ, self.receive)

    def receive(self) -> None:
        assert self.connection is not None
        data = b""
        with suppress(OSError):
            data = self.connection.recv(65536)
        if not data:
            self._lose()
            return
        self.buffer += data
        while (found := mqtt.take_packet(self.buffer)) is not None:
            if found.kind == mqtt.PUBLISH:
                self._hear(mqtt.read_publish(found))

    def _hear(self, message: mqtt.Publication) -> None:
        self.word = message.payload
        if message.number and self.connection is not None:
            with suppress(OSError):  # the next read tells
                self.connection.sendall(mqtt.acknowledge(message.number))

    def _lose(self) -> None:
        assert self.connection is not None
        self.selector.unregister(self.connection)
        self.connection.close()
        self.connection, self.word = None, b""
        self.buffer.clear()


@dataclass(slots=True)
class Responder:
    """Answers each question with the question and the name, from the address that was asked."""

    name: bytes
    follower: Follower | None
    questions: socket.socket

    def answer(self) -> None:
        data, ancillary, _, asker = self.questions.recvmsg(64, 64)
        word = HOT if self.follower is None else self.follower.word
        if data == PRESENCE:
            self.questions.sendto(PRESENCE + word, asker)
            return
        if word != HOT:
            return
        asked = [item[2] for item in ancillary if item[1] == IP_PKTINFO]
        # Interface 0, the address that was asked as our own; the kernel fills in the rest.
        source = bytes(4) + asked[0][4:8] + bytes(4)
        with suppress(OSError):  # the cable may just have been pulled
            self.questions.sendmsg(
                [data + self.name], [(socket.IPPROTO_IP, IP_PKTINFO, source)], 0, asker
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--role-topic")
    wanted = parser.parse_args()
    selector = selectors.DefaultSelector()
    follower = Follower(wanted.role_topic, selector) if wanted.role_topic else None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as questions:
        questions.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        questions.bind(("0.0.0.0", PORT))
        responder = Responder(wanted.name.encode(), follower, questions)
        selector.register(questions, selectors.EVENT_READ, responder.answer)
        while True:
            for key, _ in selector.select(RETRY_INTERVAL if follower else None):
                key.data()
            if follower is not None:
                follower.turn(time.monotonic())


if __name__ == "__main__":
    main()
