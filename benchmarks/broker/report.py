"""Tables: medians, the embedded engine as a multiple of the others, goals, mistakes."""

import statistics
from collections.abc import Sequence

from rich.table import Table

from benchmarks.broker.contest import Sample, described
from benchmarks.broker.rows import GOALS, Goal, Row
from broker.settings import EngineName

EMBEDDED = EngineName.EMBEDDED


class Figures:
    """What the samples say of each row."""

    def __init__(self, rows: Sequence[Row], samples: Sequence[Sample]) -> None:
        self.rows = {row.name: row for row in rows}
        self._samples = samples

    def values(self, name: str, engine: EngineName) -> list[float]:
        """One for each round, in order."""
        row = self.rows[name]
        return [
            row.figure(each.result)
            for each in self._samples
            if each.job == row.job and each.engine is engine
        ]

    def ratios(self, name: str, other: EngineName) -> list[float]:
        """Of the two that stood side by side in time."""
        pairs = zip(self.values(name, EMBEDDED), self.values(name, other), strict=True)
        return [own / theirs for own, theirs in pairs]

    def busy(self, name: str) -> float:
        """The generator's greatest part of a core."""
        job = self.rows[name].job
        return max(each.result.busy for each in self._samples if each.job == job)


def table(figures: Figures, engines: Sequence[EngineName]) -> Table:
    others = [each for each in engines if each is not EMBEDDED]
    shown = Table("figure", *engines, *(f"/ {each} (range)" for each in others), "generator")
    for column in shown.columns[1:]:
        column.justify = "right"
    for name in figures.rows:
        medians = [statistics.median(figures.values(name, each)) for each in engines]
        shown.add_row(
            name,
            *(f"{value:,.2f}" if value < 100 else f"{value:,.0f}" for value in medians),
            *(_spread(figures.ratios(name, each)) for each in others),
            f"{100 * figures.busy(name):.0f} %",
        )
    return shown


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def verdicts(figures: Figures, engines: Sequence[EngineName]) -> list[str]:
    """A line for each goal that was measured."""
    measured = [
        each
        for each in GOALS
        if each.row in figures.rows and (each.other is None or each.other in engines)
    ]
    return [_verdict(figures, each) for each in measured]


def _verdict(figures: Figures, goal: Goal) -> str:
    values = (
        figures.ratios(goal.row, goal.other) if goal.other else figures.values(goal.row, EMBEDDED)
    )
    value = statistics.median(values)
    word = "reached" if goal.is_reached(value) else "MISSED"
    of = f" / {goal.other}" if goal.other else ""
    most = "at most" if goal.is_ceiling else "at least"
    return f"{word:8} {goal.row}{of}: {value:.2f}, goal {most} {goal.limit:g}"


def mistakes(samples: Sequence[Sample], engines: Sequence[EngineName]) -> list[str]:
    """What each engine lost or brought out of order, job by job."""
    lines = []
    for engine in engines:
        own = [each for each in samples if each.engine is engine]
        wrong = [each for each in own if each.result.lost or each.result.misplaced]
        for each in wrong:
            what = f"{each.result.lost} lost, {each.result.misplaced} out of place"
            lines.append(f"{engine}: {what} at {described(each.job)}")
        lines += [] if wrong else [f"{engine}: nothing lost, nothing out of place"]
    return lines
