"""The log of a process: lines on standard error, which never hold the process up.

Whoever reads them may have stalled or gone, and the disk behind them may be full: then lines are
lost and counted, while clients are served as before.
"""

import os
import select
import sys
import time
from typing import Final

# Lines per second; what is beyond is only counted. A flood of events is no flood of lines.
LINES_PER_SECOND: Final = 50
# Bytes of a line. A pipe that takes anything takes 4096 at once.
LONGEST_LINE: Final = 4000


class Log:
    """`descriptor` is where the lines go."""

    def __init__(
        self, descriptor: int | None = None, lines_per_second: float = LINES_PER_SECOND
    ) -> None:
        self._descriptor = _standard_error() if descriptor is None else descriptor
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)
        self._most = lines_per_second
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def write(self, line: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > self._most or not (self._admit_gap() and self._print(line)):
            self._left_out += 1

    def _admit_gap(self) -> bool:
        """Say that lines are missing, if any are. False if not even that can be said."""
        if self._left_out and not self._print(f"{self._left_out} lines left out"):
            return False
        self._left_out = 0
        return True

    def _print(self, line: str) -> bool:
        data = line.encode(errors="backslashreplace")[:LONGEST_LINE] + b"\n"
        try:
            return bool(self._poll.poll(0)) and os.write(self._descriptor, data) == len(data)
        except OSError:
            return False


def _standard_error() -> int:
    """If it was closed before this process began, its number may be a client's by now."""
    return os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else sys.stderr.fileno()
