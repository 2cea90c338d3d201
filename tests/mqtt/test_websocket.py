"""Websocket without sockets: the request, frames in any pieces, what is refused and how."""

import struct
from itertools import cycle
from operator import xor

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from broker.server.upgrade import LARGEST_HEAD
from broker.server.websocket import BINARY, CLOSE, CONTINUATION, FINAL, PING, PONG, TEXT, Websocket

MASK = b"\x01\xa2\x03\xf4"
HEADERS = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
}


def request(line: str = "GET /mqtt HTTP/1.1", **changes: str | None) -> bytes:
    """A good request; `_` stands for `-` in the names of what is changed, None takes away."""
    headers: dict[str, str | None] = dict(HEADERS)
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, mask: bytes = MASK) -> bytes:
    size = len(payload)
    head = bytes((opcode | (FINAL if final else 0),))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 65536:
        head += b"\xfe" + struct.pack(">H", size)
    else:
        head += b"\xff" + struct.pack(">Q", size)
    return head + mask + bytes(map(xor, payload, cycle(mask)))


def opened(origins: tuple[str, ...] = ()) -> Websocket:
    websocket = Websocket(origins)
    assert websocket.receive(request()) == b""
    assert status(websocket) == 101
    return websocket


def status(websocket: Websocket) -> int:
    return int(websocket.wrap(b"").split(b" ", 2)[1])


def closing(websocket: Websocket) -> int:
    """The code of the good-bye."""
    data = websocket.close(b"")
    assert data[0] == FINAL | CLOSE
    return int(struct.unpack(">H", data[2:4])[0])


def test_the_answer_proves_that_the_request_was_read() -> None:
    websocket = Websocket()
    websocket.receive(request())
    answer = websocket.wrap(b"")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert b"\r\nSec-WebSocket-Protocol: mqtt\r\n" in answer
    assert b"xtensions" not in answer


def test_a_request_in_single_bytes_and_an_empty_piece() -> None:
    websocket = Websocket()
    for byte in request() + frame(BINARY, b"hello")[:-1]:
        assert websocket.receive(b"") == b""
        websocket.receive(bytes((byte,)))
    assert status(websocket) == 101
    assert websocket.receive(frame(BINARY, b"hello")[-1:]) == b"o"


def test_frames_that_come_with_the_request_count() -> None:
    websocket = Websocket()
    assert websocket.receive(request() + frame(BINARY, b"hello")) == b"hello"


@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "GET /mqtt?token=1 HTTP/1.1",
        "GET http://node:9001/mqtt HTTP/1.1",
        "GET HTTPS://node/mqtt?token=1 HTTP/1.1",
        "GET http://node HTTP/1.1",
    ],
)
def test_paths(line: str) -> None:
    websocket = Websocket()
    websocket.receive(request(line))
    assert status(websocket) == 101


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("mqtt", b"mqtt"), ("mqttv3.1", b"mqttv3.1"), ("x, mqttv3.1 ,mqtt", b"mqtt")],
)
def test_subprotocols(offered: str, chosen: bytes) -> None:
    websocket = Websocket()
    websocket.receive(request(Sec_WebSocket_Protocol=offered))
    assert b"\r\nSec-WebSocket-Protocol: " + chosen + b"\r\n" in websocket.wrap(b"")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (request("POST /mqtt HTTP/1.1"), 405),
        (request("GET /other HTTP/1.1"), 404),
        (request("GET /mqtt HTTP/1.0"), 505),
        (request(Upgrade=None), 426),
        (request(Upgrade="h2c"), 426),
        (request(Connection="keep-alive"), 400),
        (request(Sec_WebSocket_Version="8"), 426),
        (request(Sec_WebSocket_Key=None), 400),
        (request(Sec_WebSocket_Key="dG9vIHNob3J0"), 400),
        (request(Sec_WebSocket_Key="???"), 400),
        (request(Sec_WebSocket_Protocol=None), 400),
        (request(Sec_WebSocket_Protocol="chat"), 400),
        (request(Host=None), 400),
        (request(Content_Length="3") + b"abc", 400),
        (request(Cookie="x" * 2 * LARGEST_HEAD)[:-4], 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02ab\r\n\r\n", 400),
    ],
)
def test_a_request_that_is_refused(data: bytes, code: int) -> None:
    websocket = Websocket()
    assert websocket.receive(data) == b""
    assert websocket.end
    assert websocket.end.is_fault
    assert status(websocket) == code
    assert websocket.receive(frame(BINARY, b"late")) == b""
    assert websocket.close(b"late") == b""


def test_a_refusal_is_whole() -> None:
    websocket = Websocket()
    websocket.receive(request("PUT / HTTP/1.1"))
    head, body = websocket.wrap(b"").split(b"\r\n\r\n")
    assert b"\r\nAllow: GET\r\n" in head
    assert f"\r\nContent-Length: {len(body)}".encode() in head


def test_origins() -> None:
    site = "https://panel.example.org"
    for origins, origin, code in (
        ((), site, 101),
        ((site,), site, 101),
        ((site,), None, 101),
        ((site,), "https://example.org", 403),
    ):
        websocket = Websocket(origins)
        websocket.receive(request(Origin=origin))
        assert status(websocket) == code


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((0, 1, 4, 125, 126, 127, 65535, 65536)),
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=4,
    ),
    st.sampled_from((1000, 16384, 70_000)) | st.integers(1, 70_000),
    st.binary(min_size=4, max_size=4),
)
def test_messages_in_any_frames_and_any_pieces(
    messages: list[tuple[int, int, bool]], piece: int, mask: bytes
) -> None:
    """A message may have several frames, with a ping between them; a piece cuts where it likes."""
    expected, stream = b"", b""
    for size, more_frames, has_ping in messages:
        payload = (bytes(range(251)) * 262)[:size]
        expected += payload * (1 + more_frames)
        for part in range(more_frames + 1):
            opcode = CONTINUATION if part else BINARY
            stream += frame(opcode, payload, final=part == more_frames, mask=mask)
            stream += frame(PING, b"ping", mask=mask) if has_ping else b""
    websocket = opened()
    found = [websocket.receive(stream[at : at + piece]) for at in range(0, len(stream), piece)]
    assert b"".join(found) == expected
    assert websocket.end is None


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from((0, 1, 125, 126, 65535, 65536, 200_000)), max_size=5))
def test_a_client_understands_what_is_sent(sizes: list[int]) -> None:
    client = ClientProtocol(
        parse_uri("ws://localhost/"), subprotocols=[Subprotocol("mqtt")], max_size=None
    )
    websocket = Websocket()
    client.send_request(client.connect())
    websocket.receive(b"".join(client.data_to_send()))
    client.receive_data(websocket.wrap(b""))
    assert client.state is State.OPEN
    assert client.subprotocol == "mqtt"
    client.events_received()
    for size in sizes:
        client.receive_data(websocket.wrap(bytes(size)))
    found = [each for each in client.events_received() if isinstance(each, Frame)]
    assert [len(each.data) for each in found] == [size for size in sizes if size]
    client.receive_data(websocket.close(b""))
    assert client.close_rcvd
    assert client.close_rcvd.code == 1000


def test_a_frame_of_any_length_is_passed_on_at_once() -> None:
    websocket = opened()
    endless = b"\x82\xff" + struct.pack(">Q", (1 << 63) - 1) + bytes(4)
    assert websocket.receive(endless + b"first") == b"first"
    assert websocket.receive(b"second") == b"second"
    assert websocket.end is None


def test_only_the_latest_ping_is_answered() -> None:
    websocket = opened()
    websocket.receive(frame(PING, b"one") + frame(PONG, b"unasked") + frame(PING, b"two"))
    assert websocket.wrap(b"data") == b"\x8a\x03two" + b"\x82\x04data"
    assert websocket.wrap(b"") == b""


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"hello"), 1003),
        (b"\x82\x05hello", 1002),  # no mask
        (frame(BINARY | 0x40, b"compressed"), 1002),
        (frame(3, b"reserved"), 1002),
        (frame(11, b"reserved"), 1002),
        (frame(CONTINUATION, b"of nothing"), 1002),
        (frame(BINARY, b"a", final=False) + frame(BINARY, b"b"), 1002),
        (frame(PING, final=False), 1002),
        (frame(PING, bytes(126)), 1002),
        (b"\x82\xfe\x00\x05" + bytes(9), 1002),  # a longer length than is needed
        (b"\x82\xff" + struct.pack(">Q", 65535) + bytes(9), 1002),
        (b"\x82\xff" + struct.pack(">Q", 1 << 63) + bytes(9), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, struct.pack(">H", 1005)), 1002),
        (frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007),
    ],
)
def test_a_frame_that_is_refused(data: bytes, code: int) -> None:
    """What came before counts, what comes after does not."""
    websocket = opened()
    before = websocket.receive(frame(BINARY, b"before") + data)
    assert before.startswith(b"before")
    assert websocket.end
    assert websocket.end.is_fault
    assert websocket.receive(frame(BINARY, b"after")) == b""
    assert closing(websocket) == code


@pytest.mark.parametrize("payload", [b"", struct.pack(">H", 1001) + b"away"])
def test_the_client_closes(payload: bytes) -> None:
    websocket = opened()
    assert websocket.receive(frame(BINARY, b"last") + frame(CLOSE, payload)) == b"last"
    assert websocket.end
    assert not websocket.end.is_fault
    assert websocket.close(b"") == bytes((FINAL | CLOSE, len(payload[:2]))) + payload[:2]
    assert websocket.close(b"more") == b""
    assert websocket.wrap(b"more") == b""


@given(st.lists(st.binary(max_size=40), max_size=20), st.booleans())
def test_noise_never_raises(pieces: list[bytes], is_open: bool) -> None:
    websocket = opened() if is_open else Websocket()
    for each in pieces:
        websocket.receive(each)
        websocket.wrap(b"")
    websocket.close(b"")
