"""The user of a process of the duty, looked up by the agent: the guard has no time to wait."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from edge.duty.ports import GuardError
from edge.duty.tasks import in_own_thread


@dataclass(frozen=True, slots=True)
class User:
    """What a process becomes. Its environment: else a program looks for its settings in ours."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    env: Mapping[str, str]


async def look_up(name: str | None) -> User | None:
    """None for our own. A directory service may take its time, and the lease does not wait."""
    return None if name is None else await in_own_thread(partial(_look_up, name))


def _look_up(name: str) -> User | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise GuardError(f"there is no user {name}") from None
    if entry.pw_uid == os.geteuid():
        return None
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    env = {"HOME": entry.pw_dir, "USER": name, "LOGNAME": name, "SHELL": entry.pw_shell}
    return User(entry.pw_uid, entry.pw_gid, groups, env)
