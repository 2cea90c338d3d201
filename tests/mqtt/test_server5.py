"""The shell on real sockets, with MQTT 5 clients: what they are told, what ends by itself."""

import socket
from typing import Any

from broker.protocol.codec import encode
from broker.protocol.packets import MQTT_5, Connack, Connect, Farewell, Properties, Publish, Will
from broker.protocol.reasons import ReasonCode
from tests.mqtt.test_server import Raw, serving, until


async def open_5(port: int, client_id: str, **more: object) -> Raw:
    raw = await Raw.open(port)
    raw.version = MQTT_5
    raw.send(encode(Connect(client_id, version=MQTT_5, **more)))  # type: ignore[arg-type]
    answer = await raw.read()
    assert isinstance(answer, Connack)
    assert answer.code == 0
    return raw


async def test_a_client_that_still_sends_can_read_why_it_was_closed() -> None:
    """Closing at once would reset the connection, and the reason would be lost on the way."""
    async with serving() as (server, port):
        peer = await open_5(port, "a")
        peer.send(encode(Publish("a", b""), MQTT_5) * 1000 + b"\x36\0" + bytes(100_000))
        answer = await peer.read()
        assert isinstance(answer, Farewell)
        assert answer.code == ReasonCode.MALFORMED_PACKET
        peer.send(bytes(100_000))
        assert await peer.end() == b""
        peer.close()
        await until(lambda: not server.clients)


async def test_a_client_that_was_told_is_not_waited_for() -> None:
    async with serving() as (server, port):
        peer = await open_5(port, "a")
        peer.send(b"\x36\0")
        await until(lambda: server.router.counters.malformed == 1)
        await until(lambda: not server.clients)  # it neither closes nor reads


async def test_a_client_that_has_gone_before_it_was_told_disturbs_nobody() -> None:
    """Ending its stream fails then. One loop runs both sides: it is gone before it is heard."""
    async with serving() as (server, port):
        faults: list[dict[str, Any]] = []
        server.loop.set_exception_handler(lambda _, context: faults.append(context))
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(encode(Connect("a", version=MQTT_5)) + b"\x36\0")
        await until(lambda: server.router.counters.malformed == 1)
        await until(lambda: not server.clients)
        assert not faults


async def test_what_ends_by_itself_needs_no_traffic() -> None:
    async with serving() as (server, port):
        watcher = await Raw.connect(port, "watcher")
        await watcher.subscribe("will")
        late = Will("will", b"late", 0, retain=False, properties=Properties(will_delay=1))
        expiry = Properties(session_expiry=1)
        (await open_5(port, "a", will=late, properties=expiry)).close()
        assert await watcher.read() == Publish("will", b"late")
        await until(lambda: "a" not in server.router._sessions)


async def test_stop_tells_those_who_understand() -> None:
    async with serving() as (server, port):
        new, old = await open_5(port, "new"), await Raw.connect(port, "old")
        server.stop()
        answer = await new.read()
        assert isinstance(answer, Farewell)
        assert answer.code == ReasonCode.SERVER_SHUTTING_DOWN
        assert await old.end() == b""
