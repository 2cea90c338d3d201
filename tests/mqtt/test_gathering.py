"""Output that gathers while a client has more to say, and that nothing stays of who has gone."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from broker.connections.connection import TURN
from broker.protocol.codec import encode
from broker.protocol.kinds import DISCONNECT
from broker.protocol.packets import MQTT_5, Connect, Farewell, Plain, Publish, Subscribe
from broker.server import outgoing
from broker.server.server import Server
from tests.mqtt.test_server import Raw, serving, until

BURST = 10 * TURN


@pytest.fixture
def long_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no time-out of it ends a gathering here."""
    monkeypatch.setattr(outgoing, "GATHERING", 1000.0)


def burst(topic: str) -> bytes:
    return b"".join(encode(Publish(topic, b"%d" % number)) for number in range(BURST))


async def read_burst(reader: Raw, topic: str) -> None:
    for number in range(BURST):
        assert await reader.read() == Publish(topic, b"%d" % number)


def writes_to(server: Server, client_id: str) -> list[bytes]:
    """What is written to the client from now on, piece by piece."""
    client = next(each for each in server.clients if each.connection.name.startswith(client_id))
    written: list[bytes] = []
    write = client._transport.write

    def note(data: bytes) -> None:
        written.append(data)
        write(data)

    client._transport.write = note  # type: ignore[method-assign, assignment]
    return written


@pytest.mark.usefixtures("long_gathering")
async def test_a_burst_goes_out_in_few_pieces() -> None:
    async with serving() as (server, port):
        reader, writer = await Raw.connect(port, "reader"), await Raw.connect(port, "writer")
        await reader.subscribe("burst")
        written = writes_to(server, "reader")
        writer.send(burst("burst"))
        await read_burst(reader, "burst")
        # Each message is two units of a turn, its own and its delivery's.
        assert len(written) < 2 * BURST / TURN / 2


@pytest.mark.usefixtures("long_gathering")
async def test_what_gathers_for_one_holds_nobody_else_up() -> None:
    async with serving() as (server, port):
        reader, writer = await Raw.connect(port, "reader"), await Raw.connect(port, "writer")
        other = await Raw.connect(port, "other")
        await reader.subscribe("burst")
        await other.subscribe("single")
        server.outgoing.turns_due += 1  # somebody who has more to say at any time
        written = writes_to(server, "reader")
        writer.send(burst("burst"))
        assert await writer.pings()  # all of the burst has been handled
        writer.send(encode(Publish("single", b"now")))
        assert await other.read() == Publish("single", b"now")
        assert len(b"".join(written)) < len(burst("burst"))
        server.outgoing.turns_due -= 1
        await read_burst(reader, "burst")


async def test_gathering_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "GATHERING", 0.0)
    async with serving() as (server, port):
        reader, writer = await Raw.connect(port, "reader"), await Raw.connect(port, "writer")
        await reader.subscribe("burst")
        server.outgoing.turns_due += 1
        writer.send(burst("burst"))
        await read_burst(reader, "burst")
        server.outgoing.turns_due -= 1


async def test_turns_of_those_who_have_gone_are_not_due() -> None:
    async with serving() as (server, port):
        for _ in range(5):
            writer = await Raw.connect(port, "writer")
            writer.send(burst("burst"))
            writer.reset()
            other = await Raw.connect(port, "other")
            other.send(burst("burst") + encode(Plain(DISCONNECT)) + burst("burst"))
            other.close()
        await until(lambda: not server.clients)
        assert server.outgoing.turns_due == 0


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    """What only the collector would find, from now on, once it is called."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()


async def test_a_client_that_has_gone_leaves_nothing_to_collect(garbage: list[object]) -> None:
    async with serving() as (server, port):
        for connect in (Connect("a", keep_alive=10), Connect("b", keep_alive=10, version=MQTT_5)):
            raw = await Raw.open(port)
            raw.version = connect.version
            raw.send(encode(connect))
            await raw.read()
            raw.send(encode(Subscribe(1, (("topic", 1),)), connect.version))
            await raw.read()
            raw.send(
                encode(Farewell() if raw.version == MQTT_5 else Plain(DISCONNECT), raw.version)
            )
            await raw.end()
            raw.close()
        broken = await Raw.open(port)
        broken.send(b"no MQTT")
        await broken.end()
        broken.close()
        await until(lambda: not server.clients)
        await asyncio.sleep(0)  # the last callbacks of the loop
        gc.collect()
        kinds = {type(each).__name__ for each in garbage if type(each).__module__[:7] == "broker."}
        assert not kinds
