"""A client behind TLS, websocket or both: the layers of `broker.server.layers` on its socket.

All of it is bound by the time-out of the CONNECT, which counts from the first byte on.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from broker.server.client import Client
from broker.server.layers import Layer, LayerEnd
from broker.server.tls import Tls

if TYPE_CHECKING:
    from broker.server.server import Server


class LayeredClient(Client):
    """`layers` from the socket's side to MQTT's."""

    __slots__ = ("_end", "_layers", "_tls")

    def __init__(self, server: "Server", layers: tuple[Layer, ...]) -> None:
        super().__init__(server)
        self._layers = layers
        self._tls = layers[0] if isinstance(layers[0], Tls) else None
        self._end: LayerEnd | None = None  # not yet told to the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._write = self._write_wrapped

    def buffer_updated(self, nbytes: int) -> None:
        if self._linger_timer:
            return
        data = bytes(self._server.read_buffer[:nbytes])
        if self._tls is None or self._tls.is_open:
            self._receive(data)
            return
        # A handshake costs milliseconds, and a crowd may come at once: one per turn of the loop.
        self._is_held = True
        self._transport.pause_reading()
        self._server.queue_handshake(partial(self._receive, data))

    def _receive(self, data: bytes) -> None:
        if self._lost_reason or self._linger_timer:  # its turn came too late
            return
        self.connection.receive(self._decode(data))
        self._take_turn()
        if self._transport.get_write_buffer_size():
            # The layers' own answers are bounded, too: those of a client that only pings.
            self.flush()

    def _decode(self, data: bytes) -> bytes:
        was_open = self._tls is None or self._tls.is_open
        for layer in self._layers:
            data = layer.receive(data)
            self._end = self._end or layer.end
        if self._tls and self._tls.is_open and not was_open:
            self.connection.certified = self._tls.certified_name
        self._write_wrapped(b"")
        return data

    def _take_turn(self) -> None:
        super()._take_turn()
        end = self._end
        if end and not self._has_more and not self.connection.is_paused:
            self._end = None
            self._server.router.counters.malformed += end.is_fault
            self.connection.lost(end.reason)

    def _write_wrapped(self, data: bytes) -> None:
        for layer in reversed(self._layers):
            data = layer.wrap(data)
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _write_good_bye(self) -> None:
        data = b""
        for layer in reversed(self._layers):
            data = layer.close(data)
        if data:
            self._transport.write(data)

    def _close(self, *, lingers: bool) -> None:  # noqa: ARG002 - each layer tells it
        """The client may be sending, and is to read the good-bye all the same."""
        if not self._transport.get_write_buffer_size():
            self._write_good_bye()
        super()._close(lingers=True)

    def shut_down(self) -> None:
        if self.connection.shut_down():
            self.flush()
        self._write_good_bye()
        self._transport.abort()
