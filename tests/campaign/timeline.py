"""Draws a history as SVG: a panel for each stretch of time, in it a row for each node, each broker
and the faults. Written by hand: rectangles and text need no library.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from tests.campaign.checks import Finding
from tests.campaign.history import History, Request

PANEL_SECONDS = 60.0
PIXELS_PER_SECOND = 20
LEFT, ROW, TOP, GAP = 90, 16, 26, 24
FAULT_ROWS = 4
# A fault of a moment has its label beside it; the next one in that row keeps so far away: pixels.
LABEL_ROOM = 130
COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777")
UP, DOWN, FAULT, CALM, BAD = "#cbd5e1", "#1f2937", "#f87171", "#f0fdf4", "#dc2626"


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time in a row; the label is also what a pointer shows."""

    start: float
    end: float
    row: int
    colour: str
    label: str


def draw(
    history: History, found: list[Finding], brokers: dict[str, list[tuple[float, float]]]
) -> str:
    """`brokers` holds, for each, when its observer was let in."""
    begin, end = _extent(history)
    rows = [*history.notes, *(f"{name}'s broker" for name in brokers)]
    bars = [*_hot_bars(history), *_broker_bars(brokers, len(history.notes))]
    bars += _fault_bars(history, len(rows))
    panels = int((end - begin) // PANEL_SECONDS) + 1
    height = TOP + ROW * (len(rows) + FAULT_ROWS) + GAP
    width = LEFT + PANEL_SECONDS * PIXELS_PER_SECOND + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height * panels}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width:.0f}" height="{height * panels}" fill="white"/>',
    ]
    for number in range(panels):
        start = begin + number * PANEL_SECONDS
        panel = _Panel(start, min(end, start + PANEL_SECONDS), begin, rows)
        lines.append(f'<g transform="translate(0,{number * height})">')
        lines += panel.draw(history, bars, found)
        lines.append("</g>")
    return "\n".join([*lines, "</svg>", ""])


@dataclass(frozen=True, slots=True)
class _Panel:
    start: float
    end: float
    zero: float
    rows: list[str]

    def draw(self, history: History, bars: list[Bar], found: list[Finding]) -> Iterator[str]:
        bottom = ROW * (len(self.rows) + FAULT_ROWS)
        for calm in history.calms:
            yield from self._rectangle(calm.began_at, calm.ended_at, 0, bottom, CALM, "calm")
        for bar in bars:
            top = bar.row * ROW + 2
            yield from self._rectangle(bar.start, bar.end, top, ROW - 4, bar.colour, bar.label)
        for index, name in enumerate([*self.rows, "faults"]):
            yield f'<text x="4" y="{TOP + index * ROW + 12}">{escape(name)}</text>'
        yield from self._scale(bottom)
        for request in history.requests:
            yield from self._mark(request)
        for each in found:
            if not each.excuse and self.start <= each.at <= self.end:
                label = f"{each.check}: {each.text}"
                yield from self._rectangle(each.at, each.at + 0.1, 0, bottom, BAD, label)

    def _rectangle(
        self, start: float, end: float, top: float, height: float, colour: str, label: str
    ) -> Iterator[str]:
        start, end = max(start, self.start), min(end, self.end)
        if end < start or end == self.start:
            return
        x, width = self._x(start), max(1.5, (end - start) * PIXELS_PER_SECOND)
        yield (
            f'<rect x="{x:.1f}" y="{TOP + top:.1f}" width="{width:.1f}" height="{height}" '
            f'fill="{colour}"><title>{escape(label)}</title></rect>'
        )
        room = width if colour != FAULT else max(width, LABEL_ROOM)
        if room > 40 and height < ROW:
            yield (
                f'<text x="{x + 2:.1f}" y="{TOP + top + 9:.1f}" font-size="9">'
                f"{escape(label[: int(room // 5)])}</text>"
            )

    def _mark(self, request: Request) -> Iterator[str]:
        """A request stands as a small triangle at the row of the node that was asked."""
        if self.start <= request.sent_at <= self.end and request.via in self.rows:
            x, y = self._x(request.sent_at), TOP + self.rows.index(request.via) * ROW + 1
            yield (
                f'<path d="M{x - 3:.1f} {y} h6 l-3 5 z" fill="{DOWN}">'
                f"<title>{escape(request.command)} {escape(request.to)}</title></path>"
            )

    def _scale(self, bottom: float) -> Iterator[str]:
        for second in range(0, int(PANEL_SECONDS) + 1, 5):
            x = self._x(self.start + second)
            yield f'<line x1="{x}" x2="{x}" y1="{TOP - 4}" y2="{TOP + bottom}" stroke="#e2e8f0"/>'
            text = f"{self.start + second - self.zero:.0f} s"
            yield f'<text x="{x}" y="{TOP - 8}" text-anchor="middle">{text}</text>'

    def _x(self, at: float) -> float:
        return round(LEFT + (at - self.start) * PIXELS_PER_SECOND, 1)


def _extent(history: History) -> tuple[float, float]:
    instants = [hot.start for hot in history.hots] + [calm.ended_at for calm in history.calms]
    instants += [each.struck_at for each in history.suffered]
    return (min(instants), max(instants)) if instants else (0.0, 0.0)


def _hot_bars(history: History) -> list[Bar]:
    order = list(history.notes)
    return [
        Bar(
            hot.start,
            hot.end,
            order.index(hot.node),
            COLOURS[order.index(hot.node) % len(COLOURS)],
            f"hot, term {hot.term}, {hot.reason}",
        )
        for hot in history.hots
    ]


def _broker_bars(brokers: dict[str, list[tuple[float, float]]], first: int) -> list[Bar]:
    return [
        Bar(start, end, first + index, UP, "up")
        for index, spans in enumerate(brokers.values())
        for start, end in spans
    ]


def _fault_bars(history: History, first: int) -> list[Bar]:
    """Overlapping faults below each other, as far as there are rows."""
    free = [0.0] * FAULT_ROWS
    bars = []
    for each in sorted(history.suffered, key=lambda each: each.struck_at):
        row = next((i for i, at in enumerate(free) if at <= each.struck_at), FAULT_ROWS - 1)
        label = f"{each.fault.value} {each.target} {each.other}".strip()
        free[row] = max(each.ended_at, each.struck_at + LABEL_ROOM / PIXELS_PER_SECOND)
        end = max(each.ended_at, each.struck_at + 0.1)
        bars.append(Bar(each.struck_at, end, first + row, FAULT, label))
    return bars
