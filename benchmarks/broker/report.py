"""The tables of docs/broker.md: medians, the embedded engine as a multiple of the others, goals;
and what has to be said beside them.
"""

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.broker.contest import Failure, Sample, described
from benchmarks.broker.rows import GOALS, Goal, Row
from broker.settings import EngineName

EMBEDDED = EngineName.EMBEDDED
# The part of a core from which on the load generator is what limits a rate.
WHOLE_CORE = 0.9
ON_DISK = (
    "On disk: the embedded broker acknowledges what has been written and synced; mosquitto "
    "acknowledges at once and writes its store every 60 s, which no run here comes to."
)


class Figures:
    """What the samples say of each row."""

    def __init__(self, rows: Sequence[Row], found: Sequence[Sample | Failure]) -> None:
        self.rows = {row.name: row for row in rows}
        self.samples = [each for each in found if isinstance(each, Sample)]
        self.failures = [each for each in found if isinstance(each, Failure)]

    def values(self, name: str, engine: EngineName) -> list[float]:
        """One for each round that had a result, in order."""
        return list(self._by_turn(name, engine).values())

    def ratios(self, name: str, other: EngineName) -> list[float]:
        """Of the two that stood side by side in time; none if one of them cannot do it."""
        ours, theirs = self._by_turn(name, EMBEDDED), self._by_turn(name, other)
        return [value / theirs[turn] for turn, value in ours.items() if turn in theirs]

    def _by_turn(self, name: str, engine: EngineName) -> dict[int, float]:
        row = self.rows[name]
        return {
            each.turn: row.figure(each.result)
            for each in self.samples
            if each.job == row.job and each.engine is engine
        }

    def busy(self, name: str) -> float:
        """The generator's greatest part of a core."""
        job = self.rows[name].job
        return max((each.result.busy for each in self.samples if each.job == job), default=0.0)


def table(figures: Figures, engines: Sequence[EngineName]) -> Iterator[str]:
    """In Markdown."""
    others = [each for each in engines if each is not EMBEDDED]
    yield _line("figure", *engines, *(f"/ {each} (range)" for each in others))
    yield _line(*("---" for _ in (EMBEDDED, *engines, *others)))
    for name in figures.rows:
        yield _line(
            name,
            *(_median(figures.values(name, each)) for each in engines),
            *(_spread(figures.ratios(name, each)) for each in others),
        )


def goals(figures: Figures, engines: Sequence[EngineName]) -> Iterator[str]:
    """A line for each goal that was measured, in Markdown."""
    measured = [
        each
        for each in GOALS
        if each.row in figures.rows and (each.other is None or each.other in engines)
    ]
    if measured:
        yield _line("goal", "value", "verdict")
        yield _line("---", "---", "---")
    for goal in measured:
        yield _verdict(figures, goal)


def remarks(figures: Figures, engines: Sequence[EngineName]) -> Iterator[str]:
    """What is no figure: bounds, failures, and mistakes, job by job."""
    bounded = [name for name in figures.rows if figures.busy(name) > WHOLE_CORE]
    if bounded:
        yield f"The load generator used a whole core, rates are lower bounds: {'; '.join(bounded)}."
    if any(row.job.persistence != "off" for row in figures.rows.values()):
        yield ON_DISK
    yield from dict.fromkeys(
        f"{each.engine} failed at {described(each.job)}: {each.words}" for each in figures.failures
    )
    for engine in engines:
        yield from _mistakes(engine, figures.samples)


def _mistakes(engine: EngineName, samples: Sequence[Sample]) -> Iterator[str]:
    is_right = True
    for each in samples:
        result = each.result
        if each.engine is engine and (result.lost or result.gaps or result.reordered):
            is_right = False
            what = f"{result.lost} lost, {result.gaps} gaps, {result.reordered} out of order"
            yield f"{engine}: {what} at {described(each.job)}"
    if is_right:
        yield f"{engine}: 0 lost, 0 gaps, 0 out of order"


def _verdict(figures: Figures, goal: Goal) -> str:
    if goal.other:
        values = figures.ratios(goal.row, goal.other)
    else:
        values = figures.values(goal.row, EMBEDDED)
    of = f", as a multiple of {goal.other}'s" if goal.other else ""
    most = "at most" if goal.is_ceiling else "at least"
    words = f"{goal.row}{of}: {most} {goal.limit:g}"
    if not values:
        return _line(words, "-", "not measured")
    value = statistics.median(values)
    return _line(words, f"{value:.2f}", "reached" if goal.is_reached(value) else "missed")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _median(values: Sequence[float]) -> str:
    if not values:
        return "-"
    value = statistics.median(values)
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _spread(ratios: Sequence[float]) -> str:
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
