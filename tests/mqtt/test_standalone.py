"""`python -m broker --config FILE`: the sample file and its unit, and every mistake in a file."""

import configparser
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.config_file import ConfigError, load_settings
from broker.settings import (
    Action,
    BrokerSettings,
    Limits,
    Listener,
    Persistence,
    Role,
    Rule,
    Transport,
)
from tests.engines.tools import free_port
from tests.mqtt.test_server import Raw

DEADLINE = 30.0
CONFIG = Path(__file__).parents[2] / "config"
SAMPLE = (CONFIG / "broker.toml").read_text()
SMALL = """\
anonymous = "all"
[[listeners]]
host = "127.0.0.1"
port = 1883
[[roles]]
name = "all"
rules = [{ action = "publish", topic_filter = "#", allow = true }]
"""


@contextmanager
def broker(file: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "broker", "--config", str(file)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def sample_file(folder: Path, port: int, more: str = "") -> Path:
    text = SAMPLE.replace("0.0.0.0", "127.0.0.1").replace("port = 1883", f"port = {port}")
    file = folder / "broker.toml"
    file.write_text(text + more)
    return file


async def test_the_sample_runs_and_tells_systemd(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE)
        told = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "100000"}
        with broker(sample_file(tmp_path, port), **told) as process:
            status = f"STATUS=listening on 127.0.0.1 port {port}"
            assert manager.recv(1000).decode().splitlines() == ["READY=1", status]
            peer = await Raw.connect(port, "client")
            assert await peer.pings()
            assert manager.recv(1000).decode().splitlines() == ["WATCHDOG=1", status]
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
            said: list[str] = []
            while not said or not said[-1].startswith("STOPPING=1"):
                said.append(manager.recv(1000).decode())
            assert process.stderr
            log = process.stderr.read().splitlines()
    await Raw.close_all()
    assert log[0] == f"listening on 127.0.0.1 port {port}"
    assert re.fullmatch(r"client \(127\.0\.0\.1:\d+\) connected as anonymous", log[1])


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with broker(sample_file(tmp_path, port)) as process:
            _, said = process.communicate(timeout=DEADLINE)
            assert process.returncode == 1
    assert said == (
        f"port {port} on 127.0.0.1 is already in use by another program; "
        "stop it or choose another port\n"
    )


def test_an_address_that_is_there_twice_is_one_line(tmp_path: Path) -> None:
    port = free_port()
    again = f'[[listeners]]\nhost = "127.0.0.1"\nport = {port}\n'
    with broker(sample_file(tmp_path, port, again)) as process:
        _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 1
    assert said.startswith(f"port {port} on 127.0.0.1 is already in use ")
    assert said.count("\n") == 1


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    file = sample_file(tmp_path, 1883, "conections = 5\n")
    with broker(file) as process:
        out, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 2
    assert not out
    assert said == f"{file}: limits.conections: there is no such key; did you mean connections?\n"


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["amqp"], 2)])
def test_usage(arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "broker", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "--config FILE" in done.stdout + done.stderr


def test_the_unit_starts_what_there_is() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(CONFIG / "broker.service")
    service = unit["Service"]
    command = shlex.split(service["ExecStart"])
    assert command[1:] == ["-m", "broker", "--config", "${CREDENTIALS_DIRECTORY}/broker.toml"]
    assert service["LoadCredential"].startswith("broker.toml:")
    assert service["Type"] == "notify"
    assert service["RestartPreventExitStatus"] == "2"


def test_every_kind_of_value(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(
        'seed = [["a", "1"]]\nlog_clients = false\n' + SMALL + "[limits]\nconnect_timeout = 3\n"
    )
    rules = (Rule(Action.PUBLISH, "#", allow=True),)
    assert load_settings(file) == BrokerSettings(
        listeners=(Listener("127.0.0.1", 1883),),
        roles=(Role("all", rules),),
        anonymous="all",
        limits=Limits(connect_timeout=3.0),
        seed=(("a", "1"),),
        log_clients=False,
    )


START = 'anonymous = "all"'
USER = '[[users]]\nname = "ann"\nverifier = "token:0"\nrole = "all"\n'
# What is replaced in SMALL (nothing: what is added), by what, and the line that answers it.
MISTAKES = [
    ("port = 1883", "", "listeners.#1.port is missing; add it"),
    ("port = 1883", 'port = "1883"', 'listeners.#1.port = "1883": is not a whole number; '),
    ("port = 1883", "port = true", "listeners.#1.port = true: is not a whole number; "),
    ("port = 1883", "port = 1883.0", "listeners.#1.port = 1883.0: is not a whole number; "),
    ("port = 1883", "port = 0", "listeners.#1.port = 0: is too small; "),
    ("port = 1883", "port = -1", 'listeners.#1.port = "-1": is out of range; '),
    ("port = 1883", "port = 65536", "listeners.#1.port = 65536: is too large; "),
    ('"127.0.0.1"', "1", "listeners.#1.host = 1: is not text; "),
    ("[[listeners]]", "[listeners]", "listeners = {"),
    ('anonymous = "all"', 'anonymous = "al"', 'anonymous = "al": is the name of no role; '),
    ('anonymous = "all"', "", "nobody may log on; "),
    ('anonymous = "all"', 'anonymus = "all"', "anonymus: there is no such key; did you mean "),
    ('anonymous = "all"', "anonymous =", "is not valid TOML: "),
    ('"publish"', '"write"', 'roles.all.rules.#1.action = "write": is not one of the choices; '),
    ('"publish"', "1", "roles.all.rules.#1.action = 1: is not one of the choices; "),
    ("allow = true", 'allow = "true"', 'roles.all.rules.#1.allow = "true": is neither true nor '),
    ("allow = true", "allow = 1", "roles.all.rules.#1.allow = 1: is neither true nor "),
    ('"#"', '"a#"', 'roles.all.rules = "a#": is no topic filter; '),
    ("", "[limits]\nconnections = 0\n", "limits.connections = 0: is too small; "),
    ("", "[limits]\nconnect_timeout = inf\n", 'limits.connect_timeout = "inf": is out of range; '),
    ("", "limits = 3\n", "roles.all.limits: there is no such key; "),
    ("", "[limits]\nreceive_maximum = 65536\n", "limits.receive_maximum = 65536: is too large; "),
    ("", "[limits]\ntopic_aliases = 65536\n", "limits.topic_aliases = 65536: is too large; "),
    ("", "[limits]\nkeep_alive = 65536\n", "limits.keep_alive = 65536: is too large; "),
    ("", "[limits]\ntopic_bytes = 65536\n", "limits.topic_bytes = 65536: is too large; "),
    ("", "[limits]\npacket_size = 268435461\n", "limits.packet_size = 268435461: is too large; "),
    ("port = 1883", 'port = 1883\ntransport = "tls"', "tls is missing, which a listener has; "),
    (START, 'persistence = "all"\n' + START, 'directory = "": is needed with persistence = all'),
    (START, 'not_kept = ["a#"]\n' + START, 'not_kept = "a#": is no topic filter; '),
    (START, 'seed = [["a/+", "1"]]\n' + START, 'seed = "a/+": is no topic; '),
    (START, 'seed = [["", "1"]]\n' + START, 'seed = "": is no topic; '),
    (START, f'seed = [["{"/" * 64}", "1"]]\n' + START, f'seed = "{"/" * 64}": is no topic; '),
    (START, f'seed = [["{"a" * 1025}", "1"]]\n' + START, f'seed = "{"a" * 20}...": is too long; '),
    (START, 'seed = [["a\\u0000", "1"]]\n' + START, 'seed = "a\\u0000": has control characters; '),
    (
        START,
        f'response_information = "{"a" * 65536}"\n{START}',
        f'response_information = "{"a" * 20}...": is too long; ',
    ),
    ("", USER + USER, 'users.name = "ann": is there twice; '),
    ("", USER.replace('"all"', '"al"'), 'users.ann.role = "al": is the name of no role; '),
    ("", USER.replace("token:0", "pass"), "users.ann.verifier = (hidden): is no password hash "),
    ("", USER.replace('"token:0"', "12345"), "users.ann.verifier = (hidden): is not text; "),
]


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES)
def test_mistakes(tmp_path: Path, old: str, new: str, expected: str) -> None:
    file = tmp_path / "broker.toml"
    assert old in SMALL
    file.write_text(SMALL.replace(old, new, 1) if old else SMALL + new)
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    line = str(caught.value)
    assert line.startswith(f"{file}: {expected}")
    assert "\n" not in line
    assert "pass" not in line.partition("is no password")[0].removeprefix(str(file))
    assert "12345" not in line


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_settings(tmp_path / "nowhere.toml")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_settings(tmp_path / "binary")


@pytest.mark.parametrize("field", ["connections", "packet_size", "queue_bytes"])
def test_limits_that_have_no_bound_may_not_be_zero(tmp_path: Path, field: str) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(f"{SMALL}[limits]\n{field} = 0\n")
    with pytest.raises(ConfigError, match="more than 0 is needed"):
        load_settings(file)


def test_the_child_does_not_pay_for_it() -> None:
    code = (
        "import sys, broker.engines.embedded_child\n"
        "print(*sorted({'tomllib', 'argparse', 'importlib.metadata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


def test_what_the_sample_leaves_to_choose_can_be_chosen(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    text, count = re.subn(r"^# (?=\[|\w+ = )", "", SAMPLE, flags=re.MULTILINE)
    assert count > 5
    file.write_text(text)
    chosen = load_settings(file)
    assert chosen.persistence is Persistence.RETAINED
    assert [each.transport for each in chosen.listeners] == [Transport.TCP, Transport.TLS]
    assert chosen.tls
    assert chosen.tls.authority
