"""What a process prints, line by line, within limits: it never occupies the guard or the agent."""

import os
import time
from _collections_abc import Callable

from edge.duty.guard.loop import Loop, Timer

LONGEST = 1000
LINES_AT_ONCE = 100
LINES_PER_SECOND = 50
READ_SIZE = 65536
# Read at most this often: 6 MB/s, and what prints more waits for its pipe like for a slow terminal.
READ_INTERVAL = 0.01


class Output:
    """One pipe. Each line goes to `pass_on`, which says whether there was room for it."""

    def __init__(self, loop: Loop, descriptor: int, pass_on: Callable[[str], bool]) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._pass_on = pass_on
        self._partial = b""
        self._allowed = float(LINES_AT_ONCE)
        self._counted_at = time.monotonic()
        self._dropped = 0
        self._timer: Timer | None = None
        self._is_open = True
        loop.add(descriptor, self._read)

    def drain(self) -> None:
        """Pass on what is there already."""
        if self._is_open:
            self._take(self._read_once() or b"")

    def finish(self) -> None:
        """Pass on what is there and close."""
        if self._timer is not None:
            self._timer.cancel()
        self.drain()
        self._end()

    def _read(self) -> None:
        data = self._read_once()
        if data == b"":
            self._end()
        elif data:
            self._take(data)
            self._loop.remove(self._descriptor)
            self._timer = self._loop.after(READ_INTERVAL, self._listen_again)

    def _listen_again(self) -> None:
        self._loop.add(self._descriptor, self._read)

    def _read_once(self) -> bytes | None:
        try:
            return os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _end(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove(self._descriptor)
            os.close(self._descriptor)
            if self._partial:
                self._say(self._partial)
                self._partial = b""

    def _take(self, data: bytes) -> None:
        """A line that never ends is cut, and the rest of it counts as further lines."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._refill()
        for line in lines:
            self._say(line)
        if len(self._partial) > LONGEST:
            self._say(self._partial)
            self._partial = b""

    def _refill(self) -> None:
        now = time.monotonic()
        gained = (now - self._counted_at) * LINES_PER_SECOND
        self._counted_at = now
        self._allowed = min(LINES_AT_ONCE, self._allowed + gained)
        if self._dropped and self._allowed >= 1:
            self._allowed -= 1
            text, self._dropped = f"({self._dropped} lines left out)", 0
            self._pass_on(text)

    def _say(self, line: bytes) -> None:
        if self._allowed < 1 or not self._pass_on(_readable(line)):
            self._dropped += 1
        else:
            self._allowed -= 1


def _readable(line: bytes) -> str:
    text = line[:LONGEST].decode(errors="replace").rstrip("\r")
    return text if len(line) <= LONGEST else f"{text} ..."
