"""Publish numbered readings to the hot node, wherever it is; none is lost.

python meter.py 1000 white:1883 black:1883
"""

import asyncio
import sys

from edge.client import Group, Move, Stream


async def main(count: int, addresses: list[str]) -> None:
    async with Group(addresses) as group, group.follow() as connection:
        moves = asyncio.create_task(tell_moves(connection.moves()))
        for number in range(count):
            # Waits when 1000 readings have not been acknowledged; leaving the block waits for all.
            await connection.enqueue("meter/reading", str(number))
            await asyncio.sleep(0.002)
        await connection.drain()
        moves.cancel()


async def tell_moves(moves: Stream[Move]) -> None:
    async for move in moves:
        print(f"publishing to {move.node} at {move.address}, {move.again} again", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
