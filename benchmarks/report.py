"""What the benchmarks on a LAN share: a started group, figures, a table with goals."""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.lan.group import Group
from tests.lan.groupfile import GroupFile
from tests.lan.harness import Lan
from tests.lan.namespaces import missing_requirement, sweep
from tests.lan.observer import Observer

# What a judgement needs and no more: the heartbeats and records would only load the machine.
JUDGED_TOPICS = ("edge/+/hot", "edge/+/state", "edge/+/event", "edge/+/node/+/state")


@contextmanager
def started_group(file: GroupFile) -> Iterator[Group]:
    """White hot, black standby, a plain Mosquitto as witness, each in a namespace of its own."""
    if missing := missing_requirement():
        raise SystemExit(f"this benchmark cannot run here: {missing}")
    sweep()
    with tempfile.TemporaryDirectory() as folder, Lan() as lan, Observer() as observer:
        group = Group(lan, observer, Path(folder), file, topic_filters=JUDGED_TOPICS)
        try:
            group.start_redundant()
            yield group
        finally:
            group.close()


def verdict(value: float, goal: float) -> str:
    return "reached" if value <= goal else "MISSED"


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index > 1 else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=130).print(table)
