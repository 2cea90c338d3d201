"""The examples of the client library, against a real group whose hot node is killed."""

import asyncio
import signal

from edge.client import Group
from tests.client.test_real_group import real_group
from tests.examples.running import DEADLINE, example, program


async def test_the_collector_gets_every_reading_of_the_meter() -> None:
    count = 1000
    async with asyncio.timeout(DEADLINE), real_group() as (demo, addresses):
        async with Group(addresses, timeout=DEADLINE) as group:
            hot = await group.wait_for_hot()
        async with (
            program(*example("follow_changes.py", *addresses)) as changes,
            program(*example("collector.py", str(count), *addresses)) as collector,
        ):
            await changes.says(f"{hot.node} is hot, term {hot.term}")
            await collector.says("ready at")
            async with program(*example("meter.py", str(count), *addresses)) as meter:
                await collector.says(str(count // 4))
                demo.kill(hot.node)
                rest = await collector.rest()
                assert int(rest[-1]) == count - 1
                assert [int(each) for each in rest] == list(range(count // 4 + 1, count))
                assert any("publishing to" in each for each in await meter.rest())
            other = "black" if hot.node == "white" else "white"
            await changes.says(f"{other} is hot, term")
            changes.process.send_signal(signal.SIGINT)
            await changes.process.wait()
