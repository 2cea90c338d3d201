"""Hours of churn: does a broker grow? `python -m benchmarks.broker --soak MINUTES`.

The embedded broker and mosquitto at the same time, with each kind of listener and all they know on
disk, each with its own load (`churn`), which is the same; their memory and their store over time,
and a verdict: memory counts as flat if the line through its second half rises by less than 2 %.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, linear_regression, median

import psutil

from benchmarks.broker.contest import LoadError, run_load, running
from benchmarks.broker.place import Place
from benchmarks.broker.streams import TRANSPORTS
from benchmarks.broker.work import PATIENCE, Job, Result
from broker.engines.engine import Engine
from broker.settings import EngineName

LINES = 20
# A single look may fall into a moment in which a log is rewritten.
LOOKS_PER_LINE = 10
# Messages that wait for one client at most: few, so that all queues are full soon.
QUEUE = 50
MOST_GROWTH = 0.02


@dataclass(slots=True)
class Track:
    """One broker under its load: its memory and its store over time, in MB, and how it ended."""

    engine: Engine
    job: Job
    sizes: list[float] = field(default_factory=list)
    stored: float = 0.0
    result: Result | None = None
    failure: str = ""

    async def run(self) -> None:
        try:
            self.result = await run_load(self.job, 1.5 * self.job.seconds + 60)
        except LoadError as error:
            self.failure = str(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    self.failure = await self.engine.failed()

    def look(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self.sizes.append(psutil.Process(self.job.pid).memory_info().rss / 1e6)
        self.stored = sum(_size(each) for each in Path(self.job.directory).iterdir()) / 1e6

    @property
    def line(self) -> str:
        size = "ended" if self.failure else f"{median(self.sizes[-LOOKS_PER_LINE:]):.2f}"
        return f"{size:>12} {self.stored:8.2f}"

    @property
    def is_good(self) -> bool:
        of = self.result
        is_right = of and not (of.lost or of.gaps or of.reordered or of.refused)
        return bool(is_right) and growth(self.sizes) < MOST_GROWTH

    @property
    def verdict(self) -> str:
        of = self.result
        if of is None:
            return f"FAILED: {self.failure}"
        grown = growth(self.sizes)
        per_hour = grown * median(self.sizes) / (self.job.seconds / 2) * 3600
        return (
            f"{'flat' if grown < MOST_GROWTH else 'GROWS'}, {100 * grown:+.1f} % "
            f"({per_hour:+.2f} MB/hour) in the second half; {of.lost} messages lost, "
            f"{of.gaps} gaps, {of.reordered} out of order; "
            f"{of.visits:,} clients came, {of.refused} of them in vain"
        )


async def soak(minutes: float, engines: Sequence[EngineName], place: Place) -> bool:
    """Whether the embedded broker stayed as it was, and brought everything in order."""
    work = Job("churn", 60 * minutes, queue=QUEUE, transports=TRANSPORTS, persistence="all")
    async with AsyncExitStack() as stack:
        tracks = {
            name: Track(*await stack.enter_async_context(running(name, work, place)))
            for name in engines
        }
        runs = asyncio.gather(*(each.run() for each in tracks.values()))
        await _watch(minutes, tracks)
        await runs
    for name, track in tracks.items():
        print(f"{name}: {track.verdict}")
    return tracks[EngineName.EMBEDDED].is_good


async def _watch(minutes: float, tracks: Mapping[EngineName, Track]) -> None:
    print("   minute", *(f"{name:>12} {'on disk':>8}" for name in tracks), "  MB")
    for line in range(1, LINES + 1):
        for _ in range(LOOKS_PER_LINE):
            await asyncio.sleep(60 * minutes / LINES / LOOKS_PER_LINE)
            for each in tracks.values():
                each.look()
        print(
            f"{line * minutes / LINES:9.1f}", *(each.line for each in tracks.values()), flush=True
        )
        if tracks[EngineName.EMBEDDED].failure:
            return


def growth(sizes: Sequence[float]) -> float:
    """How far the line through the second half rises (least squares), as a part of its middle."""
    late = sizes[len(sizes) // 2 :]
    fitted = linear_regression(range(len(late)), late)
    return fitted.slope * (len(late) - 1) / fmean(late)


def _size(path: Path) -> int:
    """A file that has just been replaced has none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
