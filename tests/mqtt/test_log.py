"""The log never holds the broker up: nobody who reads, a full disk, no standard error at all."""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.log import LINES_PER_SECOND, LONGEST_LINE, Log
from tests.engines.tools import free_port
from tests.mqtt.test_server import Raw, until
from tests.mqtt.test_standalone import DEADLINE, sample_file

MORE_THAN_A_PIPE_TAKES = 10_000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for each in ends:
        os.close(each)


@pytest.fixture
def one_line_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line has a second of its own, so that their number is no bound."""
    seconds = iter(range(10**6))
    monkeypatch.setattr("broker.log.time.monotonic", lambda: float(next(seconds)))


def read(end: int) -> list[str]:
    return os.read(end, 2**20).decode().splitlines()


@pytest.mark.usefixtures("one_line_a_second")
def test_who_does_not_read_misses_lines_and_is_told(pipe: tuple[int, int]) -> None:
    log = Log(pipe[1])
    for number in range(MORE_THAN_A_PIPE_TAKES):
        log.write(f"line {number}")
    lines = read(pipe[0])
    assert lines == [f"line {number}" for number in range(len(lines))]
    log.write("again")
    assert read(pipe[0]) == [f"{MORE_THAN_A_PIPE_TAKES - len(lines)} lines left out", "again"]


def test_a_flood_is_counted(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(pipe[1])
    monkeypatch.setattr("broker.log.time.monotonic", lambda: 1.0)
    for _ in range(LINES_PER_SECOND + 7):
        log.write("flood")
    monkeypatch.setattr("broker.log.time.monotonic", lambda: 2.0)
    log.write("after it")
    assert read(pipe[0]) == ["flood"] * LINES_PER_SECOND + ["7 lines left out", "after it"]


def test_a_long_line_is_cut(pipe: tuple[int, int]) -> None:
    Log(pipe[1]).write("x" * 100_000)
    assert read(pipe[0]) == ["x" * LONGEST_LINE]


@contextmanager
def broker(file: Path, stderr: int | None) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "broker", "--config", str(file)]
    if stderr is None:
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_open(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


async def serves(port: int, clients: int) -> None:
    await until(lambda: is_open(port))
    for _ in range(clients):
        peer = await Raw.connect(port, "client")
        assert await peer.pings()
    await Raw.close_all()


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def gone_reader() -> int:
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


def nothing() -> None:
    """The process begins without a standard error."""


@pytest.mark.parametrize("make_stderr", [full_disk, gone_reader, nothing])
async def test_a_log_that_nobody_takes_ends_nothing(
    tmp_path: Path, make_stderr: Callable[[], int | None]
) -> None:
    port, stderr = free_port(), make_stderr()
    with broker(sample_file(tmp_path, port), stderr) as process:
        await serves(port, 2)
        assert process.poll() is None
    if stderr is not None:
        os.close(stderr)


async def test_a_reader_that_stalls_stops_nobody(tmp_path: Path) -> None:
    port = free_port()
    ours, theirs = os.pipe()
    os.write(theirs, bytes(fcntl.fcntl(theirs, fcntl.F_GETPIPE_SZ)))
    with broker(sample_file(tmp_path, port), theirs) as process:
        await serves(port, 2)
        process.terminate()
        assert process.wait(DEADLINE) == 0
    os.close(ours)
    os.close(theirs)
