"""One MQTT connection on the asyncio loop. The only file that imports paho.

paho does the protocol; its socket is driven by our event loop (its "external loop" interface), so
no second thread ever touches a connection. Only the blocking TCP connect runs in a thread of its
own. A Connection has one life: whoever wants to connect again makes a new one, with a new client
id, because a session is never reused (docs/protocol.md, Members).
"""

import asyncio
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, error_string
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.ports import Message

# Linux: retransmit short messages at a steady pace instead of doubling the pause each time.
TCP_THIN_LINEAR_TIMEOUTS = 16
MISC_INTERVAL = 0.5
# A broker that sends a larger packet, or says that it will, is cut off: bytes.
PACKET_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a broker listens, and who we say we are."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted us; nothing is subscribed yet."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker could not be reached or said no, perhaps to the subscription `request`. The
    connection is over."""

    reason: str
    authentication: bool
    request: int = 0


@dataclass(frozen=True, slots=True)
class SubscribedTo:
    """The broker granted the subscription that `subscribe` returned this number for."""

    request: int


@dataclass(frozen=True, slots=True)
class Received:
    message: Message


@dataclass(frozen=True, slots=True)
class Disconnected:
    """An accepted connection ended. The connection is over."""

    reason: str


ConnectionEvent = Connected | Refused | SubscribedTo | Received | Disconnected


@dataclass(frozen=True, slots=True)
class _Acknowledged:
    """The broker has taken the message that `publish` returned this number for."""

    number: int


def _ignore(_: int) -> None:
    """Others look for echoes."""


class _OversizeError(Exception):
    """The broker announced a packet that is not worth the memory."""


class _BoundedClient(Client):
    """paho's client by itself would buffer a packet of any size that a broker announces."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > PACKET_MAX:
            raise _OversizeError(f"it sent a packet of {bufsize} bytes, over {PACKET_MAX}")
        return super()._sock_recv(bufsize)

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        """As paho's, which leaves the socket open when the handshake fails; the context is always
        the caller's, and checks the name by itself."""
        assert self._ssl_context is not None, "TLS was asked for with a context"
        wrapped: ssl.SSLSocket = self._ssl_context.wrap_socket(
            tcp_sock, server_hostname=self._host, do_handshake_on_connect=False
        )
        try:
            wrapped.settimeout(self.connect_timeout)
            wrapped.do_handshake()
        except OSError:
            wrapped.close()
            raise
        return wrapped


class Connection:
    """One connection to one broker; every event arrives on the loop that called `open`.

    paho's callbacks only note what happened. The events are handed out when paho has returned,
    so that an error of ours is never taken for one of the broker's, and the other way round.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client_id: str,
        on_event: Callable[[ConnectionEvent], None],
        *,
        will: Message | None = None,
        keepalive: int = 5,
        connect_timeout: float = 1.0,
        on_acknowledged: Callable[[int], None] = _ignore,
    ) -> None:
        self._endpoint = endpoint
        self._on_event = on_event
        self._on_acknowledged = on_acknowledged
        self._keepalive = keepalive
        self._connect_timeout = connect_timeout
        self._news: deque[ConnectionEvent | _Acknowledged] = deque()
        self._is_accepted = False
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        self._is_writer_set = False
        self._client = self._make_client(client_id, will)

    def open(self) -> None:
        """Begin to connect; `Connected` or `Refused` follows when the name is resolved."""
        self._loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._connect, name="mqtt-connect", daemon=True)
        thread.start()

    def subscribe(self, *filters: str) -> int:
        """Ask for `filters` at QoS 1; `SubscribedTo` with the returned number follows."""
        if self._is_over:
            return 0
        _, request = self._client.subscribe([(each, 1) for each in filters])
        self._flush()
        return request or 0

    def unsubscribe(self, *filters: str) -> None:
        """Ask for no more of `filters`."""
        if not self._is_over:
            self._client.unsubscribe(list(filters))
            self._flush()

    def publish(self, message: Message) -> int:
        """Send now. What a broken connection swallows is lost: the caller watches for echoes, or
        for `on_acknowledged` with the returned number, which is 0 if the connection is over."""
        if self._is_over:
            return 0
        sent = self._client.publish(
            message.topic, message.payload, qos=message.qos, retain=message.retained
        )
        self._flush()
        return sent.mid

    def close(self) -> None:
        """Say good-bye: the broker forgets the will. No event follows."""
        if not self._is_over:
            self._client.disconnect()
            self._flush()
        self._end()

    def abort(self) -> None:
        """Drop the connection without a good-bye: the broker publishes the will. No event."""
        self._end()

    def _make_client(self, client_id: str, will: Message | None) -> Client:
        client = _BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._connect_timeout
        client.max_inflight_messages_set(200)
        client.max_queued_messages_set(500)
        if self._endpoint.username is not None:
            client.username_pw_set(self._endpoint.username, self._endpoint.password)
        if self._endpoint.tls is not None:
            client.tls_set_context(self._endpoint.tls)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=will.qos, retain=will.retained)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_socket_close = self._on_socket_close
        return client

    def _connect(self) -> None:
        """Runs in its own thread: resolve, connect, send CONNECT, hand the socket to the loop."""
        try:
            self._client.connect(self._endpoint.host, self._endpoint.port, self._keepalive)
            problem = None
        except OSError as error:
            problem = _words(error)
        except ValueError as error:  # a name that cannot be one
            problem = str(error)
        try:
            self._loop.call_soon_threadsafe(self._attach, problem)
        except RuntimeError:  # the loop was closed meanwhile: nobody listens any more
            self._close_unused(self._client.socket())

    @staticmethod
    def _close_unused(sock: object) -> None:
        if isinstance(sock, socket.socket):
            sock.close()

    def _attach(self, problem: str | None) -> None:
        sock = self._client.socket()
        if self._is_over:
            self._client.disconnect()  # given up meanwhile; no will for a session that never was
            self._close_unused(sock)
        elif not isinstance(sock, socket.socket):
            self._lose(problem or "it closes connections at once")
            self._deliver()
        else:
            _tune(sock)
            self._socket = sock
            self._loop.add_reader(sock, self._on_readable)
            self._timer = self._loop.call_later(self._connect_timeout, self._check_accepted)

    def _check_accepted(self) -> None:
        if not self._is_accepted:
            self._lose("it accepts TCP connections but does not answer as an MQTT broker")
        elif self._client.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._flush()
            self._timer = self._loop.call_later(MISC_INTERVAL, self._check_accepted)
        else:
            self._lose("keep-alive expired")
        self._deliver()

    def _on_readable(self) -> None:
        if self._socket is None:
            return
        try:
            code = self._client.loop_read()
        except _OversizeError as error:
            self._lose(str(error))
        except Exception as error:  # noqa: BLE001  only paho runs here: it met what is not MQTT
            self._lose(f"it sent what is not MQTT ({type(error).__name__})")
        else:
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._lose(error_string(code))
            self._flush()
        self._deliver()
        self._read_on()

    def _read_on(self) -> None:
        """What TLS has decrypted already makes no socket readable."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            self._loop.call_soon(self._on_readable)

    def _flush(self) -> None:
        """Write what waits; let the loop call again if the socket is full."""
        if self._is_over:
            return
        if self._socket is not None and self._client.want_write():
            self._client.loop_write()
        if self._socket is None:  # paho gave it up
            self._lose("the connection was lost")
        else:
            self._watch_writable(self._client.want_write())

    def _watch_writable(self, is_wanted: bool) -> None:  # noqa: FBT001  mirrors want_write()
        if is_wanted == self._is_writer_set or self._socket is None:
            return
        self._is_writer_set = is_wanted
        if is_wanted:
            self._loop.add_writer(self._socket, self._flush)
        else:
            self._loop.remove_writer(self._socket)

    def _on_connect(
        self,
        _client: Client,
        _data: object,
        _flags: ConnectFlags,
        code: ReasonCode,
        _p: Properties | None,
    ) -> None:
        if code.is_failure:
            text = str(code)
            # MQTT 3.1.1 return codes 4 and 5; every other refusal is about the service
            denied = text in {"Not authorized", "Bad user name or password"}
            self._finish(Refused(text, denied))
        else:
            self._is_accepted = True
            self._tell(Connected())

    def _on_subscribe(
        self,
        _client: Client,
        _data: object,
        request: int,
        codes: list[ReasonCode],
        _p: Properties | None,
    ) -> None:
        if any(code.is_failure for code in codes):
            reason = "the broker refused a subscription"
            self._finish(Refused(reason, authentication=True, request=request))
        else:
            self._tell(SubscribedTo(request))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # nobody's
        self._tell(Received(Message(topic, bytes(message.payload), message.retain, message.qos)))

    def _on_publish(
        self, _client: Client, _data: object, number: int, _code: ReasonCode, _p: Properties
    ) -> None:
        self._tell(_Acknowledged(number))

    def _tell(self, event: ConnectionEvent | _Acknowledged) -> None:
        if not self._is_over:
            self._news.append(event)

    def _lose(self, reason: str) -> None:
        refused = Refused(reason, authentication=False)
        self._finish(Disconnected(reason) if self._is_accepted else refused)

    def _finish(self, event: ConnectionEvent) -> None:
        """The last event. Whoever is sending just now learns of it a moment later."""
        if not self._is_over:
            self._shut()
            self._news.append(event)
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._news:
            event = self._news.popleft()
            if isinstance(event, _Acknowledged):
                self._on_acknowledged(event.number)
            else:
                self._on_event(event)

    def _end(self) -> None:
        self._shut()
        self._news.clear()

    def _shut(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            sock = self._socket
            self._detach()
            sock.close()

    def _on_socket_close(self, _client: Client, _data: object, _sock: object) -> None:
        """paho closes the socket before it reports the loss; afterwards its number is gone."""
        self._detach()

    def _detach(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = None


def _words(error: OSError) -> str:
    """What the system calls this error, without its number."""
    return error.strerror or str(error) or type(error).__name__


def _tune(sock: socket.socket) -> None:
    """Small messages, at once, and steady retransmission on a lossy link."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1)
