"""What happened to the group, in the words of the event topic and the history.

Times of the day are for reading only; every duration was measured on the monotonic clock.
"""

from datetime import UTC, datetime

from edge.core.effects import Report
from edge.wire import Payload


def now_text() -> str:
    """The time of the day, for people."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_payload(report: Report) -> Payload:
    """A report as the event topic shows it; unknown times are null."""
    parts = (report.detect, report.elect, report.duty)
    total = None if None in parts else sum(part for part in parts if part is not None)
    return {
        "event": report.event,
        "from": report.origin,
        "to": report.target,
        "term": report.term,
        "reason": report.reason,
        "detect_ms": _milliseconds(report.detect),
        "elect_ms": _milliseconds(report.elect),
        "duty_ms": _milliseconds(report.duty),
        "total_ms": _milliseconds(total),
        "at": now_text(),
    }


def as_change(value: object) -> Payload:
    """A change of the hot role as `event_payload` makes it, or an empty one if it is not that."""
    if not isinstance(value, dict) or not isinstance(value.get("term"), int):
        return {}
    rest = {key: each for key, each in value.items() if key != "steps"}
    is_flat = all(each is None or isinstance(each, str | int | float) for each in rest.values())
    if not is_flat or not _are_steps(value.get("steps", [])):
        return {}
    return value


def _are_steps(value: object) -> bool:
    """What starting the duty was made of."""
    return isinstance(value, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("step"), str)
        and isinstance(each.get("ms"), int | float)
        and len(each) == 2
        for each in value
    )


def readable_word(word: Payload) -> Payload:
    """What people are shown of another node's state: only values of the right type."""
    texts = {key: word[key] for key in ("phase", "reason", "version", "since") if key in word}
    kept: Payload = {key: value for key, value in texts.items() if isinstance(value, str)}
    return {**kept, "term": word["term"], "switch": as_change(word.get("switch"))}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
