"""Draws runs as dots on a logarithmic axis of time, in SVG, readable on light and dark pages."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import log10
from xml.sax.saxutils import escape

LEFT, RIGHT, TOP, ROW, GAP = 150, 640, 56, 20, 26
DECADES = (0.001, 0.01, 0.1, 1.0, 10.0)
STYLE = """\
text { font: 12px sans-serif; fill: #24292f } .head { font-weight: bold }
.grid { stroke: #8c959f; stroke-opacity: .35 } .dot { fill-opacity: .55 }
.edge { fill: #1a7f37 } .peer { fill: #bc4c00 } .median { stroke: #24292f; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .median { stroke: #e6edf3 }
.edge { fill: #3fb950 } .peer { fill: #f0883e } }
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One contender under one fault, and its times in seconds."""

    group: str
    name: str
    times: tuple[float, ...]


def drawing(title: str, rows: Sequence[Row]) -> str:
    groups = [(name, tuple(found)) for name, found in groupby(rows, lambda row: row.group)]
    height = TOP + len(rows) * ROW + len(groups) * GAP + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {RIGHT + 80} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text class="head" x="8" y="18">{escape(title)}</text>',
        *_grid(height),
    ]
    y = TOP
    for name, found in groups:
        y += GAP
        lines.append(f'<text class="head" x="8" y="{y - 8}">{escape(name)}</text>')
        for row in found:
            lines += _row(row, y)
            y += ROW
    return "\n".join([*lines, "</svg>"]) + "\n"


def _grid(height: int) -> Iterator[str]:
    for decade in DECADES:
        x = _x(decade)
        word = f"{decade:g} s" if decade >= 1 else f"{decade * 1000:g} ms"
        yield f'<line class="grid" x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{height - 8}"/>'
        yield f'<text x="{x}" y="{TOP - 14}" text-anchor="middle">{word}</text>'


def _row(row: Row, y: int) -> Iterator[str]:
    kind = "edge" if row.name.startswith("edge") else "peer"
    middle, median = y + ROW // 2, statistics.median(row.times)
    yield f'<text x="{LEFT - 12}" y="{middle + 4}" text-anchor="end">{escape(row.name)}</text>'
    for time in row.times:
        yield f'<circle class="dot {kind}" cx="{_x(time)}" cy="{middle}" r="4"/>'
    x = _x(median)
    yield f'<line class="median" x1="{x}" y1="{middle - 7}" x2="{x}" y2="{middle + 7}"/>'
    yield f'<text x="{RIGHT + 12}" y="{middle + 4}">{median * 1000:.0f} ms</text>'


def _x(seconds: float) -> float:
    first, last = log10(DECADES[0]), log10(DECADES[-1])
    share = (log10(max(seconds, DECADES[0])) - first) / (last - first)
    return round(LEFT + min(share, 1.0) * (RIGHT - LEFT), 1)
