"""TLS and websocket on the engines that have them, with the clients that people use."""

import asyncio
import json
import os
import random
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from broker.errors import EngineError
from broker.server.certificates import NO_CHECK_TIME
from broker.settings import BrokerSettings, ClientCertificates, Listener, Transport, User
from tests.engines.tools import (
    DEADLINE,
    EVERYTHING,
    HOST,
    Broker,
    connect,
    free_port,
    make_engine,
    next_message,
    open_settings,
    running,
)
from tests.mqtt.certificates import Authority
from tests.mqtt.transports import open_streams

LAYERED = [Transport.TLS, Transport.WEBSOCKET, Transport.WEBSOCKET_TLS]
CASES = [
    *(("embedded", each) for each in LAYERED),
    *(("mosquitto", each) for each in LAYERED),
    ("amqtt", Transport.TLS),
]
SCHEMES = {Transport.TLS: "mqtts", Transport.WEBSOCKET: "ws", Transport.WEBSOCKET_TLS: "wss"}

over_all = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case[0]}-{case[1]}", indirect=True
)


class Layered:
    """A broker with a plain listener, and one with TLS, websocket or both."""

    def __init__(self, broker: Broker, listener: Listener, authority: Authority) -> None:
        self.broker = broker
        self.port = listener.port
        self.transport = listener.transport
        self.authority = authority

    def paho(self, client_id: str, context: ssl.SSLContext | None = None) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            transport="websockets" if self.transport.has_websocket else "tcp",
        )
        if self.transport.has_tls:
            client.tls_set_context(context or self.authority.client_context())
        return client


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def case(request: pytest.FixtureRequest, authority: Authority) -> AsyncIterator[Layered]:
    engine, transport = request.param
    listener = Listener(HOST, free_port(), transport)
    async with running(engine, _with(open_settings(free_port()), listener, authority)) as broker:
        yield Layered(broker, listener, authority)


def _with(
    settings: BrokerSettings,
    listener: Listener,
    authority: Authority,
    clients: ClientCertificates = ClientCertificates.OFF,
) -> BrokerSettings:
    listeners = (*settings.listeners, listener)
    return replace(settings, listeners=listeners, tls=authority.files(clients=clients))


@over_all
async def test_paho(case: Layered) -> None:
    """A large message and many small ones come back; the plain listener is the same broker."""
    watcher = await connect(case.broker, "watcher")
    await watcher.subscribe("echo/#")
    payloads = [random.Random(1).randbytes(500_000), *(b"%d" % number for number in range(200))]
    seen = await asyncio.to_thread(_echo, case.paho("paho"), case.port, payloads)
    assert seen == payloads
    assert [(await next_message(watcher)).payload for _ in payloads] == payloads


def _echo(client: paho.Client, port: int, payloads: list[bytes]) -> list[bytes]:
    seen: list[bytes] = []
    subscribed, complete = threading.Event(), threading.Event()

    def on_message(_: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        seen.append(bytes(message.payload))
        if len(seen) == len(payloads):
            complete.set()

    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(HOST, port)
    client.loop_start()
    try:
        client.subscribe("echo/#", qos=1)
        assert subscribed.wait(DEADLINE)
        for number, payload in enumerate(payloads):
            client.publish(f"echo/{number}", payload, qos=1)
        assert complete.wait(DEADLINE)
    finally:
        client.disconnect()
        client.loop_stop()
    return seen


@over_all
async def test_javascript_client(case: Layered, javascript: Path) -> None:
    url = f"{SCHEMES[case.transport]}://{HOST}:{case.port}"
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(case.authority.file)}
    async with asyncio.timeout(4 * DEADLINE):
        process = await asyncio.create_subprocess_exec(
            "node", str(javascript / "client.js"), url,
            env=environment, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
    assert sorted(json.loads(output)) == [
        ["js/0", "qos 0", False],
        ["js/1", "qos 1", False],
        ["js/2", "qos 2", False],
        ["js/retained", "kept", True],
    ]


@over_all
async def test_strangers_hurt_nobody(case: Layered) -> None:
    """Noise, nothing at all, and the beginning of something, from many at once."""
    source = random.Random(3)
    good = await connect(case.broker, "good")
    await good.subscribe("alive")
    opened = [socket.create_connection((HOST, case.port)) for _ in range(60)]
    beginnings = (b"", b"\x16\x03\x01\x02\x00\x01", b"GET /mqtt HTTP/1.1\r\nHost: a\r\n")
    for number, each in enumerate(opened):
        each.sendall(beginnings[number % 3] if number % 2 else source.randbytes(300))
    await good.publish("alive", b"yes")
    assert (await next_message(good)).payload == b"yes"
    payloads = [b"one"]
    assert await asyncio.to_thread(_echo, case.paho("paho"), case.port, payloads) == payloads
    for each in opened:
        each.close()


@pytest.mark.parametrize("transport", [Transport.TLS, Transport.WEBSOCKET_TLS], ids=str)
@pytest.mark.parametrize("brand", ["embedded", "mosquitto"])
# paho leaves the socket of a websocket that is refused to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_certificate_is_a_user(
    brand: str, transport: Transport, authority: Authority
) -> None:
    """One whose name is unknown gets nowhere, nor does a client without a certificate."""
    open_to_all = open_settings(free_port())
    users = (User("person", "token:unknown", EVERYTHING.name, secret="unknown"),)
    listener = Listener(HOST, free_port(), transport)
    settings = _with(
        replace(open_to_all, users=users, anonymous=None),
        listener,
        authority,
        ClientCertificates.REQUIRED,
    )
    async with running(brand, settings) as broker:
        layered = Layered(broker, listener, authority)
        known = layered.paho("known", authority.client_context("person"))
        assert await asyncio.to_thread(_echo, known, listener.port, [b"hello"]) == [b"hello"]
        for user in (None, "nobody"):
            client = layered.paho("unknown", authority.client_context(user))
            with pytest.raises((AssertionError, OSError)):
                await asyncio.to_thread(_one_message, client, listener.port)


def _one_message(client: paho.Client, port: int) -> None:
    """Publish to oneself, with little patience."""
    came = threading.Event()
    client.on_message = lambda *_: came.set()
    client.connect(HOST, port)
    client.loop_start()
    try:
        client.subscribe("a", qos=1)
        client.publish("a", b"hello", qos=1)
        assert came.wait(1)
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("brand", ["embedded", "mosquitto", "amqtt"])
async def test_a_bad_certificate_is_one_clear_line(brand: str, authority: Authority) -> None:
    listener = Listener(HOST, free_port(), Transport.TLS)
    settings = _with(open_settings(free_port()), listener, authority)
    one, other = authority.files("one"), authority.files("other")
    broker = make_engine(brand, replace(settings, tls=replace(one, key=other.key)))
    with pytest.raises(EngineError) as caught:
        await broker.start()
    assert str(caught.value) == (
        f'broker.tls.key = "{other.key}": does not belong to the certificate {one.certificate}'
    )
    await broker.stop()


@pytest.mark.parametrize("brand", ["embedded", "mosquitto", "amqtt"])
async def test_a_certificate_that_ran_out_keeps_no_broker_away(
    brand: str, authority: Authority
) -> None:
    """Clients that do not look at the date are served."""
    listener = Listener(HOST, free_port(), Transport.TLS)
    settings = _with(open_settings(free_port()), listener, authority)
    broker = make_engine(brand, replace(settings, tls=authority.expired_files()))
    await broker.start()
    try:
        context = authority.client_context()
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
            await open_streams(listener.port, Transport.TLS, context)
        context.verify_flags |= NO_CHECK_TIME
        _, writer = await open_streams(listener.port, Transport.TLS, context)
        writer.close()
    finally:
        await broker.stop()


@pytest.mark.parametrize(
    ("brand", "transport", "clients", "origins", "key"),
    [
        ("mosquitto", Transport.TLS, ClientCertificates.OPTIONAL, (), "client_certificates"),
        ("mosquitto", Transport.WEBSOCKET, ClientCertificates.OFF, ("https://a",), "origins"),
        ("amqtt", Transport.TLS, ClientCertificates.REQUIRED, (), "client_certificates"),
        ("amqtt", Transport.WEBSOCKET, ClientCertificates.OFF, (), "websocket_port"),
    ],
)
async def test_what_an_engine_cannot_do_is_one_clear_line(
    brand: str,
    transport: Transport,
    clients: ClientCertificates,
    origins: tuple[str, ...],
    key: str,
    authority: Authority,
) -> None:
    listener = Listener(HOST, free_port(), transport)
    settings = _with(open_settings(free_port()), listener, authority, clients)
    broker = make_engine(brand, replace(settings, websocket_origins=origins))
    with pytest.raises(EngineError, match=key) as caught:
        await broker.start()
    assert "\n" not in str(caught.value)
    await broker.stop()
