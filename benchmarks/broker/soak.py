"""Hours of churn: does a broker grow? `python -m benchmarks.broker --soak MINUTES`.

The embedded broker and mosquitto at the same time, each with its own load (`churn`), which is the
same; their memory over time, and its slope in the second half.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import psutil
from rich.console import Console

from benchmarks.broker.contest import run_load, running
from benchmarks.broker.work import Job
from broker.settings import EngineName

LINES = 20
# Messages that wait for one client at most: few, so that all queues are full soon.
QUEUE = 50


@dataclass(slots=True)
class Track:
    """One broker's memory, in MB."""

    engine: EngineName
    job: Job
    sizes: list[float] = field(default_factory=list)

    def look(self) -> None:
        self.sizes.append(psutil.Process(self.job.pid).memory_info().rss / 1e6)

    def slope(self, interval: float) -> float:
        """MB per hour in the second half, by least squares."""
        late = self.sizes[len(self.sizes) // 2 :]
        return 3600 / interval * _slope(late)


async def soak(minutes: float, engines: Sequence[EngineName], console: Console) -> None:
    interval = 60 * minutes / LINES
    async with AsyncExitStack() as stack:
        tracks = []
        for engine in engines:
            job = await stack.enter_async_context(
                running(engine, Job("churn", 60 * minutes, queue=QUEUE))
            )
            tracks.append(Track(engine, job))
        loads = [asyncio.create_task(run_load(each.job, 90 * minutes + 60)) for each in tracks]
        console.print("   minute", *(f"{each.engine:>14}" for each in tracks), "  MB")
        for line in range(LINES):
            await asyncio.sleep(interval if line else interval / 2)
            for each in tracks:
                each.look()
            sizes = (f"{each.sizes[-1]:14.2f}" for each in tracks)
            console.print(f"{(line + 0.5) * interval / 60:9.1f}", *sizes)
        results = await asyncio.gather(*loads)
    for each, result in zip(tracks, results, strict=True):
        console.print(
            f"{each.engine}: {each.slope(interval):+.2f} MB/hour in the second half, "
            f"{result.lost} messages lost, {result.misplaced} out of place"
        )


def _slope(values: Sequence[float]) -> float:
    """Per step."""
    middle = (len(values) - 1) / 2
    average = sum(values) / len(values)
    above = sum((at - middle) * (value - average) for at, value in enumerate(values))
    return above / sum((at - middle) ** 2 for at in range(len(values)))
