"""The hardware watchdog against a device that is a file: what is written to it is what counts."""

import errno
import os
from pathlib import Path

import pytest

from edge.duty.guard.watchdog import (
    INFO,
    NUMBER,
    WDIOC_GETSUPPORT,
    WDIOC_SETTIMEOUT,
    WDIOF_MAGICCLOSE,
    Watchdog,
    WatchdogError,
)


class Driver:
    """Answers as a watchdog driver does; the file behind it takes the writes."""

    def __init__(self, options: int = WDIOF_MAGICCLOSE, shortest: int = 1) -> None:
        self.options = options
        self.shortest = shortest
        self.timeout: int | None = None

    def __call__(self, file: int, request: int, argument: bytes) -> bytes:
        os.fstat(file)  # raises for a file that is closed
        if request == WDIOC_GETSUPPORT:
            return INFO.pack(self.options, 0, b"pretended")
        assert request == WDIOC_SETTIMEOUT
        (wanted,) = NUMBER.unpack(argument)
        self.timeout = max(wanted, self.shortest)
        return NUMBER.pack(self.timeout)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "watchdog"
    path.touch()
    return path


def test_arming_sets_the_timeout_and_feeds(device: Path) -> None:
    driver = Driver()
    watchdog = Watchdog(str(device), 2, driver)
    watchdog.arm()
    assert watchdog.is_armed
    assert driver.timeout == 2
    assert device.read_bytes() == b"\0"


def test_it_is_fed_and_disarmed_with_the_magic_character(device: Path) -> None:
    watchdog = Watchdog(str(device), 1, Driver())
    watchdog.arm()
    watchdog.feed()
    watchdog.disarm()
    assert device.read_bytes() == b"\0\0V"
    assert not watchdog.is_armed


def test_arming_twice_only_feeds(device: Path) -> None:
    watchdog = Watchdog(str(device), 1, Driver())
    watchdog.arm()
    watchdog.arm()
    assert device.read_bytes() == b"\0\0"


def test_what_is_not_armed_is_neither_fed_nor_disarmed(device: Path) -> None:
    watchdog = Watchdog(str(device), 1, Driver())
    watchdog.feed()
    watchdog.disarm()
    assert device.read_bytes() == b""


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (Driver(shortest=5), "it takes 5 s for 1 s"),
        (Driver(options=0), "no magic close"),
    ],
)
def test_a_device_that_cannot_do_it_is_refused_and_left_disarmed(
    device: Path, driver: Driver, reason: str
) -> None:
    watchdog = Watchdog(str(device), 1, driver)
    with pytest.raises(WatchdogError, match=reason):
        watchdog.arm()
    assert not watchdog.is_armed
    assert device.read_bytes().endswith(b"V")


def test_a_device_that_is_none_is_refused(device: Path) -> None:
    """The kernel itself answers: a plain file has no such calls."""
    with pytest.raises(WatchdogError, match=os.strerror(errno.ENOTTY)):
        Watchdog(str(device), 1).arm()


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WatchdogError, match="No such file"):
        Watchdog(str(tmp_path / "none"), 1).arm()


def test_a_device_that_goes_away_is_told_in_words_and_closed(tmp_path: Path) -> None:
    """A pipe whose reader has gone fails as a device whose driver has."""
    path = tmp_path / "watchdog"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    watchdog = Watchdog(str(path), 1, Driver())
    watchdog.arm()
    os.close(reader)
    with pytest.raises(WatchdogError, match=f"fed: {os.strerror(errno.EPIPE)}"):
        watchdog.feed()
    assert not watchdog.is_armed


def test_disarming_a_device_that_goes_away_ends_quietly(tmp_path: Path) -> None:
    path = tmp_path / "watchdog"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    watchdog = Watchdog(str(path), 1, Driver())
    watchdog.arm()
    os.close(reader)
    watchdog.disarm()
    assert not watchdog.is_armed
