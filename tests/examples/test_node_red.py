"""The flow that refuses a lower term, in a real Node-RED without its editor."""

import asyncio
import fcntl
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.client import Client
from tests.client.brokers import Speaker, speakers
from tests.engines.tools import connect
from tests.examples.running import DEADLINE, EXAMPLES, need, program

HERE = Path(__file__).parent / "node_red"
FLOW = EXAMPLES / "fencing" / "node-red-flow.json"


@pytest.fixture(scope="session")
def node_red() -> tuple[str, str]:
    """node and Node-RED's program, installed by npm from the lock file the first time."""
    node, npm = need("node", "nodejs"), need("npm", "npm")
    program_file = HERE / "node_modules" / "node-red" / "red.js"
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes, one installation
        if not (HERE / "node_modules" / ".package-lock.json").exists():
            command = [npm, "ci", "--no-audit", "--no-fund", "--omit=optional"]
            subprocess.run(command, cwd=HERE, check=True, capture_output=True)
    return node, str(program_file)


@asynccontextmanager
async def running(node_red: tuple[str, str], folder: Path, broker: Speaker) -> AsyncIterator[None]:
    """Until it is stopped; it is subscribed when this is entered."""
    shutil.copy(FLOW, folder)
    arguments = ("--userDir", str(folder), "--settings", str(HERE / "settings.js"), FLOW.name)
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(broker.broker.port)}
    async with program(*node_red, *arguments, **where) as red:
        await red.says("Connected to broker")
        yield


async def accepted(listener: Client) -> dict[str, object]:
    async with asyncio.timeout(DEADLINE):
        found = json.loads((await listener.messages.get()).payload)
        assert isinstance(found, dict)
        return found


async def command(speaker: Speaker, content: object) -> None:
    await speaker.client.publish("relay/command", json.dumps(content).encode(), qos=1)


def test_the_flow_has_the_function_that_can_be_read() -> None:
    (function,) = [each for each in json.loads(FLOW.read_text()) if each["type"] == "function"]
    assert function["func"] == (EXAMPLES / "fencing" / "refuse_lower_term.js").read_text()


@pytest.mark.timeout(300)
async def test_a_lower_term_passes_nowhere_also_after_a_restart(
    node_red: tuple[str, str], tmp_path: Path
) -> None:
    async with speakers("white") as (white,):
        listener = await connect(white.broker, "relay")
        await listener.subscribe("relay/accepted")
        async with running(node_red, tmp_path, white):
            await _subscribed(white, listener)
            for content in (
                {"term": 7, "on": True},
                {"term": 6, "on": False},
                {"on": False},
                {"term": "8", "on": False},
                {"term": 1e300, "on": False},
                {"term": -1, "on": False},
                [9],
                None,
                {"term": 7, "on": False},
            ):
                await command(white, content)
            assert await accepted(listener) == {"term": 7, "on": True}
            assert await accepted(listener) == {"term": 7, "on": False}
        async with running(node_red, tmp_path, white):
            await command(white, {"term": 6, "on": True})
            await _subscribed(white, listener, term=7)
            # The group's own word raises the term as well, and is no command.
            await white.say("state", {"hot": "black", "term": 9})
            await command(white, {"term": 8, "on": True})
            await command(white, {"term": 9, "on": True})
            assert await accepted(listener) == {"term": 9, "on": True}


async def _subscribed(white: Speaker, listener: Client, term: int = 1) -> None:
    """Say something good until it comes through: subscribing takes a moment."""
    while True:
        await command(white, {"term": term, "ready": True})
        try:
            async with asyncio.timeout(0.2):
                found = json.loads((await listener.messages.get()).payload)
        except TimeoutError:
            continue
        break
    assert found == {"term": term, "ready": True}
    await command(white, {"term": term, "end": True})
    while json.loads((await listener.messages.get()).payload) != {"term": term, "end": True}:
        pass
