"""Who descends from whom, read from /proc, and whose mark a process carries.

As the guard adopts orphans (PR_SET_CHILD_SUBREAPER), whatever a process of the duty started, and
however it tried to get away, still descends from the guard.
"""
# ruff: noqa: PTH208

import os

MARK = "EDGE_DUTY"
ZOMBIE = b"Z"
READ_SIZE = 65536


class Entry:
    """One living process."""

    __slots__ = ("parent", "pid", "session")

    def __init__(self, pid: int, parent: int, session: int) -> None:
        self.pid = pid
        self.parent = parent
        self.session = session


def mark(group: str, node: str, boot: str, name: str) -> str:
    return f"{group}/{node}/{boot}/{name}"


def everybody() -> dict[int, Entry]:
    """Every living process of this machine; zombies are gone already."""
    found = {}
    for name in os.listdir("/proc"):
        entry = _entry(int(name)) if name.isdigit() else None
        if entry is not None:
            found[entry.pid] = entry
    return found


def descendants(root: int, *, surely_all: bool) -> list[Entry]:
    """Parents before their children; from the kernel's own lists where it keeps them.

    These may miss somebody while others come and go. Whoever kills comes again; but "nobody" is
    only to be believed after everybody was looked at, which takes some ten times as long.
    """
    return _found_below(root) if surely_all else _listed_below(root) or _found_below(root)


def _listed_below(root: int) -> list[Entry]:
    found: list[Entry] = []
    parents = [root]
    for parent in parents:
        children = _children(parent)
        entries = (_entry(pid) for pid in children)
        found.extend(each for each in entries if each is not None)
        parents.extend(children)
    return found


def _children(pid: int) -> list[int]:
    """Of all threads. A kernel without CONFIG_PROC_CHILDREN says that there are none."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    listed = (_read(f"/proc/{pid}/task/{thread}/children") for thread in threads)
    return [int(child) for line in listed for child in line.split()]


def _found_below(root: int) -> list[Entry]:
    children: dict[int, list[Entry]] = {}
    for entry in everybody().values():
        children.setdefault(entry.parent, []).append(entry)
    found: list[Entry] = []
    parents = [root]
    for parent in parents:
        found.extend(children.get(parent, []))
        parents.extend(each.pid for each in children.get(parent, []))
    return found


def mark_of(pid: int) -> str:
    """What stood in its environment when it became what it is; empty if it was cleared."""
    start = f"\0{MARK}=".encode()
    _, _, rest = (b"\0" + _read(f"/proc/{pid}/environ")).partition(start)
    return rest.partition(b"\0")[0].decode(errors="replace")


def parent_of(pid: int) -> int:
    entry = _entry(pid)
    return 0 if entry is None else entry.parent


def marked(start: str) -> list[int]:
    """Every process whose mark begins so, but for ourselves and those whom we descend from."""
    all_of_them = everybody()
    spared = {os.getpid()}
    pid = os.getpid()
    while pid in all_of_them:
        pid = all_of_them[pid].parent
        spared.add(pid)
    return [pid for pid in all_of_them if pid not in spared and mark_of(pid).startswith(start)]


def _entry(pid: int) -> Entry | None:
    """The name of a program may hold spaces and brackets; what follows the last bracket is ours."""
    state, *fields = _read(f"/proc/{pid}/stat").rpartition(b") ")[2].split(b" ", 4) or [b""]
    if len(fields) < 3 or state == ZOMBIE:
        return None
    return Entry(pid, int(fields[0]), int(fields[2]))


def _read(path: str) -> bytes:
    """Some hundred of these make a search, so without the comfort of a file object."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    parts = []
    try:
        while part := os.read(descriptor, READ_SIZE):
            parts.append(part)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return b"".join(parts)
