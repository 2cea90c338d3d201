"""The user of a process of the duty, looked up by the agent: the guard has no time to wait."""

import os
import pwd

from edge.duty.ports import GuardError


def user(name: str | None) -> pwd.struct_passwd | None:
    """None for our own. A directory service may take its time."""
    if name is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise GuardError(f"there is no user {name}") from None
    return None if entry.pw_uid == os.geteuid() else entry


def groups(entry: pwd.struct_passwd) -> list[int]:
    return os.getgrouplist(entry.pw_name, entry.pw_gid)


def at_home(entry: pwd.struct_passwd | None) -> dict[str, str]:
    """Else a program of another user looks for its settings where it may not read: in ours."""
    if entry is None:
        return {}
    name, home = entry.pw_name, entry.pw_dir
    return {"HOME": home, "USER": name, "LOGNAME": name, "SHELL": entry.pw_shell}
