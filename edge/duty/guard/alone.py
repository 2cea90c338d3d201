"""One guard for one node on one machine: two would sweep each other's duty away."""
# ruff: noqa: PTH123

import _socket as socket  # without the 0.4 MB of what socket adds
import os
import struct
import time

from edge.duty.guard.small import signal, suppress

POLL_INTERVAL = 0.01
BACKLOG = 64  # nobody ever accepts: who asks only wants to know whose name it is


class Lock:
    """A name in the network namespace that the kernel frees when its owner dies.

    It stands for the addresses too, which belong to the same namespace.
    """

    def __init__(self, group: str, node: str) -> None:
        self._name = f"\0edge-duty/{group}/{node}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def take(self, patience: float) -> str:
        """Nothing, or why not.

        The guard of an agent that is gone is on its way out; one that does not get there, frozen
        perhaps, is killed: its duty has no right to live.
        """
        until = time.monotonic() + patience
        owner = 0
        while not self._bind():
            owner = owner if _lives(owner) else _owner(self._name)
            late_by = time.monotonic() - until
            if late_by > patience + 1 or (owner and _serves_an_agent(owner)):
                return f"another agent on this machine holds the duty of this node (guard {owner})"
            if owner and late_by > 0:
                with suppress(ProcessLookupError):
                    os.kill(owner, signal.SIGKILL)
            time.sleep(POLL_INTERVAL)
        return ""

    def _bind(self) -> bool:
        try:
            self._socket.bind(self._name)
        except OSError:
            return False
        self._socket.listen(BACKLOG)
        return True


def _owner(name: str) -> int:
    """The process id of whoever has the name; 0 if it has just been freed."""
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        asking.connect(name)
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return 0
    finally:
        asking.close()
    return int(struct.unpack("=iII", credentials)[0])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return pid != 0


def _serves_an_agent(guard: int) -> bool:
    """A guard's last argument is the process id of the agent that started it."""
    with suppress(OSError, ValueError):
        with open(f"/proc/{guard}/cmdline", "rb") as file:
            agent = int(file.read().rstrip(b"\0").rpartition(b"\0")[2])
        with open(f"/proc/{guard}/stat", "rb") as file:
            parent = int(file.read().rpartition(b") ")[2].split()[1])
        return parent == agent
    return False
