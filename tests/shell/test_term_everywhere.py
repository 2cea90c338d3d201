"""The fencing token: one number, the same wherever somebody outside may look for it."""

import asyncio
import json
import signal
from pathlib import Path

from edge.client import Group
from tests.engines.tools import free_port
from tests.shell.raw_broker import DEADLINE, until
from tests.shell.running import ALONE, Client, members
from tests.shell.test_app import client_of
from tests.shell.test_console_port import answers

DUTY = """
[[duty.process]]
name = "pump"
command = ["/bin/sh", "-c", "echo $EDGE_TERM >> $0/process; exec sleep 1000", "{folder}"]

[[duty.process]]
name = "driver"
run_on = "always"
instance = true
command = ["/bin/sh", "-c", "while read line; do echo $line >> $0/instance; done", "{folder}"]

[[duty.hook]]
on_hot = ["/bin/sh", "-c", "echo $EDGE_TERM >> $0/on_hot", "{folder}"]
on_standby = ["/bin/sh", "-c", "echo $EDGE_TERM >> $0/on_standby", "{folder}"]
on_alert = ["/bin/sh", "-c", "echo $EDGE_TERM >> $0/on_alert", "{folder}"]

[console]
port = {port}
"""
# What a node says of its own end has no term: its will is written before there is one.
ENDS = {"lost", "stopped"}


async def test_each_says_the_same_term(tmp_path: Path) -> None:
    port = free_port()
    text = ALONE + DUTY.replace("{port}", str(port))
    with members(tmp_path, text) as group:
        group.start("white")
        await answers(port, "/hot", 200)
        group.send("white", signal.SIGKILL)
        await group.end_of("white")
        group.start("white")
        async with client_of(group, "white") as client:
            hot = json.loads(await answers(port, "/hot", 200))
            term = hot["term"]
            assert term == 2, "the second life"
            await until(lambda: client.state().get("hot") == "white")
            async with (
                asyncio.timeout(DEADLINE),
                Group([f"127.0.0.1:{group.ports['white']}"], timeout=DEADLINE) as outside,
            ):
                assert (await outside.wait_for_hot()).term == term
            await until(lambda: _last_term(client, "node/white/heartbeat") == term)
            for topic in ("state", "node/white/state", "lease"):
                assert _last_term(client, topic) == term, topic
            assert json.loads(client.last("history"))[-1]["term"] == term
            assert (await client.ask("state", b""))["data"]["term"] == term  # type: ignore[index]
            assert json.loads(await answers(port, "/api/state", 200))["term"] == term
            for topic, payload in client.messages:
                _has_term(topic, payload)
        for name in ("process", "on_hot"):
            assert _lines(tmp_path / name) == ["1", "2"], name
        assert json.loads(_lines(tmp_path / "instance")[-1]) == {"role": "hot", "term": term}
        await until(lambda: "2" in _lines(tmp_path / "on_alert"))  # nobody could take over
        group.send("white", signal.SIGTERM)
        assert await group.end_of("white") == 0
        assert _lines(tmp_path / "on_standby")[-1] == "2"


def _last_term(client: Client, topic: str) -> object:
    return json.loads(client.last(topic) or b"{}").get("term")


def _has_term(topic: str, payload: bytes) -> None:
    """Every object that stands on a broker, but the words of those who are gone."""
    if topic.startswith(("event", "response/", "request/")) or not payload.startswith(b"{"):
        return
    content = json.loads(payload)
    assert content.get("state") in ENDS or isinstance(content.get("term"), int), (topic, content)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
