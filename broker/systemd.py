"""Tells systemd how a process is: ready, alive, ending (sd_notify(3)). Without systemd silent."""

import os
import socket
from contextlib import suppress


class Notifier:
    """Datagrams to `NOTIFY_SOCKET`. A full or lost socket is systemd's trouble, never ours."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        environment = dict(os.environ) if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract name.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # noqa: FBT003  its only argument
        self.interval = _interval(environment) if self._address else None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: str) -> None:
        """For WatchdogSec=; `interval` says how often, in seconds, or None if nobody asks."""
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={status}")

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        with suppress(OSError):
            self._socket.sendto(text.encode(), self._address)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def _interval(environment: dict[str, str]) -> float | None:
    """Half of what systemd waits for, if it means this process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 2e6 if text.isdecimal() and int(text) > 0 else None
