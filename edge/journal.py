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


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
