"""`edge check`: what it finds on this machine, each with a cure. All addresses are loopback."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.commands.check_machine import Finding, Level, machine_findings, port_is_taken
from edge.commands.check_policy import policy_findings
from edge.commands.check_tls import tls_findings
from edge.settings import Settings
from tests.engines.tools import free_port
from tests.mqtt.certificates import Authority
from tests.shell.fake_group import STATE, edge, fake_group, write_secret


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def settings(folder: Path, **changed: object) -> Settings:
    data: dict[str, object] = {
        "group": "g",
        "node": [{"name": "a", "addresses": [f"127.0.0.1:{free_port()}"]}],
        "state_dir": folder / "state",
        "access": {"secret_file": folder / "secret"},
        "broker": {"host": "127.0.0.1"},
    }
    write_secret(folder)
    return Settings.model_validate({**data, **changed})


def at_level(findings: Iterator[Finding] | list[Finding], level: Level) -> list[str]:
    return [each.sentence for each in findings if each.level is level]


def machine(found: Settings) -> list[Finding]:
    return list(machine_findings(found, "a"))


def test_a_sound_machine_has_no_problem(tmp_path: Path) -> None:
    findings = machine(settings(tmp_path))
    assert at_level(findings, Level.PROBLEM) == []
    assert at_level(findings, Level.WARNING) == []


def test_every_problem_has_a_cure(tmp_path: Path) -> None:
    found = settings(tmp_path, access={"secret_file": tmp_path / "missing"})
    problems = [each for each in machine(found) if each.level is Level.PROBLEM]
    assert problems
    assert all(each.cure for each in problems)


def test_a_secret_that_others_can_read(tmp_path: Path) -> None:
    found = settings(tmp_path)
    (tmp_path / "secret").chmod(0o644)
    (warning,) = [each for each in machine(found) if each.level is Level.WARNING]
    assert warning.cure == f"chmod 600 {tmp_path}/secret"


def test_a_state_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    (problem,) = at_level(machine(settings(tmp_path)), Level.PROBLEM)
    assert "state folder" in problem


def test_a_name_without_an_address(tmp_path: Path) -> None:
    node = {"name": "a", "addresses": ["no-such-host.invalid"]}
    (problem,) = at_level(machine(settings(tmp_path, node=[node])), Level.PROBLEM)
    assert "no-such-host.invalid" in problem


def test_a_port_that_is_taken(listener: socket.socket) -> None:
    assert port_is_taken("127.0.0.1", listener.getsockname()[1]) == "it is in use"
    assert port_is_taken("127.0.0.1", free_port()) is None


def test_the_files_of_tls(tmp_path: Path) -> None:
    files = Authority(tmp_path).files()
    tls = {"certificate": files.certificate, "key": files.key}
    found = settings(tmp_path, broker={"host": "127.0.0.1", "tls_port": 8883, "tls": tls})
    key = Path(files.key)
    key.chmod(0o640)
    assert [each.level for each in tls_findings(found)] == [Level.OK]
    key.chmod(0o644)
    (_, warning) = tls_findings(found)
    assert (warning.level, warning.cure) == (Level.WARNING, f"chmod o= {key}")
    key.write_text("")
    (problem,) = tls_findings(found)
    assert problem.level is Level.PROBLEM
    assert problem.sentence.startswith(f'broker.tls.key = "{key}": ')
    expired = Authority(tmp_path).expired_files()
    tls = {"certificate": expired.certificate, "key": expired.key}
    found = settings(tmp_path, broker={"host": "127.0.0.1", "tls_port": 8883, "tls": tls})
    Path(expired.key).chmod(0o640)
    (warning,) = tls_findings(found)
    assert warning.level is Level.WARNING
    assert f'"{expired.certificate}": ran out on ' in warning.sentence


def test_without_tls_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    assert list(tls_findings(settings(tmp_path))) == []


@pytest.mark.parametrize(
    ("count", "warnings"),
    [(1, 1), (3, 0), (4, 1)],
    ids=["nobody takes over", "fine", "even"],
)
def test_the_number_of_brokers(tmp_path: Path, count: int, warnings: int) -> None:
    nodes = [{"name": f"n{each}", "addresses": [f"127.0.0.1:{each + 1}"]} for each in range(count)]
    findings = list(policy_findings(settings(tmp_path, node=nodes)))
    assert len(at_level(findings, Level.WARNING)) == warnings


async def test_the_command_on_a_running_group(tmp_path: Path) -> None:
    """black's own broker runs, the node white does not, the witness cannot be reached."""
    async with fake_group(tmp_path) as group:
        write_secret(tmp_path)
        group.publish("state", json.dumps(STATE))
        environment = {
            "EDGE_STATE_DIR": str(tmp_path),
            "EDGE_BROKER__HOST": "127.0.0.1",
            "EDGE_NETCHECK__PING": '["127.0.0.9"]',
            "EDGE_NETCHECK__TCP": f'["127.0.0.1:{free_port()}"]',
        }
        found = await edge("check", "-c", str(group.file), "-n", "black", **environment)
        assert "is in use by black, which is running" in found.out
        assert "reference 127.0.0.9 " in found.out
        assert "reference at 127.0.0.1:" in found.out
        assert "node white at 127.0.0.1" in found.out
        assert "witness router: cannot use 127.0.0.1" in found.out
        assert (found.code, found.err) == (0, "")


async def test_the_command_finds_a_stranger_on_the_port(
    tmp_path: Path, listener: socket.socket
) -> None:
    write_secret(tmp_path)
    port = listener.getsockname()[1]
    (tmp_path / "edge.toml").write_text(
        f'group = "g"\nstate_dir = "."\n[broker]\nhost = "127.0.0.1"\nport = {port}\n'
        '[[node]]\nname = "a"\naddresses = ["127.0.0.1"]\n[access]\nsecret_file = "secret"\n'
    )
    found = await edge("check", "-c", str(tmp_path / "edge.toml"), "-n", "a")
    assert f"PROBLEM the broker cannot listen on 127.0.0.1:{port}" in found.out
    assert f"sport = :{port}" in found.out
    assert found.code == 1


async def test_the_command_finds_a_stranger_on_the_consoles_port(
    tmp_path: Path, listener: socket.socket
) -> None:
    write_secret(tmp_path)
    port = listener.getsockname()[1]
    (tmp_path / "edge.toml").write_text(
        f'group = "g"\nstate_dir = "."\n[broker]\nhost = "127.0.0.1"\nport = {free_port()}\n'
        f"[console]\nport = {port}\n"
        '[[node]]\nname = "a"\naddresses = ["127.0.0.1"]\n[access]\nsecret_file = "secret"\n'
    )
    found = await edge("check", "-c", str(tmp_path / "edge.toml"), "-n", "a")
    assert f"PROBLEM the console cannot listen on 127.0.0.1:{port}" in found.out
    assert found.code == 1


async def test_the_consoles_port_may_be_in_use_by_the_node_itself(
    tmp_path: Path, listener: socket.socket
) -> None:
    async with fake_group(tmp_path) as group:
        write_secret(tmp_path)
        group.publish("state", json.dumps(STATE))
        environment = {
            "EDGE_STATE_DIR": str(tmp_path),
            "EDGE_BROKER__HOST": "127.0.0.1",
            "EDGE_CONSOLE__PORT": str(listener.getsockname()[1]),
        }
        found = await edge("check", "-c", str(group.file), "-n", "black", **environment)
        assert found.out.count("is in use by black, which is running") == 2
        assert "PROBLEM" not in found.out
