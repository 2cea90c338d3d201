"""Print the numbered readings of meter.py, each once, until so many have come.

    python collector.py 1000 white:1883 black:1883

A reading may come twice, at least once is what QoS 1 promises: the receiver looks at its number.
"""

import asyncio
import sys

from edge.client import Group


async def main(count: int, addresses: list[str]) -> None:
    seen: set[int] = set()
    async with Group(addresses) as group, group.follow() as connection:
        await connection.subscribe("meter/#")
        print("ready at", *sorted(connection.ready), flush=True)
        async for message in connection.messages:
            number = int(message.payload)
            if number not in seen:
                seen.add(number)
                print(number, flush=True)
            if len(seen) == count:
                return


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
