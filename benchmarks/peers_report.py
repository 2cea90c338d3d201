"""The results of `benchmarks.peers`: kept as JSON, shown as tables, written into the documents."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from benchmarks.contenders import NAMES, PROFILES, REFERENCE, EdgeBy
from benchmarks.peers_costs import Idle
from benchmarks.peers_drawing import Row, drawing
from benchmarks.peers_stress import Stress
from benchmarks.report import median, print_table

DOCS = Path(__file__).parents[1] / "docs"
PICTURE = "peers.svg"
# What stands between these two lines of docs/benchmarks.md is written by --write-docs.
BLOCK = re.compile(r"(<!-- peers: begin -->\n).*(<!-- peers: end -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Run:
    """One fault. Seconds: until the survivor answers; the longest silence until then; with two
    that hold the role; the longest pause that the probe itself made."""

    contender: str
    fault: str
    takeover: float
    silence: float
    two: float
    noise: float


@dataclass(frozen=True, slots=True)
class Split:
    contender: str
    lasted: float
    two: float


@dataclass(frozen=True, slots=True)
class Results:
    edge_by: EdgeBy
    runs: list[Run]
    splits: list[Split]
    idle: list[Idle]
    stresses: list[Stress]
    failures: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def read(path: Path) -> Results:
    raw = orjson.loads(path.read_bytes())
    runs = [Run(**each) for each in raw["runs"]]
    splits = [Split(**each) for each in raw["splits"]]
    stresses = [Stress(**each) for each in raw["stresses"]]
    idle = [Idle(**each) for each in raw["idle"]]
    return Results(EdgeBy(raw["edge_by"]), runs, splits, idle, stresses, raw["failures"])


def write(results: Results, path: Path) -> None:
    path.write_bytes(orjson.dumps(asdict(results), option=orjson.OPT_INDENT_2))


def show(results: Results) -> None:
    for table in tables(results):
        print_table(table.title, table.columns, table.rows)
    print(*remarks(results), sep="\n")


def tables(results: Results) -> list[Table]:
    return [_takeovers(results), _splits(results), _stresses(results), _idle(results)]


def remarks(results: Results) -> list[str]:
    noise = max((run.noise for run in results.runs), default=0.0)
    failed = [f"Did not come to its end: {each}." for each in results.failures]
    return [f"The probe's own longest pause was {_ms(noise)} ms.", *failed]


def _faults(results: Results) -> list[str]:
    return list(dict.fromkeys(run.fault for run in results.runs))


def _of(results: Results, name: str, fault: str) -> list[Run]:
    return [run for run in results.runs if (run.contender, run.fault) == (name, fault)]


def _takeovers(results: Results) -> Table:
    columns = [
        "fault",
        "who",
        "runs",
        "median",
        "maximum",
        "times as fast",
        "no answer",
        "two hold",
    ]
    rows = []
    for fault in _faults(results):
        reference = median([run.takeover for run in _of(results, REFERENCE, fault)])
        rows += [
            _takeover_row(fault, _who(results, name), runs, reference)
            for name in NAMES
            if (runs := _of(results, name, fault))
        ]
    return Table("the other node answers after, milliseconds", columns, rows)


def _who(results: Results, name: str) -> str:
    """With how it was asked: by a virtual address, or by the word of its own broker."""
    by_role = name in PROFILES and results.edge_by is EdgeBy.ROLE
    return f"{name}, by {'role topic' if by_role else 'address'}"


def _takeover_row(fault: str, who: str, runs: list[Run], reference: float) -> list[str]:
    times = [run.takeover for run in runs]
    two = [run.two for run in runs]
    return [
        fault,
        who,
        str(len(runs)),
        _ms(median(times)),
        _ms(max(times)),
        f"{reference / median(times):.1f}",
        _ms(median([run.silence for run in runs])),
        f"{_ms(median(two))} (in {sum(each > 0 for each in two)} of {len(two)})",
    ]


def _splits(results: Results) -> Table:
    rows = []
    for name in NAMES:
        splits = [split for split in results.splits if split.contender == name]
        if splits:
            share = median([split.two / split.lasted for split in splits])
            lasted = f"{splits[0].lasted:g} s"
            rows.append([_who(results, name), str(len(splits)), lasted, f"{100 * share:.0f} %"])
    columns = ["who", "runs", "partition", "of that time with two holders"]
    return Table("a partition between the two nodes", columns, rows)


def _stresses(results: Results) -> Table:
    rows = [
        [each.load, each.contender, f"{each.lasted:g} s", str(each.changes), _ms(each.two)]
        for each in sorted(results.stresses, key=lambda each: each.load)
    ]
    columns = ["load", "who", "for", "role changes", "two hold, ms"]
    return Table("nothing wrong but the load", columns, rows)


def _idle(results: Results) -> Table:
    rows = [
        [
            each.contender,
            each.node,
            f"{each.cpu_percent:.2f}",
            f"{each.rss:.0f}",
            f"{each.pss:.0f}",
            f"{each.packets:.0f}",
            f"{each.bytes / 1000:.1f}",
        ]
        for each in results.idle
    ]
    columns = ["who", "node", "CPU % of a core", "RSS MB", "PSS MB", "packets / s", "kB / s"]
    return Table("while nothing happens", columns, rows)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def picture(results: Results) -> str:
    rows = [
        Row(fault, name, tuple(run.takeover for run in runs))
        for fault in _faults(results)
        for name in NAMES
        if (runs := _of(results, name, fault))
    ]
    return drawing("From the fault to the other node's first answer", rows)


def write_docs(results: Results) -> None:
    (DOCS / PICTURE).write_text(picture(results))
    parts = [f"![Every run as a dot, logarithmic]({PICTURE})\n"]
    parts += [f"{each.title.capitalize()}:\n\n{each.markdown()}" for each in tables(results)]
    parts += [f"{each}\n" for each in remarks(results)]
    page = DOCS / "benchmarks.md"
    text, count = BLOCK.subn(lambda found: found[1] + "\n".join(parts) + found[2], page.read_text())
    assert count == 1, "docs/benchmarks.md has lost its marks"
    page.write_text(text)
