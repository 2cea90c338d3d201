"""Print who is hot, and every change: python follow_changes.py white:1883 black:1883"""

import asyncio
import sys

from edge.client import Group


async def main(addresses: list[str]) -> None:
    async with Group(addresses) as group:
        async for change in group.changes():
            print(f"{group.name}: {change.node or 'nobody'} is hot", end="")
            print(f", term {change.term}, {change.reason}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
