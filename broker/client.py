"""A small MQTT 3.1.1 client over asyncio streams, QoS 0 and 1, for the probe and for seeding.

It shares no code with the embedded broker on purpose: what judges brokers must not inherit the
mistakes of the one we wrote. Deadlines are the caller's (`asyncio.timeout`).
"""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 2, 3, 4, 9, 13
QUEUE_MESSAGES = 10_000  # when nobody takes them the reader pauses, and TCP slows the broker down
REFUSALS = {
    1: "does not speak MQTT 3.1.1",
    2: "does not accept the client id",
    3: "is not available",
    4: "does not accept this user and password",
    5: "does not let this user in",
}


class ClientError(Exception):
    """The broker refused us or hung up. The text is one line."""


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """What a CONNECT says."""

    client_id: str
    user: str | None = None
    password: str | None = None
    keepalive: int = 0
    will: Message | None = None
    clean: bool = True


class Client:
    """One connection. Messages that arrive wait in `messages`, in the broker's order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._packet_id = 0
        self._replies: dict[tuple[int, int], asyncio.Future[bytes]] = {}
        self._listening: asyncio.Task[None] | None = None
        self.messages: asyncio.Queue[Message] = asyncio.Queue(QUEUE_MESSAGES)
        self.closed = asyncio.Event()

    @classmethod
    async def connect(cls, host: str, port: int, login: Login) -> Self:
        """Connect over TCP; raise ClientError if refused, OSError if nobody listens."""
        reader, writer = await asyncio.open_connection(host, port)
        stream = writer.get_extra_info("socket")
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = cls(reader, writer)
        await client.log_in(login)
        return client

    @classmethod
    async def connect_unix(cls, path: Path, login: Login) -> Self:
        """The same over a local socket."""
        reader, writer = await asyncio.open_unix_connection(path)
        client = cls(reader, writer)
        await client.log_in(login)
        return client

    async def log_in(self, login: Login) -> None:
        """Send the CONNECT and await its answer; `connect` and `connect_unix` have done so."""
        try:
            await self._send(connect_packet(login))
            _check_connack(*await read_packet(self._reader))
        except (asyncio.IncompleteReadError, OSError):
            self._writer.close()
            raise ClientError("the broker closed the connection at once") from None
        except BaseException:
            self._writer.close()
            raise
        self._listening = asyncio.create_task(self._listen(), name=f"listen {login.client_id}")

    async def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """Subscribe; return the granted QoS, or 128 if refused."""
        body = _text(topic_filter) + bytes((qos,))
        return (await self._ask(0x82, SUBACK, body))[2]

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publish; with QoS 1, return when the broker has acknowledged."""
        first = 0x30 | qos << 1 | retain
        if qos:
            await self._ask(first, PUBACK, payload, prefix=_text(topic))
        else:
            await self._send(packet(first, _text(topic) + payload))

    async def ping(self) -> None:
        """Return when the broker has answered a ping."""
        reply = self._expect(PINGRESP, 0)
        await self._send(packet(0xC0, b""))
        await reply

    async def disconnect(self) -> None:
        """Say good-bye, so that no will is published, and close."""
        with contextlib.suppress(ClientError, OSError):
            await self._send(packet(0xE0, b""))
        await self._close()

    async def abort(self) -> None:
        """Reset the connection, as a crash does."""
        stream = self._writer.get_extra_info("socket")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        await self._close()

    async def _ask(self, first: int, reply_kind: int, body: bytes, prefix: bytes = b"") -> bytes:
        """Send a packet with the next packet id; return the body of its answer."""
        self._packet_id = self._packet_id % 0xFFFF + 1
        reply = self._expect(reply_kind, self._packet_id)
        await self._send(packet(first, prefix + struct.pack("!H", self._packet_id) + body))
        return await reply

    def _expect(self, kind: int, packet_id: int) -> asyncio.Future[bytes]:
        if self.closed.is_set():
            raise ClientError("the broker closed the connection")
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._replies[kind, packet_id] = reply
        return reply

    async def _send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            raise ClientError("the broker closed the connection") from None

    async def _listen(self) -> None:
        try:
            while True:
                first, body = await read_packet(self._reader)
                await self._handle(first, body)
        except (asyncio.IncompleteReadError, OSError, ClientError):
            pass  # the end of the connection, however it came: `closed` says so
        finally:
            self.closed.set()
            for reply in self._replies.values():
                if not reply.done():
                    reply.set_exception(ClientError("the broker closed the connection"))
                    reply.exception()  # not everybody waits for an answer any more

    async def _handle(self, first: int, body: bytes) -> None:
        if first >> 4 == PUBLISH:
            message, packet_id = _read_publish(first, body)
            await self.messages.put(message)
            if message.qos:
                await self._send(packet(0x40, struct.pack("!H", packet_id)))
            return
        packet_id = int.from_bytes(body[:2], "big") if first >> 4 != PINGRESP else 0
        reply = self._replies.pop((first >> 4, packet_id), None)
        if reply is not None and not reply.done():
            reply.set_result(body)

    async def _close(self) -> None:
        self._writer.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait((self._listening,))
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def packet(first: int, body: bytes) -> bytes:
    """A whole packet: first byte, length, body."""
    length, size = len(body), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    size.append(length)
    return bytes((first,)) + bytes(size) + body


def connect_packet(login: Login) -> bytes:
    """The CONNECT for this login."""
    flags = login.clean << 1 | (login.user is not None) << 7 | (login.password is not None) << 6
    body = _text(login.client_id)
    if login.will is not None:
        flags |= 0x04 | login.will.qos << 3 | login.will.retain << 5
        body += _text(login.will.topic) + _bytes(login.will.payload)
    for value in (login.user, login.password):
        body += _text(value) if value is not None else b""
    head = b"\x00\x04MQTT\x04" + bytes((flags,)) + struct.pack("!H", login.keepalive)
    return packet(0x10, head + body)


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The first byte and the body of the next packet."""
    first = (await reader.readexactly(1))[0]
    length = 0
    for shift in (0, 7, 14, 21):
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 127) << shift
        if digit < 128:
            return first, await reader.readexactly(length)
    raise ClientError("the broker sent a packet length that is none")


def _check_connack(first: int, body: bytes) -> None:
    if first >> 4 != CONNACK or len(body) != 2:
        raise ClientError("the broker answers nonsense")
    if body[1] != 0:
        raise ClientError(f"the broker {REFUSALS.get(body[1], 'refuses the connection')}")


def _read_publish(first: int, body: bytes) -> tuple[Message, int]:
    end = 2 + int.from_bytes(body[:2], "big")
    topic = body[2:end].decode(errors="replace")
    qos = first >> 1 & 3
    packet_id = int.from_bytes(body[end : end + 2], "big") if qos else 0
    payload = body[end + 2 :] if qos else body[end:]
    return Message(topic, payload, qos, bool(first & 1)), packet_id


def _text(value: str) -> bytes:
    return _bytes(value.encode())


def _bytes(value: bytes) -> bytes:
    return struct.pack("!H", len(value)) + value
