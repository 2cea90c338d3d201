"""What lets the guard run in time on a loaded machine, each where it is permitted; and prctl."""
# ruff: noqa: PTH123

import ctypes
import os

from edge.duty.guard.small import signal, suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LOCK_CURRENT, LOCK_FUTURE, LOCK_ON_FAULT = 1, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


def insist() -> None:
    """Ask for the processor before others, for memory that stays, for being killed last.

    Children get none of it: SCHED_RESET_ON_FORK, memory locks are not inherited, and
    `be_ordinary` puts the rest back.
    """
    with suppress(OSError):
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))
    _libc.mlockall(LOCK_CURRENT | LOCK_FUTURE | LOCK_ON_FAULT)
    for score in ("-1000", "-999", "-900"):
        if _set_oom_score(score):
            break
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def be_ordinary(oom_score: str) -> None:
    """In a child: what the agent's own children would have. Ignored signals outlive an exec."""
    _set_oom_score(oom_score)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def die_with(parent: int) -> None:
    """In a child, after its user was set (that would undo it): SIGKILL when the guard dies."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def oom_score() -> str:
    try:
        with open("/proc/self/oom_score_adj", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "0"


def _set_oom_score(score: str) -> bool:
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(score)
    except OSError:
        return False
    return True
