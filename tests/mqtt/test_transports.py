"""TLS and websocket on real sockets: who is let in, and what strangers can do to the others."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from broker.protocol import packets
from broker.protocol.codec import encode
from broker.protocol.packets import MQTT_5, Connack, Connect, Publish
from broker.server.server import Server
from broker.server.tls import Tls
from broker.settings import BrokerSettings, ClientCertificates, Limits, Transport, User
from tests.mqtt.certificates import Authority
from tests.mqtt.test_server import DEADLINE, WILL, Raw, over, serving, until
from tests.mqtt.test_tls import damage
from tests.mqtt.test_websocket import frame, request
from tests.mqtt.tools import EVERYTHING, role, settings

READER = role("reader", "+subscribe #")
WITH_TLS = [Transport.TLS, Transport.WEBSOCKET_TLS]
WITH_WEBSOCKET = [Transport.WEBSOCKET, Transport.WEBSOCKET_TLS]
LAYERED = [Transport.TLS, Transport.WEBSOCKET, Transport.WEBSOCKET_TLS]


@pytest.fixture
def certified(
    transport: Transport, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Callable[[ClientCertificates, str | None], BrokerSettings]:
    """Settings with two users, and a client with the certificate of somebody."""

    def make(mode: ClientCertificates, user: str | None) -> BrokerSettings:
        assert transport.has_tls
        monkeypatch.setattr(Raw, "tls", authority.files(clients=mode))
        monkeypatch.setattr(Raw, "context", authority.client_context(user))
        users = (
            User("person", "token:unknown", EVERYTHING.name),
            User("visitor", "token:unknown", READER.name),
        )
        return settings(READER, users=users, anonymous=None)

    return make


Certified = Callable[[ClientCertificates, str | None], BrokerSettings]


@over(WITH_TLS)
async def test_the_name_in_the_certificate_is_the_user(certified: Certified) -> None:
    """Whatever the CONNECT says, and without a password."""
    for mode in (ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED):
        async with serving(certified(mode, "visitor")) as (server, port):
            peer = await Raw.open(port)
            peer.send(encode(Connect("a", username="person", password=b"guess")))
            assert await peer.read() == Connack(session_present=False, code=0)
            await peer.subscribe("a")
            peer.send(encode(Publish("a", b"not allowed")))
            assert await peer.pings()
            assert server.router.counters.denied == 1


@over(WITH_TLS)
async def test_a_certificate_with_an_unknown_name_is_refused(certified: Certified) -> None:
    async with serving(certified(ClientCertificates.REQUIRED, "nobody")) as (server, port):
        peer = await Raw.open(port)
        peer.version = MQTT_5
        peer.send(encode(Connect("a", version=MQTT_5), MQTT_5))
        answer = await peer.read()
        assert isinstance(answer, Connack)
        assert answer.code == 0x87
        assert answer.properties.reason_string == "the certificate: no user 'nobody'"
        await until(lambda: not server.clients)
        assert not server.router._sessions


@over(WITH_TLS)
async def test_without_a_certificate_the_password_decides(certified: Certified) -> None:
    async with serving(certified(ClientCertificates.OPTIONAL, None)) as (_, port):
        peer = await Raw.open(port)
        peer.send(encode(Connect("a", username="person", password=b"guess")))
        answer = await peer.read()
        assert answer == Connack(session_present=False, code=packets.BAD_PASSWORD)


@over([Transport.TLS])
async def test_a_required_certificate_that_is_missing(certified: Certified) -> None:
    async with serving(certified(ClientCertificates.REQUIRED, None)) as (server, port):
        # With TLS 1.3 the client has finished before the broker has looked.
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await Raw.connect(port, "a")
        await until(lambda: not server.clients)
        assert server.router.counters.malformed == 1
        assert server.router.counters.accepted == 0


@over(LAYERED)
async def test_slow_strangers_are_cut(transport: Transport) -> None:
    """In the handshake, in the request, and between the layers, all by one time-out."""
    begun = b"\x16\x03\x01\x02\x00\x01" if transport.has_tls else request()[:40]
    async with serving(settings(limits=Limits(connect_timeout=0.5))) as (server, port):
        silent, dripping = [await Raw.open(port, Transport.TCP) for _ in range(2)]
        between = await Raw.open(port)
        dripping.send(begun)
        for each in (silent, dripping, between):
            assert await each.end() == b""
        assert server.router.counters.timed_out == 3
        await until(lambda: not server.clients)


@over(LAYERED)
async def test_streams_that_end_at_any_place_harm_nobody(transport: Transport) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" if transport.has_tls else request()
    async with serving() as (server, port):
        good = await Raw.connect(port, "good")
        for size in range(0, len(hello), 7):
            with socket.create_connection(("127.0.0.1", port)) as peer:
                peer.sendall(hello[:size])
        between = await Raw.open(port)
        between.close()
        assert await good.pings()
        await until(lambda: len(server.clients) == 1)


@over(LAYERED)
async def test_other_protocols_are_refused(transport: Transport) -> None:
    strangers = [encode(Connect("a")), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes(3000)]
    strangers.append(request() if transport.has_tls else b"\x16\x03\x01\x02\x00\r\n\r\n")
    async with serving() as (server, port):
        good = await Raw.connect(port, "good")
        for data in strangers:
            peer = await Raw.open(port, Transport.TCP)
            peer.send(data)
            answer = await peer.end()
            # An alert, or an error of HTTP.
            assert not answer or answer[:1] == b"\x15" or answer.startswith(b"HTTP/1.1 4")
        assert server.router.counters.malformed == len(strangers)
        assert await good.pings()


@over(WITH_WEBSOCKET)
async def test_a_bad_frame_ends_its_connection_with_its_will() -> None:
    """What came before is routed, what comes after is not."""
    async with serving() as (server, port):
        watcher = await Raw.connect(port, "watcher")
        await watcher.subscribe("#")
        peer = await Raw.connect(port, "peer", WILL)
        protocol = peer.writer.transport.get_protocol()
        raw = protocol._raw  # type: ignore[attr-defined]
        raw.write(frame(2, encode(Publish("a", b"before"))) + frame(1, b"text"))
        raw.write(frame(2, encode(Publish("a", b"after"))))
        assert await watcher.read() == Publish("a", b"before")
        assert await watcher.read() == Publish("will", b"gone")
        await peer.end()
        assert protocol.websocket.close_rcvd.code == 1003  # type: ignore[attr-defined]
        assert await watcher.pings()
        assert server.router.counters.malformed == 1


@over(WITH_WEBSOCKET)
async def test_a_client_that_closes_the_websocket_is_answered() -> None:
    async with serving() as (server, port):
        watcher = await Raw.connect(port, "watcher")
        await watcher.subscribe("will")
        peer = await Raw.connect(port, "peer", WILL)
        protocol = peer.writer.transport.get_protocol()
        protocol.websocket.send_close(1001)  # type: ignore[attr-defined]
        protocol._send()  # type: ignore[attr-defined]
        assert await watcher.read() == Publish("will", b"gone")
        assert await peer.end() == b""
        assert protocol.websocket.close_rcvd.code == 1001  # type: ignore[attr-defined]
        assert server.router.counters.malformed == 0


@over(WITH_WEBSOCKET)
async def test_pings_are_answered_and_packets_may_come_in_any_frames() -> None:
    async with serving() as (_, port):
        peer = await Raw.connect(port, "peer")
        await peer.subscribe("a")
        protocol = peer.writer.transport.get_protocol()
        data = encode(Publish("a", b"1")) + encode(Publish("a", b"2"))
        protocol._raw.write(  # type: ignore[attr-defined]
            frame(2, data[:3], final=False)
            + frame(9, b"ping")
            + frame(0, data[3:9], final=False)
            + frame(0, b"", final=True)
            + frame(2, data[9:])
        )
        assert await peer.read() == Publish("a", b"1")
        assert await peer.read() == Publish("a", b"2")


@over([Transport.WEBSOCKET])
async def test_a_client_that_pings_and_never_reads_is_cut_off() -> None:
    async with serving(settings(limits=Limits(send_buffer=20_000))) as (server, port):
        server.read_buffer = memoryview(bytearray(512))  # so that each answer is about its piece
        peer = await Raw.connect(port, "peer")
        (client,) = server.clients
        answers = client._transport.get_extra_info("socket")
        answers.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        raw = peer.writer.transport.get_protocol()._raw  # type: ignore[attr-defined]

        def is_cut_off() -> bool:
            if not raw.get_write_buffer_size():
                raw.write(frame(9, bytes(125)) * 40)
            return server.router.counters.cut_off == 1

        await until(is_cut_off)
        await until(lambda: not server.clients)


@over(WITH_TLS)
async def test_a_crowd_that_shakes_hands_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake costs milliseconds: never two of them without a turn of the loop between."""
    loop, log = asyncio.get_running_loop(), list[str]()
    receive = Tls.receive

    def watched(self: Tls, data: bytes) -> bytes:
        if not self.is_open:
            log.append("handshake")
        return receive(self, data)

    def tick() -> None:
        log.append("turn")
        loop.call_soon(tick)

    monkeypatch.setattr(Tls, "receive", watched)
    async with serving(settings(limits=Limits(connect_timeout=DEADLINE))) as (_, port):
        tick()
        peers = await asyncio.gather(*(Raw.connect(port, f"c{number}") for number in range(50)))
        for each in peers:
            assert await each.pings()
    assert log.count("handshake") >= 50
    assert ("handshake", "handshake") not in pairwise(log)


@over(WITH_TLS)
async def test_a_handshake_whose_turn_comes_after_the_end(
    transport: Transport,  # noqa: ARG001 - what is served
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[Callable[[], None]] = []
    monkeypatch.setattr(Server, "queue_handshake", lambda _, step: steps.append(step))
    outgoing = ssl.MemoryBIO()
    client = authority.client_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    async with serving(settings(limits=Limits(connect_timeout=0.2))) as (server, port):
        peer = await Raw.open(port, Transport.TCP)
        peer.send(outgoing.read())
        await until(lambda: server.lingering == 1)
        for step in steps:
            step()
        assert len(steps) == 1
        assert await peer.end() == b""


@over(WITH_TLS)
async def test_new_certificates_drop_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path)
    files = authority.files()
    monkeypatch.setattr(Raw, "tls", files)
    monkeypatch.setattr(Raw, "context", authority.client_context())
    async with serving() as (server, port):
        before = await Raw.connect(port, "before")
        other.files()
        server.reload()
        with pytest.raises(ssl.SSLCertVerificationError):
            await Raw.open(port)
        monkeypatch.setattr(Raw, "context", other.client_context())
        after = await Raw.connect(port, "after")
        assert await before.pings()
        damage(Path(files.key))
        server.reload()
        assert await (await Raw.connect(port, "later")).pings()
        assert await before.pings()
        assert await after.pings()


async def test_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Raw, "transport", Transport.WEBSOCKET)
    of = replace(settings(), websocket_origins=("https://panel.example.org",))
    async with serving(of) as (_, port):
        for origin, status in (("https://panel.example.org", b"101"), ("https://evil", b"403")):
            peer = await Raw.open(port, Transport.TCP)
            peer.send(request(Origin=origin))
            assert (await peer.reader.readline()).split()[1] == status
