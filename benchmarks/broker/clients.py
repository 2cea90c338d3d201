"""Load clients with prepared packets of one size, so that the load is never the bottleneck.

Every message carries its number. A receiver that hears one publisher knows byte by byte what must
come, packet ids apart, and compares that in one step; nothing lost, doubled or out of order
goes unnoticed.
"""

import struct
from collections.abc import Sequence

from benchmarks.broker.streams import CHUNK, Stream, read_exactly
from broker.client import Login, connect_packet, packet

TOPIC = b"\x00\x04load"
PAYLOAD = 64
# Numbers repeat after so many messages; more than can be under way at once.
CYCLE = 2000
NUMBER = struct.Struct("!HH")  # who sent it, and which one it is
PUBACK, PUBREC, PUBREL, PUBCOMP = b"\x40\x02", b"\x50\x02", b"\x62\x02", b"\x70\x02"


def publication(qos: int, topic: bytes, number: int, *, sender: int = 0, packet_id: int) -> bytes:
    """A PUBLISH; `topic` carries its length already."""
    identifier = struct.pack("!H", packet_id) if qos else b""
    payload = NUMBER.pack(sender, number) + bytes(PAYLOAD - NUMBER.size)
    return packet(0x30 | qos << 1, topic + identifier + payload)


def cycle(qos: int, sender: int = 0) -> list[bytes]:
    """What a publisher sends on the one topic, again and again."""
    return [publication(qos, TOPIC, n, sender=sender, packet_id=n + 1) for n in range(CYCLE)]


def log_in(stream: Stream, name: str, *, is_kept: bool = False) -> Stream:
    """With a session that the broker keeps, or a clean one."""
    stream.sendall(connect_packet(Login(name, clean=not is_kept)))
    read_exactly(stream, 4)
    return stream


def subscribe(stream: Stream, topics: Sequence[bytes], qos: int) -> None:
    """All in one SUBSCRIBE; the topics carry their lengths already."""
    body = b"".join(topic + bytes((qos,)) for topic in topics)
    stream.sendall(packet(0x82, b"\x00\x01" + body))
    answer = read_exactly(stream, 4 + len(topics) + (len(topics) > 125))
    assert 0x80 not in answer[-len(topics) :], "the broker refuses a subscription"


class Publisher:
    """Sends its packets in a cycle and goes on with the handshake of QoS 2."""

    def __init__(self, stream: Stream, packets: Sequence[bytes], qos: int) -> None:
        self.stream = stream
        self.acknowledged = 0
        self.sent = 0
        self._qos = qos
        self._size = len(packets[0])
        self._length = len(packets)
        self._block = b"".join(packets)
        self._rest = b""

    def send(self, count: int) -> int:
        """Send so many messages, or fewer at the end of the block; return how many."""
        start = self.sent % self._length
        end = min(start + count, self._length)
        self.stream.sendall(self._block[start * self._size : end * self._size])
        self.sent += end - start
        return end - start

    def receive(self) -> int:
        """Take the answers. No messages come here: 0."""
        data = self._rest + self.stream.recv(CHUNK)
        end = len(data) - len(data) % 4
        self._rest = data[end:]
        if self._qos == 2:
            received = b"".join(data[at : at + 4] for at in range(0, end, 4) if data[at] >> 4 == 5)
            self.stream.sendall(replies(PUBREL, received, 2, 4))
            self.acknowledged += end // 4 - len(received) // 4
        else:
            self.acknowledged += end // 4
        return 0


class Subscriber:
    """Counts the messages, acknowledges them, and compares them with what was to come.

    `packets` are what is to come in a cycle, as the one publisher sends it. Where several publish,
    `senders` says how many: then each number is looked at.
    """

    def __init__(
        self, stream: Stream, packets: Sequence[bytes], qos: int, *, senders: int = 1
    ) -> None:
        self.stream = stream
        self.received = 0
        self.gaps = 0
        self.reordered = 0
        self._qos = qos
        self._size = len(packets[0])
        self._number_at = self._size - PAYLOAD
        self._length = len(packets)
        self._expected = b"".join(self._without_id(each) for each in packets) * 2
        self._next = [0] * senders
        self._rest = b""

    def receive(self) -> int:
        """Take what has come; return the number of messages."""
        data = self._rest + self.stream.recv(CHUNK)
        messages = self._take_twice(data) if self._qos == 2 else self._take_once(data)
        count = len(messages) // self._size
        if count:
            self._check(messages)
            self.received += count
        return count

    def _take_once(self, data: bytes) -> bytes:
        end = len(data) - len(data) % self._size
        self._rest, messages = data[end:], data[:end]
        if self._qos and messages:
            self.stream.sendall(replies(PUBACK, messages, self._number_at - 2, self._size))
        return messages

    def _take_twice(self, data: bytes) -> bytes:
        position, answers, messages = 0, bytearray(), bytearray()
        while position < len(data):
            is_message = data[position] >> 4 == 3
            size, id_at = (self._size, self._number_at - 2) if is_message else (4, 2)
            whole = data[position : position + size]
            if len(whole) < size:
                break
            answers += (PUBREC if is_message else PUBCOMP) + whole[id_at : id_at + 2]
            messages += whole if is_message else b""
            position += size
        self._rest = data[position:]
        self.stream.sendall(bytes(answers))
        return bytes(messages)

    def _check(self, messages: bytes) -> None:
        count = len(messages) // self._size
        if len(self._next) == 1 and count <= self._length:
            start = self._next[0] * self._size
            if self._without_id(messages) == self._expected[start : start + len(messages)]:
                self._next[0] = (self._next[0] + count) % self._length
                return
        self._check_each(messages)

    def _check_each(self, messages: bytes) -> None:
        """By the numbers, which begin anew after each cycle: less than half a cycle ahead is a gap,
        everything else came before, or should have."""
        around = struct.Struct(f"!{self._number_at}xHH{PAYLOAD - NUMBER.size}x")
        for sender, number in around.iter_unpack(messages):
            ahead = (number - self._next[sender]) % self._length
            if ahead >= self._length // 2:
                self.reordered += 1
                continue
            self.gaps += ahead > 0
            self._next[sender] = (number + 1) % self._length

    def _without_id(self, packets: bytes) -> bytes:
        if not self._qos:
            return packets
        blank = bytearray(packets)
        nothing = bytes(len(packets) // self._size)
        blank[self._number_at - 2 :: self._size] = nothing
        blank[self._number_at - 1 :: self._size] = nothing
        return bytes(blank)


def replies(head: bytes, packets: bytes, id_at: int, size: int) -> bytes:
    """An acknowledgement for each of the packets, which have one size."""
    count = len(packets) // size
    found = bytearray((head + b"\0\0") * count)
    found[2::4] = packets[id_at::size]
    found[3::4] = packets[id_at + 1 :: size]
    return bytes(found)
