"""The hardware watchdog: resets a machine on which nobody ends the duty in time.

Armed before the duty starts, fed with each new deadline, disarmed when the duty has ended. A guard
that is frozen, or that cannot withdraw what it holds, stops feeding it, and the machine restarts.
The interface is that of the Linux kernel, Documentation/watchdog/watchdog-api.rst.
"""

import fcntl
import os
import struct
from _collections_abc import Callable

from edge.duty.guard.small import suppress

# From linux/watchdog.h: _IOWR('W', 6, int), _IOR('W', 7, int), _IOR('W', 0, struct watchdog_info).
WDIOC_SETTIMEOUT = 0xC0045706
WDIOC_GETSUPPORT = 0x80285700
WDIOF_MAGICCLOSE = 0x0100
INFO = struct.Struct("II32s")
NUMBER = struct.Struct("i")

Control = Callable[[int, int, bytes], bytes]


class WatchdogError(Exception):
    """One sentence for the operator."""


def _control(file: int, request: int, argument: bytes) -> bytes:
    return fcntl.ioctl(file, request, argument)


class Watchdog:
    """One watchdog device. Opening it arms it, so it is opened last and closed with care."""

    def __init__(self, path: str, timeout: int, control: Control = _control) -> None:
        """`timeout` in whole seconds, as the device counts."""
        self._path = path
        self._timeout = timeout
        self._control = control
        self._file: int | None = None

    @property
    def is_armed(self) -> bool:
        return self._file is not None

    def arm(self) -> None:
        """Raises WatchdogError: not there, not ours, or it cannot do what we need of it."""
        if self._file is not None:
            self.feed()
            return
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise WatchdogError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            self._set_up(self._file)
        except (OSError, WatchdogError) as error:
            self.disarm()
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise WatchdogError(f"{self._path} cannot be used: {reason}") from error

    def _set_up(self, file: int) -> None:
        options, _, _ = INFO.unpack(self._control(file, WDIOC_GETSUPPORT, bytes(INFO.size)))
        answer = self._control(file, WDIOC_SETTIMEOUT, NUMBER.pack(self._timeout))
        (timeout,) = NUMBER.unpack(answer)
        if timeout != self._timeout:
            raise WatchdogError(f"it takes {timeout} s for {self._timeout} s")
        if not options & WDIOF_MAGICCLOSE:
            raise WatchdogError("once armed it could not be disarmed (no magic close)")
        self.feed()

    def try_out(self) -> None:
        """Arm and disarm: whether it can be used, and the end of one that a killed guard left
        armed. Raises WatchdogError."""
        self.arm()
        self.disarm()

    def feed(self) -> None:
        """Raises WatchdogError for a device that has gone; another one is looked for next time."""
        try:
            self._write(b"\0")
        except OSError as error:
            self._close()
            raise WatchdogError(f"{self._path} cannot be fed: {error.strerror}") from error

    def disarm(self) -> None:
        """The magic character tells the driver that the end is meant."""
        with suppress(OSError):  # a device that has gone resets nothing
            self._write(b"V")
        self._close()

    def _write(self, word: bytes) -> None:
        if self._file is not None:
            os.write(self._file, word)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
