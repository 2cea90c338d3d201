"""Whether the interfaces of the virtual addresses are there, up and connected.

The lease may go another way than the clients: a hot node whose cable to them is out would go on
without a word. Looked at on a standby too, so that nobody hands over to one that is no better.
"""

import asyncio
import fcntl
import socket
import struct
from collections.abc import Sequence
from math import inf
from pathlib import Path

from edge.duty.troubles import Troubles
from edge.settings.duty import DutyAddress

LOOK_INTERVAL = 0.5
# From linux/sockios.h and linux/if.h.
SIOCGIFFLAGS = 0x8913
IFF_UP, IFF_RUNNING = 0x1, 0x40
REQUEST = struct.Struct("=16sH22x")


class Interfaces:
    """`patience` is how long one may be out before that matters: longer than a lease, so that a
    short fault that the lease survives moves nothing."""

    def __init__(
        self, addresses: Sequence[DutyAddress], patience: float, troubles: Troubles
    ) -> None:
        self._needs_six = {each.interface: False for each in addresses}
        self._needs_six |= {each.interface: True for each in addresses if needs_six(each)}
        self._patience = patience
        self._troubles = troubles
        self._well_at: dict[str, float] = {}

    async def watch(self) -> None:
        while self._needs_six and self._patience < inf:
            for name in self._needs_six:
                self._look(name, asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK_INTERVAL)

    def _look(self, name: str, now: float) -> None:
        source = f"interface {name}"
        try:
            problem = problem_of(name, needs_six=self._needs_six[name])
        except OSError:  # too many open files, say: that tells nothing about the interface
            return
        if not problem:
            self._well_at[name] = now
            self._troubles.clear(source)
        elif now - self._well_at.setdefault(name, now) > self._patience:
            self._troubles.note(source, f"{source} {problem}", is_unfit=True)


def needs_six(plan: DutyAddress) -> bool:
    return ":" in plan.address


def problem_of(name: str, *, needs_six: bool) -> str:
    """Why an address on it would be of no use, or nothing. OSError if it cannot be found out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, SIOCGIFFLAGS, REQUEST.pack(name.encode()[:15], 0))
        except OSError:
            return "is not there"
    _, flags = REQUEST.unpack(answer)
    if not flags & IFF_UP:
        return "is switched off"
    if not flags & IFF_RUNNING:
        return "has no carrier, the cable may be out"
    return "has IPv6 switched off" if needs_six and not _has_six(name) else ""


def _has_six(name: str) -> bool:
    """Without it the kernel has no such folder; with an MTU below 1280 neither."""
    try:
        return Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").read_text().strip() == "0"
    except FileNotFoundError:
        return False
