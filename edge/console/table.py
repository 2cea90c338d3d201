"""The group on a terminal: one table, what would happen next, alerts and the last events."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from edge.console.view import (
    GroupView,
    hot_node,
    is_redundant,
    node_fields,
    recent_events,
    table,
    text,
)

ROLE_STYLES = {
    "hot": "bold green",
    "standby": "cyan",
    "starting": "yellow",
    "witness": "blue",
    "crashed": "bold red",
    "faulty": "bold red",
    "lost": "red",
    "stopped": "dim",
}
COLUMNS = ("member", "role", "phase", "term", "priority", "service", "since", "reason")
MEASURED = (("detect_ms", "detect"), ("elect_ms", "elect"), ("duty_ms", "duty"))


def group_table(group: str, members: Sequence[str], view: GroupView, asked: str) -> RenderableType:
    """Everything that `edge status` prints and `edge watch` keeps up to date."""
    lines: list[Text | Table] = [_headline(group, view), _members_table(members, view)]
    lines += [Text(f"{key}: {value}") for key, value in _outlook(view)]
    lines += [Text(f"alert {key}: {value}", "bold red") for key, value in view.alerts.items()]
    lines += [Text(event_line(each), "dim") for each in recent_events(view)]
    lines.append(Text(f"as seen by {asked}", "dim"))
    return Group(*lines)


def history_table(entries: Sequence[Mapping[str, object]]) -> Table:
    """The role changes, oldest first, with their reason and the measured times in ms."""
    words = ("event", "from", "to", "term", "reason")
    times = ("total_ms", "detect_ms", "elect_ms", "duty_ms")
    heads = ("at", *words, *(each.removesuffix("_ms") for each in times))
    columns = (Column(each, no_wrap=True) for each in heads)
    found = Table(*columns, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for each in entries:
        cells = [_clock(text(each, "at"), with_date=True)]
        cells += [text(each, key) for key in words]
        found.add_row(*cells, *(_number(each, key) for key in times))
    return found


def event_line(event: Mapping[str, object]) -> str:
    """One event as a sentence, for example: 12:04:11 failover white -> black (will) 96 ms."""
    words = [_clock(text(event, "at")), text(event, "event")]
    if event.get("from") or event.get("to"):
        words.append(f"{text(event, 'from') or 'none'} -> {text(event, 'to') or 'none'}")
    if event.get("reason"):
        words.append(f"({text(event, 'reason')})")
    if _number(event, "total_ms"):
        words.append(f"{_number(event, 'total_ms')} ms")
    measured = _measured(event)
    return " ".join([each for each in words if each] + ([f"[{measured}]"] if measured else []))


def _headline(group: str, view: GroupView) -> Text:
    state = view.state or {}
    line = Text(f"group {group}  ", "bold")
    hot = hot_node(view)
    line.append(f"hot: {hot or 'nobody'}", ROLE_STYLES["hot" if hot else "lost"])
    if state.get("term") is not None:
        line.append(f"  term {text(state, 'term')}")
    votes = table(state, "votes")
    if votes:
        held, of, needed = (text(votes, key) for key in ("held", "of", "needed"))
        line.append(f"  votes {held} of {of} (needs {needed})")
    if state.get("paused") is True:
        line.append("  PAUSED", "bold yellow")
    redundant = is_redundant(view)
    line.append(
        "  redundant" if redundant else "  NOT redundant", "green" if redundant else "bold yellow"
    )
    return line


def _members_table(members: Sequence[str], view: GroupView) -> Table:
    found = Table(*COLUMNS, box=None, pad_edge=False)
    for name in members:
        fields = node_fields(view, name)
        role = text(fields, "role") or "unknown"
        found.add_row(
            name,
            Text(role, ROLE_STYLES.get(role, "")),
            "" if fields.get("phase") == "none" else text(fields, "phase"),
            text(fields, "term"),
            text(fields, "priority"),
            text(fields, "service_level"),
            _clock(text(fields, "since")),
            text(fields, "reason"),
        )
    return found


def _outlook(view: GroupView) -> Iterable[tuple[str, str]]:
    for key, value in table(view.state or {}, "outlook").items():
        yield key.replace("_", " "), str(value)


def _clock(stamp: str, *, with_date: bool = False) -> str:
    """An ISO time as this machine's local time; as it came if it is not one."""
    try:
        local = datetime.fromisoformat(stamp).astimezone()
    except ValueError:
        return stamp
    return local.strftime("%m-%d %H:%M:%S" if with_date else "%H:%M:%S")


def _number(source: Mapping[str, object], key: str) -> str:
    value = source.get(key)
    return f"{value:.0f}" if isinstance(value, (int, float)) else ""


def _measured(event: Mapping[str, object]) -> str:
    parts = ((word, _number(event, key)) for key, word in MEASURED)
    return ", ".join(f"{word} {number}" for word, number in parts if number)
