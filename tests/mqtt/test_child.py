"""The broker as a process: `ready`, one line for an operator, and the end with its parent."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from broker.settings import Listener, TlsFiles, Transport, to_json
from tests.engines.tools import free_port
from tests.mqtt.certificates import Authority
from tests.mqtt.tools import settings

DEADLINE = 30.0


@contextmanager
def child(
    port: int, transport: Transport = Transport.TCP, tls: TlsFiles | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "broker", "embedded", "1.2.3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin
        of = replace(settings(), listeners=(Listener("127.0.0.1", port, transport),), tls=tls)
        process.stdin.write(to_json(of) + "\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def test_ready_means_that_clients_can_connect() -> None:
    port = free_port()
    with child(port) as process:
        assert first_line(process) == "ready\n"
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_by_signal(number: signal.Signals) -> None:
    with child(free_port()) as process:
        assert first_line(process) == "ready\n"
        process.send_signal(number)
        assert process.wait(DEADLINE) == 0


def test_a_signal_has_the_certificate_read_again(authority: Authority) -> None:
    files = authority.files("signalled")
    with child(free_port(), Transport.TLS, files) as process:
        assert first_line(process) == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.stderr
        assert process.stderr.readline() == (
            f"the certificate was read again: {files.certificate}\n"
        )
        assert process.poll() is None


def test_without_tls_the_signal_changes_nothing() -> None:
    port = free_port()
    with child(port) as process:
        assert first_line(process) == "ready\n"
        process.send_signal(signal.SIGHUP)
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE).close()
        assert process.poll() is None


def test_a_certificate_of_no_use_is_an_error_line(authority: Authority) -> None:
    one, other = authority.files("one"), authority.files("other")
    with child(free_port(), Transport.TLS, replace(one, key=other.key)) as process:
        assert first_line(process) == (
            f'error: broker.tls.key = "{other.key}": '
            f"does not belong to the certificate {one.certificate}\n"
        )
        assert process.wait(DEADLINE) == 1


def test_a_certificate_that_ran_out_is_a_line_in_the_log(authority: Authority) -> None:
    files = authority.expired_files()
    with child(free_port(), Transport.TLS, files) as process:
        assert first_line(process) == "ready\n"
        assert process.stderr
        assert f'"{files.certificate}": ran out on ' in process.stderr.readline()


def test_it_ends_with_its_parent_and_frees_the_port() -> None:
    port = free_port()
    with child(port) as process:
        assert first_line(process) == "ready\n"
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE):
            assert process.stdin
            process.stdin.close()
            assert process.wait(DEADLINE) == 0
            process.stdin = None
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))


def test_a_port_in_use_is_an_error_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with child(port) as process:
            assert first_line(process) == (
                f"error: port {port} on 127.0.0.1 is already in use by another program; "
                "stop it or choose another port\n"
            )
            assert process.wait(DEADLINE) == 1


def test_the_child_imports_nothing_heavy() -> None:
    code = (
        "import sys, broker.engines.embedded_child\n"
        "heavy = {'pydantic', 'paho', 'argon2', 'amqtt', 'orjson', 'h11'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    assert done.stdout.strip() == b""
