"""What an earlier life left behind, found and ended: before a start, and when a guard was lost."""

import os
import time

from edge.duty.guard import addresses, cgroup, tree
from edge.duty.guard.small import signal, suppress

POLL_INTERVAL = 0.005
# Who is just becoming another program has no mark for a moment; who is dying has none any more.
LOOKS = 2


def sweep(group: str, node: str, held: list[tuple[str, str]], *, limit: float = 5.0) -> list[str]:
    """Addresses first, then processes of any earlier boot; what was found, in words.

    It waits until nothing is left: there is no duty yet, or none any more, that it could delay.
    """
    swept = addresses.sweep(held) if held else []
    parent = cgroup.folder(group, node)
    names: set[str] = set()
    until = time.monotonic() + limit
    empty = 0
    while empty < LOOKS and time.monotonic() < until:
        found = _kill(parent, f"{group}/{node}/")
        is_empty = not found and (parent is None or cgroup.is_empty(parent))
        empty = empty + 1 if is_empty else 0
        names |= found
        time.sleep(POLL_INTERVAL)
    if parent is not None:
        cgroup.remove(parent)
    return swept + sorted(names)


def _kill(parent: str | None, start: str) -> set[str]:
    """One round; the names of those that were still there."""
    pids = set(tree.marked(start))
    if parent is not None:
        pids |= set(cgroup.processes(parent)) - {os.getpid()}
    names = {f"process {tree.mark_of(pid).rpartition('/')[2] or pid}" for pid in pids}
    if parent is not None:
        cgroup.kill(parent)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return names
