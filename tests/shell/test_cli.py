"""The command line without a group: help, mistakes, exit codes, passwords."""

import pytest

from tests.shell.conftest import BASE, WriteFile
from tests.shell.fake_group import edge

COMMANDS = [
    "run",
    "check",
    "status",
    "watch",
    "switchover",
    "promote",
    "pause",
    "resume",
    "history",
    "replay",
    "password",
    "demo",
]


async def test_help_names_every_command() -> None:
    found = await edge("--help")
    assert found.code == 0
    for command in COMMANDS:
        assert f" {command} " in found.out


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help(command: str) -> None:
    found = await edge(command, "--help")
    assert found.code == 0
    assert "Usage: " in found.out


async def test_a_bad_file_is_one_line_and_exit_code_2(write_file: WriteFile) -> None:
    path = write_file(BASE.replace("priority = 3", "priority = 300"))
    for command in ("run", "check", "status", "switchover"):
        found = await edge(command, "--config", str(path))
        assert found.code == 2
        assert found.err.startswith(f"edge: {path}: node.white.priority = 300: is too large")
        assert found.err.count("\n") == 1


async def test_an_unknown_option_is_exit_code_2() -> None:
    found = await edge("run", "--nodde", "white")
    assert found.code == 2
    assert "Traceback" not in found.err


async def test_an_unknown_variable_is_refused(write_file: WriteFile) -> None:
    found = await edge("run", "--config", str(write_file(BASE)), EDGE_BROKR__PORT="1884")
    assert found.code == 2
    assert "did you mean EDGE_BROKER__PORT?" in found.err


async def test_an_unknown_node_is_answered_with_the_names(write_file: WriteFile) -> None:
    found = await edge("run", "--config", str(write_file(BASE)), "--node", "grey")
    assert found.code == 2
    assert "one of: white, black, router" in found.err


@pytest.mark.parametrize(("engine", "start"), [("embedded", "$argon2id$"), ("mosquitto", "$7$")])
async def test_password_from_a_pipe(engine: str, start: str) -> None:
    found = await edge("password", "--engine", engine, given="correct horse\n")
    assert found.code == 0
    assert found.out.startswith(start)
    assert found.out.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "given"), [(["--engine", "emqx"], "secret\n"), ([], "\n"), ([], "")]
)
async def test_password_mistakes(arguments: list[str], given: str) -> None:
    found = await edge("password", *arguments, given=given)
    assert found.code == 2
    assert found.err.startswith("edge: ")
