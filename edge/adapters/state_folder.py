"""A node's own folder under state_dir: made if need be, and for one process at a time."""

import errno
import fcntl
import os
from pathlib import Path

from edge.errors import OperatorError

CURES = {
    errno.ENOSPC: "make room on this disk",
    errno.EDQUOT: "make room on this disk",
    errno.EROFS: "this disk is read-only: check it, or choose another state_dir",
}


def lock_folder(folder: Path) -> int:
    """Keep a second `edge run` of this node away; the lock lives as long as this process.

    Returns the descriptor that holds it; it is not inherited by child processes.
    """
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise unusable(path, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno != errno.EWOULDBLOCK:
            raise unusable(path, error) from None
        raise OperatorError(
            f"{folder}: this node runs already; stop the other edge run first"
        ) from None
    return descriptor


def unusable(path: Path, error: OSError) -> OperatorError:
    """What an operator can do about a file that cannot be written."""
    cure = CURES.get(error.errno or 0, "make state_dir writable for this user")
    return OperatorError(f"{path}: {error.strerror}; {cure}")
