"""What systemd is told."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket at which systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        yield listener


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def test_it_says_ready_alive_and_stopping(manager: socket.socket) -> None:
    with closing(Notifier(environment(manager))) as notifier:
        notifier.ready("standby, white is hot")
        notifier.alive("hot, term 7")
        notifier.stopping("leaving")
    said = [manager.recv(1000).decode().splitlines() for _ in range(3)]
    assert said[0] == ["READY=1", "STATUS=standby, white is hot"]
    assert said[1] == ["WATCHDOG=1", "STATUS=hot, term 7"]
    assert said[2] == ["STOPPING=1", "STATUS=leaving"]


def test_an_abstract_name_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0edge-test-{os.getpid()}")
        listener.settimeout(10)
        with closing(Notifier({"NOTIFY_SOCKET": f"@edge-test-{os.getpid()}"})) as notifier:
            notifier.ready("standby")
        assert listener.recv(1000).startswith(b"READY=1")


def test_without_systemd_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    Notifier({}).ready("standby")
    with closing(Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})) as notifier:
        notifier.alive("hot")


@pytest.mark.parametrize(
    ("given", "interval"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_interval_is_half_of_what_systemd_waits_for(
    manager: socket.socket, given: dict[str, str], interval: float | None
) -> None:
    with closing(Notifier(environment(manager, **given))) as notifier:
        assert notifier.interval == interval
