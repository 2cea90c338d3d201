"""What is kept over an orderly restart: by two engines; the third one says that it cannot."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.client import Message
from broker.engines.choice import create_engine
from broker.errors import EngineError
from broker.settings import BrokerSettings, EngineName, Persistence
from tests.engines.tools import connect, messages_until, next_message, open_settings, running

KEEPERS = (EngineName.EMBEDDED, EngineName.MOSQUITTO)


def kept(directory: Path, port: int) -> BrokerSettings:
    return replace(
        open_settings(port),
        persistence=Persistence.ALL,
        directory=str(directory / "broker"),
        not_kept=("edge/group/#",),
        seed=(("edge/group/lease", "seed"),),
    )


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that mosquitto's own user may pass through."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.parametrize("name", KEEPERS)
async def test_messages_and_sessions_are_kept(name: EngineName, directory: Path, port: int) -> None:
    settings = kept(directory, port)
    async with running(name, settings) as broker:
        reader = await connect(broker, "reader", clean=False)
        await reader.subscribe("queue/#")
        await reader.disconnect()
        writer = await connect(broker, "writer")
        await writer.publish("state", b"kept", retain=True)
        await writer.publish("edge/group/hot", b"yesterday", retain=True)
        for number in range(50):
            await writer.publish("queue/a", b"%d" % number)
    async with running(name, settings) as broker:
        looks = await connect(broker, "looks")
        await looks.subscribe("#")
        seen = {await next_message(looks) for _ in range(2)}
        await looks.publish("end", b"end")
        assert await messages_until(looks, b"end") == []
        assert seen == {
            Message("state", b"kept", 1, retain=True),
            Message("edge/group/lease", b"seed", 1, retain=True),
        }
        reader = await connect(broker, "reader", clean=False)
        waited = [int((await next_message(reader)).payload) for _ in range(50)]
        assert waited == list(range(50))


def test_amqtt_says_that_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="amqtt keeps nothing on disk"):
        create_engine(EngineName.AMQTT, kept(tmp_path, 1))


async def test_mosquitto_says_what_its_user_cannot_enter(tmp_path: Path, port: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("mosquitto changes its user only when it is started as root")
    settings = kept(tmp_path, port)  # pytest makes it for its owner only
    with pytest.raises(EngineError, match="the user mosquitto may not enter"):
        async with running(EngineName.MOSQUITTO, settings):
            pass
