"""Who listens when the guard says that a program has ended or written something.

Output goes to the log under the program's name. The guard passes on no more than a log can bear.
"""

import asyncio
import logging
import signal

from edge.duty.ports import Exit

log = logging.getLogger("edge.duty")

# Kept of each run, for who asks what it said.
FIRST_LINES = 5
LINE_LENGTH = 400


class Life:
    """One run of one program, from just before it is started."""

    def __init__(self, ended: asyncio.Future[Exit]) -> None:
        self.ended = ended
        self.first_lines: list[str] = []


class Lives:
    """The latest life of every name. A name runs once at a time."""

    def __init__(self) -> None:
        self._lives: dict[str, Life] = {}

    def begin(self, name: str) -> Life:
        """Must come before the start: a short life is over before the start is answered."""
        life = self._lives[name] = Life(asyncio.get_running_loop().create_future())
        return life

    def exited(self, end: Exit) -> None:
        life = self._lives.get(end.name)
        if life is not None and not life.ended.done():
            life.ended.set_result(end)

    def exited_all(self) -> None:
        """The guard is gone, and what it held with it."""
        for name in self._lives:
            self.exited(Exit(name, -signal.SIGKILL, by_guard=True))

    def output(self, name: str, line: str) -> None:
        text = printable(line)
        life = self._lives.get(name)
        if life is not None and len(life.first_lines) < FIRST_LINES and text:
            life.first_lines.append(text)
        log.info("%s: %s", name, text)


def printable(line: str) -> str:
    """Without anything that would steer a terminal, and not longer than a log line should be."""
    text = "".join(each if each.isprintable() else " " for each in line.strip()[:LINE_LENGTH])
    return text.strip()
