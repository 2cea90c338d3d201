"""A client's end of each transport as asyncio's streams; websocket by the library websockets."""

import asyncio
import ssl
from collections.abc import Iterable

from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from broker.settings import Transport

HOST = "127.0.0.1"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def open_streams(
    port: int, transport: Transport = Transport.TCP, context: ssl.SSLContext | None = None
) -> Streams:
    """Connected and, with websocket, let in; what is read and written is MQTT."""
    of_tls = context if transport.has_tls else None
    if not transport.has_websocket:
        return await asyncio.open_connection(HOST, port, ssl=of_tls)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = WebsocketStreams(reader, loop)
    socket, _ = await loop.create_connection(lambda: protocol, HOST, port, ssl=of_tls)
    writer = WebsocketWriter(socket, protocol, reader, loop)
    await protocol.opened
    return reader, writer


class WebsocketStreams(asyncio.StreamReaderProtocol):
    """Takes the frames away before the reader sees what is in them."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self.opened: asyncio.Future[None] = loop.create_future()
        self.websocket = ClientProtocol(
            parse_uri("ws://localhost/mqtt"), subprotocols=[Subprotocol("mqtt")], max_size=None
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._raw = transport
        self.websocket.send_request(self.websocket.connect())
        self._send()

    def data_received(self, data: bytes) -> None:
        self.websocket.receive_data(data)
        for event in self.websocket.events_received():
            if isinstance(event, Response):
                assert self.websocket.state is State.OPEN, event
                self.opened.set_result(None)
            elif isinstance(event, Frame) and event.opcode in {0, 2}:
                super().data_received(bytes(event.data))
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed before it was open"))
        super().connection_lost(exc)

    def _send(self) -> None:
        for each in self.websocket.data_to_send():
            self._raw.write(each)

    def send(self, data: bytes) -> None:
        if self.websocket.state is State.OPEN:
            self.websocket.send_binary(data)
            self._send()
        else:
            self._raw.close()


class WebsocketWriter(asyncio.StreamWriter):
    """One frame for each write."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        websocket: WebsocketStreams,
        reader: asyncio.StreamReader,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(transport, websocket, reader, loop)
        self.websocket = websocket

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.websocket.send(bytes(data))

    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(bytes(each) for each in data))
