"""A control group for each process of the duty, where we may make one: nothing escapes from it."""
# ruff: noqa: PTH103, PTH106, PTH110, PTH123

import os

from edge.duty.guard.small import suppress


def folder(group: str, node: str) -> str | None:
    """Ours, made if it is missing; None where there is no writable cgroup v2."""
    mount, own = _mount(), _own()
    if mount is None or own is None:
        return None
    path = f"{mount}{own.rstrip('/')}/edge-duty.{group}.{node}"
    try:
        os.makedirs(path, exist_ok=True)
    except OSError:
        return None
    return path


def make(parent: str | None, name: str) -> str | None:
    if parent is None:
        return None
    path = f"{parent}/{name}"
    try:
        os.makedirs(path, exist_ok=True)
    except OSError:
        return None
    return path if os.path.exists(f"{path}/cgroup.procs") else None


def join(path: str) -> None:
    """In a child, before it becomes anything else."""
    _write(f"{path}/cgroup.procs", "0")


def processes(path: str) -> list[int]:
    """In it and in what it may have made below."""
    found: list[int] = []
    for folder_path, _, _ in os.walk(path):
        found.extend(int(each) for each in _read(f"{folder_path}/cgroup.procs").split())
    return found


def is_empty(path: str) -> bool:
    return "populated 1" not in _read(f"{path}/cgroup.events")


def kill(path: str) -> bool:
    """All at once, also what is just being forked (Linux 5.14); False if that is not possible."""
    try:
        _write(f"{path}/cgroup.kill", "1")
    except OSError:
        return False
    return True


def remove(path: str) -> None:
    """With everything below it; what still lives keeps its group."""
    for folder_path, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):
            os.rmdir(folder_path)


def _mount() -> str | None:
    for line in _read("/proc/self/mountinfo").splitlines():
        head, _, tail = line.partition(" - ")
        if tail.startswith("cgroup2 "):
            return head.split()[4]
    return None


def _own() -> str | None:
    for line in _read("/proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
