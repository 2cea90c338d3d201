"""A whole node and its watchdog: the device is a FIFO, so what is written to it, by whom and in
which order, is read here; the kernel's answers come from a library in front of libc."""

import asyncio
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.duty.stage import is_gone, unique_group
from tests.shell.raw_broker import until
from tests.shell.running import ALONE, Members, members

SOURCE = Path(__file__).parent / "device" / "watchdog.c"
TRIED = b"\0V"
FED, DISARMED, ENDED = b"\0", b"V", b"."
STARTED, STOPPED = b"<", b">"

# The process writes to the device, too, when it starts and when it ends: that shows the order.
DUTY = """
[[duty.process]]
name = "pump"
command = ["/bin/sh", "-c", "trap 'printf \\">\\" >$0; exit' TERM; printf '<' >$0; \
while :; do sleep 0.05; done", "{device}"]
"""


class Device:
    """What a driver would have got. A point stands for the end of the last one who had it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.got = b""
        self._is_over = False
        os.mkfifo(path)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while not self._is_over:
            with self.path.open("rb", buffering=0) as fifo:
                while chunk := fifo.read(4096):
                    self.got += chunk
            self.got += ENDED

    @property
    def is_armed_first(self) -> bool:
        """Tried out, closed, armed, and only then is there a duty."""
        return self.got.startswith((TRIED + ENDED + FED + STARTED, TRIED + ENDED + FED + FED))

    @property
    def order(self) -> bytes:
        """Everything but the feeding."""
        return self.got.replace(FED, b"")

    def close(self) -> None:
        self._is_over = True
        with suppress(OSError):
            os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
        self._reader.join()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        reason = "there is no C compiler (Debian package gcc)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not skip this")
        pytest.skip(reason)
    library = tmp_path_factory.mktemp("driver") / "watchdog.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return str(library)


@contextmanager
def node(
    folder: Path, mode: str, device: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> Iterator[Members]:
    head = f'watchdog = "{mode}"\nwatchdog_device = "{device}"\n'
    alone = ALONE.replace('"RPI"', f'"{unique_group()}"')  # one guard for a group's node
    text = head + alone + DUTY.replace("{device}", str(device))
    monkeypatch.setenv("LD_PRELOAD", driver)
    with members(folder, text) as group:
        group.start("white")
        yield group


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    found = Device(tmp_path / "watchdog")
    yield found
    found.close()


def guard_of(group: Members) -> int:
    (found,) = [
        each.pid
        for each in psutil.Process(group.processes["white"].pid).children()
        if any("edge.duty.guard" in word for word in each.cmdline())
    ]
    return found


MODES = pytest.mark.parametrize("mode", ["auto", "required"])


@MODES
async def test_armed_before_the_duty_begins_and_disarmed_after_it_has_ended(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch, driver: str, mode: str
) -> None:
    with node(tmp_path, mode, device.path, monkeypatch, driver) as group:
        await until(lambda: STARTED in device.got)
        fed = len(device.got)
        await until(lambda: len(device.got) >= fed + 5)  # each deadline is passed on
        assert device.is_armed_first
        assert device.order == b"V.<"
        group.send("white", signal.SIGTERM)
        assert await group.end_of("white") == 0
        await until(lambda: device.got.endswith(ENDED))
        assert device.order == b"V.<>V."


async def test_disarmed_by_the_guard_when_the_agent_is_killed(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    """The duty has ended in order, so nothing needs a reset."""
    with node(tmp_path, "required", device.path, monkeypatch, driver) as group:
        await until(lambda: STARTED in device.got)
        group.send("white", signal.SIGKILL)
        await until(lambda: device.got.endswith(ENDED) and device.got.count(ENDED) == 2)
        assert device.is_armed_first
        assert device.order in {b"V.<>V.", b"V.<V."}  # it may be killed before it prints


async def test_left_armed_when_nobody_is_left_who_could_end_the_duty(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    """Agent frozen, guard killed: the machine would restart; the next life disarms it."""
    with node(tmp_path, "required", device.path, monkeypatch, driver) as group:
        await until(lambda: STARTED in device.got)
        guard = guard_of(group)
        group.send("white", signal.SIGSTOP)
        os.kill(guard, signal.SIGKILL)
        await until(lambda: is_gone(guard) and device.got.count(ENDED) == 2)
        assert device.order == b"V.<."
        group.send("white", signal.SIGKILL)
        group.start("white")
        await until(lambda: device.got.count(STARTED) == 2)
        assert device.order == b"V.<.V.<"


async def test_not_fed_while_agent_and_guard_are_frozen(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    with node(tmp_path, "required", device.path, monkeypatch, driver) as group:
        await until(lambda: STARTED in device.got)
        guard = guard_of(group)
        for pid in (group.processes["white"].pid, guard):
            os.kill(pid, signal.SIGSTOP)
        await until(
            lambda: all(
                psutil.Process(each).status() == psutil.STATUS_STOPPED
                for each in (group.processes["white"].pid, guard)
            )
        )
        await _read_out(device)
        before = device.got
        await asyncio.sleep(1.5)  # what is asserted is that nothing comes within the lease
        assert device.got == before
        assert device.order == b"V.<!"
        for pid in (guard, group.processes["white"].pid):
            os.kill(pid, signal.SIGCONT)


async def _read_out(device: Device) -> None:
    """What was written before has been read when a byte of our own has."""
    with device.path.open("wb", buffering=0) as fifo:
        fifo.write(b"!")
    await until(lambda: b"!" in device.got)


async def test_a_standing_order_to_do_without_leaves_the_device_alone(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    with node(tmp_path, "off", device.path, monkeypatch, driver) as group:
        await until(lambda: STARTED in device.got)
        group.send("white", signal.SIGTERM)
        assert await group.end_of("white") == 0
        assert FED not in device.got
        assert DISARMED not in device.got


async def test_required_and_not_there_is_a_refusal_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    device = tmp_path / "none"
    with node(tmp_path, "required", device, monkeypatch, driver) as group:
        assert await group.end_of("white") != 0
        (line,) = group.log("white").splitlines()
        assert "watchdog is required" in line
        assert str(device) in line


async def test_auto_and_not_there_is_a_line_and_the_node_becomes_hot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    device = tmp_path / "none"
    with node(tmp_path, "auto", device, monkeypatch, driver) as group:
        await until(lambda: "elected" in group.log("white"))
        (line,) = [each for each in group.log("white").splitlines() if "atchdog" in each]
        assert str(device) in line


async def test_the_law_between_lease_and_watchdog_is_checked_at_the_start(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    monkeypatch.setenv("EDGE_PROFILE", "fast")
    with node(tmp_path, "required", device.path, monkeypatch, driver) as group:
        assert await group.end_of("white") == 2
        (line,) = group.log("white").splitlines()
        assert "use a lease of 1 s, or write auto" in line
        assert device.got == b""
