"""The relay that refuses a lower term, also after its restart."""

import json
from pathlib import Path

import pytest

from tests.client.brokers import Speaker, speakers
from tests.examples.running import example, program


async def command(speaker: Speaker, content: object) -> None:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    await speaker.client.publish("relay/command", payload, qos=1)


async def test_a_lower_term_moves_nothing_also_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "highest_term"
    async with speakers("white") as (white,):
        await white.names("white", 7)
        arguments = example("fencing/actuator.py", str(file), white.address)
        async with program(*arguments) as relay:
            assert await relay.next_line() == "listening, highest term 0"
            await command(white, {"term": 7, "on": True})
            assert await relay.next_line() == "relay on, term 7"
            await command(white, {"term": 6, "on": False})
            assert await relay.next_line() == "refused term 6, 7 was seen"
            await command(white, {"term": 8, "on": False})
            assert await relay.next_line() == "relay off, term 8"
        assert file.read_text() == "8"
        async with program(*arguments) as relay:
            assert await relay.next_line() == "listening, highest term 8"
            await command(white, {"term": 7, "on": True})
            assert await relay.next_line() == "refused term 7, 8 was seen"
            await command(white, {"term": 8, "on": True})
            assert await relay.next_line() == "relay on, term 8"


BAD = [b"", b"on", b"{}", b"[1]", b"[" * 5000, b"\xff", b'{"term": 9}', b'{"term": 9, "on": 1}']
BAD += [b'{"term": true, "on": true}', b'{"term": -1, "on": true}', b'{"term": 1e3, "on": true}']
BAD += [b'{"term": 9007199254740993, "on": true}', b'{"term": "9", "on": true}', b"null"]


@pytest.mark.timeout(120)
async def test_what_is_no_command_moves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "highest_term"
    async with speakers("white") as (white,):
        await white.names("white", 7)
        async with program(*example("fencing/actuator.py", str(file), white.address)) as relay:
            await relay.says("listening")
            for content in BAD:
                await command(white, content)
                assert await relay.next_line() == "ignored what is no command", content
            await command(white, {"term": 1, "on": True})
            assert await relay.next_line() == "relay on, term 1"
