"""A part of the duty that says which moment it is, and stays there if the test has closed its gate.

`python duty_part.py <folder> <part>`: a process, a hook or a health check, told apart by its name.
"""

import fcntl
import os
import signal
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])
NODE = os.environ["EDGE_NODE"]


def pass_gate(moment: str) -> None:
    """A closed gate is a FIFO. Whoever comes first renames it, which tells the test, and waits."""
    reached = FOLDER / f"{NODE}.{moment}.reached"
    try:
        (FOLDER / f"{NODE}.{moment}").rename(reached)
    except FileNotFoundError:
        return
    reached.read_bytes()


def run_until_told(moment: str) -> None:
    signal.sigwait({signal.SIGTERM})
    pass_gate(moment)


def be_alone() -> None:
    """The kernel itself judges: it takes the lock away in the moment in which a process dies."""
    lock = os.open(FOLDER / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with (FOLDER / "overlaps").open("a") as file:
            file.write(f"{NODE}\n")


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    match sys.argv[2]:
        case "duty-pump":
            be_alone()
            run_until_told("process_ends")
        case "warmer":
            run_until_told("standby_process_ends")
        case moment:
            pass_gate(moment)


main()
