"""The commands that talk to a group: what they read, what they send, how they end."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.shell.fake_group import STATE, FakeGroup, edge, fake_group, write_secret
from tests.shell.raw_broker import until

OK: dict[str, object] = {"status": "ok", "data": {}}


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[FakeGroup]:
    async with fake_group(tmp_path) as found:
        yield found


async def run(group: FakeGroup, *arguments: str, **environment: str) -> tuple[int, str, str]:
    found = await edge(*arguments, "--config", str(group.file), **environment)
    assert "Traceback" not in found.err
    return found.code, found.out, found.err


@pytest.mark.parametrize(
    ("changed", "code"),
    [({}, 0), ({"redundant": False}, 1), ({"hot": "none", "redundant": False}, 2)],
)
async def test_status_says_it_by_its_exit_code(
    group: FakeGroup, changed: dict[str, object], code: int
) -> None:
    group.publish("state", {**STATE, **changed})
    assert (await run(group, "status"))[0] == code


async def test_status_shows_the_group_as_the_first_node_that_answers_sees_it(
    group: FakeGroup,
) -> None:
    group.publish("node/black/state", {"role": "standby", "priority": 2, "service_level": 200})
    group.publish("alert/witness_lost", "the witness router is gone")
    group.publish("state", STATE)
    _, out, _ = await run(group, "status")
    for word in ("hot: white", "term 5", "votes 3 of 3", "standby", "200", "hot dies: black takes"):
        assert word in out
    assert "the witness router is gone" in out
    assert "as seen by black" in out
    assert "\x1b" not in out, "colours are for terminals"


async def test_status_as_json(group: FakeGroup) -> None:
    group.publish("alert/a", "one sentence")
    group.publish("state", STATE)
    _, out, _ = await run(group, "status", "--json")
    found = json.loads(out)
    assert (found["hot"], found["alerts"], found["asked"]) == (
        "white",
        {"a": "one sentence"},
        "black",
    )


@pytest.mark.parametrize("content", ["no json", "[]", '{"role": [], "since": 3, "term": {}}'])
async def test_status_survives_what_others_publish(group: FakeGroup, content: str) -> None:
    for place in ("node/white/state", "node/black/role", "history", "alert/a"):
        group.publish(place, content)
    group.publish("state", {**STATE, "votes": 1, "nodes": [], "outlook": "?"})
    code, out, _ = await run(group, "status")
    assert code == 0
    assert "group RPI" in out


@pytest.mark.parametrize("content", ["no json", "[]", "3"])
async def test_a_state_that_cannot_be_read_is_none(group: FakeGroup, content: str) -> None:
    group.publish("state", content)
    code, _, err = await run(group, "status")
    assert code == 1
    assert err.startswith("edge: the broker of black answers but")


async def test_a_broker_without_a_node_is_no_answer(group: FakeGroup) -> None:
    code, _, err = await run(group, "status")
    assert code == 1
    assert err.startswith("edge: the broker of black answers but")


async def test_nobody_can_be_reached(tmp_path: Path) -> None:
    async with fake_group(tmp_path) as group:
        pass
    code, _, err = await run(group, "status")
    assert code == 3
    assert "white at 127.0.0.1" in err
    assert "black at 127.0.0.1" in err
    assert err.count("\n") == 1


async def test_switchover_waits_until_it_has_happened(group: FakeGroup) -> None:
    group.answers["switchover"] = OK
    group.becomes_hot = "black"
    group.publish("state", STATE)
    code, out, _ = await run(group, "switchover", "black")
    assert code == 0
    assert group.requests == [("switchover", {"to": "black"})]
    assert "switchover: black is hot" in out


async def test_a_switchover_to_a_node_that_cannot_do_the_duty_is_no_success(
    group: FakeGroup,
) -> None:
    """It was hot for a moment, and may be so no longer when the answer comes."""
    group.answers["switchover"] = {"status": "ok", "data": {"hot": "black"}}
    group.on_request = (
        ("hot", "none"),
        ("hot", "black"),
        ("hot", "none"),
        ("node/black/state", {"role": "crashed", "reason": "no relay"}),
        ("hot", "white"),
    )
    group.publish("node/black/state", {"role": "hot", "reason": "switchover"})
    group.publish("state", STATE)
    code, out, err = await run(group, "switchover", "black")
    words = "edge: switchover: black became hot and is so no longer: no relay\n"
    assert (code, err) == (1, words)
    assert "black is hot," not in out


async def test_a_switchover_waits_for_a_duty_that_starts_slowly(group: FakeGroup) -> None:
    group.answers["switchover"] = {"status": "ok", "data": {"hot": "black"}}
    group.on_request = (("hot", "black"), ("node/black/state", {"phase": "starting_duty"}))
    group.publish("state", STATE)
    ordering = asyncio.create_task(run(group, "switchover", "black"))
    await until(lambda: bool(group.requests))
    steps = [{"step": "start pump", "ms": 20_000.4}]
    told = {"event": "switchover", "to": "black", "steps": steps}
    group.publish("event", told, retained=False)
    code, out, _ = await ordering
    assert code == 0
    assert out.index("black: start pump 20000 ms") < out.index("switchover: black is hot")


async def test_switchover_at_a_time_is_only_ordered(group: FakeGroup) -> None:
    group.answers["switchover"] = OK
    group.publish("state", STATE)
    code, _, _ = await run(group, "switchover", "--at", "2026-05-01T02:00:00Z")
    assert code == 0
    assert group.requests == [("switchover", {"at": "2026-05-01T02:00:00Z"})]


async def test_a_refusal_is_one_line(group: FakeGroup) -> None:
    group.answers["promote"] = {"status": "error", "code": "hot", "error": "white is hot"}
    group.publish("state", STATE)
    code, _, err = await run(group, "promote", "black", "--force")
    assert (code, err) == (1, "edge: promote: refused: white is hot (hot)\n")
    assert group.requests == [("promote", {"to": "black", "force": True})]


@pytest.mark.parametrize("command", ["pause", "resume"])
async def test_orders(group: FakeGroup, command: str) -> None:
    group.answers[command] = OK
    group.publish("state", STATE)
    code, out, _ = await run(group, command)
    assert (code, out) == (0, f"{command}: ok\n")
    assert group.requests == [(command, {})]


async def test_history(group: FakeGroup) -> None:
    entry = {"event": "failover", "from": "white", "to": "black", "total_ms": 96.4, "term": 6}
    group.publish("history", [entry])
    group.publish("state", STATE)
    _, out, _ = await run(group, "history")
    assert "failover" in out
    assert "96" in out
    _, out, _ = await run(group, "history", "--json")
    assert json.loads(out) == [entry]


async def test_a_command_logs_on_as_a_node_where_the_secret_is(group: FakeGroup) -> None:
    group.publish("state", STATE)
    write_secret(group.file.parent)
    assert (await run(group, "status", "--node", "black"))[0] == 0
    write_secret(group.file.parent, b"another secret, long enough")
    code, _, err = await run(group, "status", "--node", "black")
    assert code == 3
    assert "as black" in err


async def test_a_command_logs_on_as_a_user(group: FakeGroup) -> None:
    group.publish("state", STATE)
    known = {"EDGE_PASSWORD": "correct horse"}
    assert (await run(group, "status", "--user", "operator", **known))[0] == 0
    code, _, err = await run(group, "status", "--user", "operator", EDGE_PASSWORD="wrong")
    assert code == 3
    assert "as operator" in err


async def test_an_unknown_target_is_refused_before_anything_is_sent(group: FakeGroup) -> None:
    code, _, err = await run(group, "switchover", "router")
    assert code == 2
    assert err == 'edge: there is no node "router" in the file; one of: white, black\n'
    assert group.requests == []


async def test_shell_completion_knows_the_nodes(group: FakeGroup) -> None:
    words = f"edge switchover --config {group.file} w"
    program = Path(sys.executable).with_name("edge")
    process = await asyncio.create_subprocess_exec(
        program,
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "_EDGE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": "4",
        },
    )
    out, _ = await process.communicate()
    assert out.decode().split() == ["white"]
