"""Runs a broker until it is killed: `python -m tests.engines.parent KIND PORT`."""

import asyncio
import sys

from tests.engines.tools import open_settings, running


async def main(kind: str, port: int) -> None:
    async with running(kind, open_settings(port)):
        sys.stdout.write("running\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
