"""A relay that obeys only the newest hot node: commands with a lower term are refused.

    python actuator.py highest_term white:1883 black:1883

Listens to relay/command, {"term": 7, "on": true}. The highest term is kept in a file, written
before the relay moves, so that a restart, of this program or of the machine, forgets nothing.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from edge.client import Group


class Fence:
    """The highest term seen, on disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.highest = int(file.read_text()) if file.exists() else 0

    def lets_pass(self, term: int) -> bool:
        if term > self.highest:
            self._keep(term)
        return term == self.highest

    def _keep(self, term: int) -> None:
        """Whole or not at all, and on the disk when this returns."""
        new = self._file.with_suffix(".new")
        with new.open("w") as file:
            file.write(str(term))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        self.highest = term


def read_command(payload: bytes) -> tuple[int, bool] | None:
    """The term and the wish, or None for what is no command."""
    try:
        command = json.loads(payload)
        term, wish = command["term"], command["on"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    is_command = type(term) is int and 0 < term < 2**53 and type(wish) is bool
    return (term, wish) if is_command else None


async def main(file: Path, addresses: list[str]) -> None:
    fence = Fence(file)
    async with Group(addresses) as group, group.follow() as connection:
        await connection.subscribe("relay/command")
        print(f"listening, highest term {fence.highest}", flush=True)
        async for message in connection.messages:
            command = read_command(message.payload)
            if command is None:
                print("ignored what is no command", flush=True)
            elif fence.lets_pass(command[0]):
                print(f"relay {'on' if command[1] else 'off'}, term {command[0]}", flush=True)
            else:
                print(f"refused term {command[0]}, {fence.highest} was seen", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
