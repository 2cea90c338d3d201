"""The HTTP request that opens a websocket: read by h11, judged, answered. Pure."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import h11

# A head that is not whole; enough for what browsers and proxies add, cookies included.
LARGEST_HEAD: Final = 8 * 1024
# `/mqtt` is what MQTT clients ask for by default, `/` what those ask for that are told no path.
PATHS: Final = (b"/mqtt", b"/")
# In the order of our liking; the second one is what MQTT 3.1 was called.
SUBPROTOCOLS: Final = (b"mqtt", b"mqttv3.1")
NONCE_SIZE: Final = 16
MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to the client; `objection` says why it is refused, `rest` came after the head."""

    data: bytes
    objection: str = ""
    rest: bytes = b""


class _ObjectionError(Exception):
    """The request is answered with an HTTP error."""

    def __init__(self, status: HTTPStatus, sentence: str, header: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.header = header


class Upgrade:
    """One request, in any number of pieces."""

    __slots__ = ("_http", "_origins")

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)
        self._origins = origins

    def receive(self, data: bytes) -> Answer | None:
        """None until the head is whole."""
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                return None
            assert isinstance(event, h11.Request), "nothing else comes first"
            return self._judge(event)
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            return _refusal(_ObjectionError(status, "not a proper HTTP request"))
        except _ObjectionError as objection:
            return _refusal(objection)

    def _judge(self, request: h11.Request) -> Answer:
        _judge_target(request)
        _judge_upgrade(request)
        self._judge_origin(request)
        if not isinstance(self._http.next_event(), h11.EndOfMessage):
            raise _ObjectionError(HTTPStatus.BAD_REQUEST, "the request has a body")
        data = _acceptance(_nonce(request), _subprotocol(request))
        return Answer(data, rest=self._http.trailing_data[0])

    def _judge_origin(self, request: h11.Request) -> None:
        """Browsers say which site's script asks; what is no browser does not."""
        origins = _values(request, b"origin")
        if self._origins and any(each.decode("latin-1") not in self._origins for each in origins):
            raise _ObjectionError(HTTPStatus.FORBIDDEN, "scripts of this origin are not let in")


def _judge_target(request: h11.Request) -> None:
    if request.method != b"GET":
        raise _ObjectionError(HTTPStatus.METHOD_NOT_ALLOWED, "GET only", "Allow: GET")
    if _path(request.target) not in PATHS:
        raise _ObjectionError(HTTPStatus.NOT_FOUND, "MQTT is at /mqtt")
    if request.http_version != b"1.1":
        raise _ObjectionError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 only")


def _path(target: bytes) -> bytes:
    """Of a target with or without scheme and host (RFC 6455, 4.1)."""
    if target.lower().startswith((b"http://", b"https://")):
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    return target.partition(b"?")[0]


def _judge_upgrade(request: h11.Request) -> None:
    if b"websocket" not in _tokens(request, b"upgrade"):
        raise _ObjectionError(HTTPStatus.UPGRADE_REQUIRED, "websocket only", "Upgrade: websocket")
    if b"upgrade" not in _tokens(request, b"connection"):
        raise _ObjectionError(HTTPStatus.BAD_REQUEST, "no Connection: Upgrade")
    if _values(request, b"sec-websocket-version") != [b"13"]:
        raise _ObjectionError(
            HTTPStatus.UPGRADE_REQUIRED, "websocket version 13 only", "Sec-WebSocket-Version: 13"
        )


def _nonce(request: h11.Request) -> bytes:
    keys = _values(request, b"sec-websocket-key")
    try:
        is_right = len(base64.b64decode(b"".join(keys), validate=True)) == NONCE_SIZE
    except binascii.Error:
        is_right = False
    if len(keys) != 1 or not is_right:
        raise _ObjectionError(HTTPStatus.BAD_REQUEST, "no proper Sec-WebSocket-Key")
    return keys[0]


def _subprotocol(request: h11.Request) -> bytes:
    offered = [
        each.strip()
        for value in _values(request, b"sec-websocket-protocol")
        for each in value.split(b",")
    ]
    for each in SUBPROTOCOLS:
        if each in offered:
            return each
    raise _ObjectionError(HTTPStatus.BAD_REQUEST, "no Sec-WebSocket-Protocol: mqtt")


def _values(request: h11.Request, name: bytes) -> list[bytes]:
    return [value for key, value in request.headers if key == name]


def _tokens(request: h11.Request, name: bytes) -> set[bytes]:
    values = _values(request, name)
    return {each.strip().lower() for value in values for each in value.split(b",")}


def _acceptance(nonce: bytes, subprotocol: bytes) -> bytes:
    digest = hashlib.sha1(nonce + MAGIC, usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: %b\r\n\r\n"
        % (base64.b64encode(digest), subprotocol)
    )


def _refusal(objection: _ObjectionError) -> Answer:
    status, sentence = objection.status, f"{objection}\n"
    header = f"{objection.header}\r\n" if objection.header else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n{header}Connection: close\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(sentence)}\r\n\r\n"
    )
    return Answer((head + sentence).encode(), str(objection))
