"""Two nodes and a witness as processes: what each broker shows, and who answers what."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from tests.shell.raw_broker import until
from tests.shell.running import FILE, Client, Members, members
from tests.shell.test_app import client_of, is_clean

NAMES = ("white", "black", "router")


class Watched:
    """The group and one outside client on each broker."""

    def __init__(self, group: Members, clients: dict[str, Client]) -> None:
        self.group = group
        self.clients = clients

    def hot(self) -> set[bytes]:
        return {self.clients[name].last("hot") for name in ("white", "black")}

    def events(self, name: str) -> list[dict[str, object]]:
        return [json.loads(each) for each in self.clients[name].payloads("event")]

    def changes(self, name: str) -> list[object]:
        return [each["to"] for each in self.events(name) if each.get("to")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    # A lease that a busy machine can keep: what is tested here is not about time.
    with members(tmp_path_factory.mktemp("group"), FILE.replace("normal", "safe")) as group:
        for name in NAMES:
            group.start(name)
        async with (
            client_of(group, "white") as white,
            client_of(group, "black") as black,
            client_of(group, "router") as router,
        ):
            clients = {"white": white, "black": black, "router": router}
            await until(lambda: all(each.state().get("redundant") for each in clients.values()))
            yield Watched(group, clients)
    for name in NAMES:
        assert is_clean(group.log(name)), group.log(name)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_each_broker_shows_the_same_group(watched: Watched) -> None:
    (hot,) = watched.hot()
    for name in ("white", "black"):
        client = watched.clients[name]
        state = client.state()
        assert state["hot"] == hot.decode()
        assert state["votes"] == {"held": 3, "needed": 2, "of": 3}
        assert state["reason"] == "cold_start"
        nodes = state["nodes"]
        assert isinstance(nodes, dict)
        roles = {each: nodes[each]["role"] for each in NAMES}
        assert sorted(roles.values()) == ["hot", "standby", "witness"]
        assert {each: client.last(f"node/{each}/role").decode() for each in NAMES} == roles


DEEP = b'{"transaction": ' + b"[" * 900 + b"]" * 900 + b"}"

BAD_REQUESTS = [
    ("ping", DEEP, "ok"),
    ("ping", b'{"transaction": 123456789012345678901234567890}', "ok"),
    ("ping", b'{"transaction": {"a": [1.5, null]}, "transaction": "last"}', "ok"),
    ("ping", b'{"transaction": NaN}', "error"),
    ("ping", b'{"transaction": "\\ud800"}', "error"),
    ("ping", b"\xff\xfe", "error"),
    ("ping", b"[" * 100_000, "error"),
    ("ping", b"x" * 1_000_000, "error"),
    ("switchover", b'{"to": ' + b"[" * 900 + b"]" * 900 + b"}", "error"),
    ("switchover", b'{"to": {"node": "black"}}', "error"),
    ("switchover", b'{"to": 5}', "error"),
    ("switchover", b'{"to": "router"}', "error"),
    ("switchover", b'{"at": "0001-01-01"}', "error"),
    ("switchover", b'{"at": "9999-12-31T23:59:59-23:59"}', "error"),
    ("switchover", b'{"at": ' + b"[" * 900 + b"]" * 900 + b"}", "error"),
    ("switchover", b'{"at": 1e300}', "error"),
    ("switchover", b'{"at": "2001-01-01T00:00:00Z"}', "error"),
    ("promote", b'{"force": "yes"}', "error"),
    ("promote", b'{"to": [[]]}', "error"),
    ("promote", b'{"to": "nobody"}', "error"),
    ("promote", b'{"force": true}', "error"),
    ("nonsense", b"", "error"),
]


async def test_odd_requests_are_answered_once_and_change_nothing(watched: Watched) -> None:
    before = watched.hot()
    counts = {name: dict(watched.clients[name].messages) for name in ("white", "black")}
    assert counts
    for name in ("white", "black"):
        client = watched.clients[name]
        for command, payload, status in BAD_REQUESTS:
            answer = await client.ask(command, payload)
            assert answer["status"] == status, (name, command, payload[:60], answer)
        await client.ask("ping", b"")
        for command in {each for each, _, _ in BAD_REQUESTS}:
            asked = sum(each == command for each, _, _ in BAD_REQUESTS) + (command == "ping")
            assert len(client.payloads(f"response/{command}")) == asked
    assert watched.hot() == before


@pytest.mark.parametrize("command", ["a" * 900, "x y", "Ping", "ping/ping", "\u2603", "a" * 33])
async def test_odd_topics_are_nobodys(watched: Watched, command: str) -> None:
    client = watched.clients["white"]
    client.say(f"request/{command}", b"")
    assert (await client.ask("ping", b""))["status"] == "ok"


async def test_a_retained_request_is_refused_and_cleared_and_never_obeyed(watched: Watched) -> None:
    """Twice at once, and one for a node that is not the broker's: nobody obeys the clearing."""
    before = watched.hot()
    terms = watched.clients["white"].state()["term"]
    for name in ("white", "black"):
        for command, payload in (
            ("switchover", b"white"),
            ("switchover", b"black"),
            ("promote", b"white"),
            ("promote", b"black"),
        ):
            client = watched.clients[name]
            count = len(client.payloads(f"response/{command}"))
            client.say(f"request/{command}", payload, retained=True)
            client.say(f"request/{command}", payload, retained=True)

            def both(client: Client = client, command: str = command, count: int = count) -> bool:
                return len(client.payloads(f"response/{command}")) >= count + 2

            await until(both)
            await client.ask("ping", b"")
            found = [json.loads(each) for each in client.payloads(f"response/{command}")[count:]]
            assert [each.get("code") for each in found] == ["retained"] * 2, (name, payload, found)
    assert watched.hot() == before
    assert watched.clients["white"].state()["term"] == terms


async def test_a_switchover_is_answered_once_and_told_once_on_each_broker(watched: Watched) -> None:
    (hot,) = watched.hot()
    other = b"black" if hot == b"white" else b"white"
    asked = watched.clients[other.decode()]
    told = {name: len(watched.changes(name)) for name in ("white", "black")}
    count = len(asked.payloads("response/switchover"))
    asked.say("request/switchover", b'{"to": "%s", "transaction": 7}' % other)
    await until(lambda: watched.hot() == {other})
    await until(lambda: len(asked.payloads("response/switchover")) > count)
    answer = json.loads(asked.last("response/switchover"))
    assert (answer["status"], answer["transaction"], answer["data"]["hot"]) == (
        "ok",
        7,
        other.decode(),
    )
    for name in ("white", "black"):
        client = watched.clients[name]
        await until(lambda client=client: client.state()["reason"] == "switchover")  # type: ignore[misc]
        state = client.state()
        assert (state["hot"], state["previous"]) == (other.decode(), hot.decode())
        # The word of the election before may come late.
        news = partial(_news, watched, name, told[name], hot.decode())
        await until(lambda news=news: bool(news()))  # type: ignore[misc]
        assert news() == [other.decode()]
        await until(
            lambda client=client: json.loads(client.last("history"))[-1]["to"] == other.decode()  # type: ignore[misc]
        )
    assert len(asked.payloads("response/switchover")) == count + 1


def _news(watched: Watched, name: str, start: int, old: str) -> list[object]:
    return [each for each in watched.changes(name)[start:] if each != old]


async def test_a_restarted_standby_tells_no_old_news(watched: Watched) -> None:
    (hot,) = watched.hot()
    name = "black" if hot == b"white" else "white"
    watched.group.send(name, signal.SIGTERM)
    assert await watched.group.end_of(name) == 0
    other = watched.clients[hot.decode()]
    await until(lambda: other.last(f"node/{name}/role") == b"stopped")
    assert b'"state":"stopped"' in other.last(f"node/{name}/state")
    watched.group.start(name)
    async with client_of(watched.group, name) as client:
        await until(lambda: bool(client.state().get("redundant")))
        assert not [each for each in client.payloads("event") if b'"to":' in each]
        assert client.state()["hot"] == hot.decode()


async def test_a_twin_of_a_node_goes_and_says_why(watched: Watched, tmp_path: Path) -> None:
    """A copied disk: the same name and secret on another machine, with a broker of its own."""
    (hot,) = watched.hot()
    with members(tmp_path) as twin:
        text = (watched.group.folder / "edge.toml").read_text()
        text = text.replace(str(watched.group.folder), str(tmp_path))
        other = {"white": "black", "black": "white"}[hot.decode()]
        text = text.replace(str(watched.group.ports[hot.decode()]), str(twin.ports[other]))
        (tmp_path / "edge.toml").write_text(text)
        twin.start(hot.decode())
        client = watched.clients[hot.decode()]
        assert await twin.end_of(hot.decode()) == 1
        assert "another machine" in twin.log(hot.decode()).lower()
        assert "hot" not in twin.log(hot.decode()).replace(hot.decode(), "")
    assert client.last("hot") == hot
    assert client.state()["hot"] == hot.decode()


async def test_a_flood_of_requests_moves_nothing(watched: Watched) -> None:
    (hot,) = watched.hot()
    client = watched.clients[hot.decode()]
    before = client.state()["term"]
    flood = Client(client.port)
    await flood.open()
    for _ in range(20):
        for _ in range(200):
            flood.say("request/ping", b"")
        await asyncio.sleep(0)
    flood.close()
    answered = len(client.payloads("response/ping"))
    while len(client.payloads("response/ping")) <= answered + 1:
        client.say("request/ping", b"")
        await asyncio.sleep(0.1)
    assert (client.last("hot"), client.state()["term"]) == (hot, before)


async def test_the_hot_node_dies(watched: Watched) -> None:
    (hot,) = {each.last("hot") for each in watched.clients.values() if not each.has_ended}
    other = "black" if hot == b"white" else "white"
    async with client_of(watched.group, other) as client:
        await until(lambda: bool(client.state().get("redundant")))
        os.kill(watched.group.processes[hot.decode()].pid, signal.SIGKILL)
        await until(lambda: client.last("hot") == other.encode())
        await until(lambda: client.state()["reason"] == "died")
        await until(lambda: b'"to":"' in client.last("event"))
        assert client.state()["previous"] == hot.decode()
        assert client.state()["redundant"] is False
        assert client.last("alert/no_standby") != b""
        watched.group.start(hot.decode())
        await until(lambda: client.state()["redundant"] is True)
        assert client.last("alert/no_standby") == b""
