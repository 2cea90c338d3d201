"""All checks over one history, and the figures of the report."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.campaign import checks, request_checks
from tests.campaign.checks import Check, Finding
from tests.campaign.history import History
from tests.campaign.ledger import Hot

CHECKS: tuple[Check, ...] = (
    checks.never_two_hot,
    checks.terms_grow,
    checks.no_lease_is_longer,
    checks.stops_when_cut_off,
    checks.connects_and_recovers_in_time,
    checks.nothing_moves_in_calm,
    checks.words_are_true,
    checks.events_are_true,
    checks.nobody_ends_by_itself,
    request_checks.switchovers_happened,
    request_checks.pauses_are_taken,
    request_checks.pauses_are_kept,
    request_checks.nobody_takes_over_while_paused,
    request_checks.pings_are_answered_by_the_owner,
    request_checks.one_answer_each,
)


def judge(history: History) -> list[Finding]:
    found = [each for check in CHECKS for each in check(history)]
    return sorted(found, key=lambda each: each.at)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run was worth."""

    faults: dict[str, int]
    changes: dict[str, int]
    gaps: tuple[float, ...]
    recoveries: tuple[float, ...]
    sent: dict[str, int]
    answered: dict[str, int]
    acknowledged: dict[str, int]
    machine: float
    agents: float


def figures(history: History) -> Figures:
    return Figures(
        faults=_count(each.fault.value for each in history.suffered),
        changes=_count(hot.reason for hot in history.hots),
        gaps=gaps(history.hots),
        recoveries=tuple(
            max(0.0, checks.hot_at(history, calm.began_at) - calm.began_at)
            for calm in history.calms
            if checks.hot_at(history, calm.began_at) <= calm.ended_at
        ),
        sent=_count(each.command for each in history.requests),
        answered=_count(request.command for request, _ in request_checks.answered(history)),
        acknowledged=_count(r.command for r, _ in request_checks.acknowledged(history)),
        machine=max((each.seconds for each in history.late), default=0.0),
        agents=history.lateness(0.0, float("inf"), *history.rules.nodes),
    )


def gaps(hots: Sequence[Hot]) -> tuple[float, ...]:
    """Every time without a hot node between two that there were."""
    found = []
    end = hots[0].end if hots else 0.0
    for hot in hots[1:]:
        if hot.start > end:
            found.append(hot.start - end)
        end = max(end, hot.end)
    return tuple(found)


def spread(values: Sequence[float]) -> str:
    """The distribution in one line of milliseconds."""
    if not values:
        return "none"
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))]
    middle = statistics.median(ordered)
    return (
        f"{len(ordered)}: least {ordered[0] * 1000:.0f}, median {middle * 1000:.0f}, "
        f"nine tenths below {high * 1000:.0f}, most {ordered[-1] * 1000:.0f} ms"
    )


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
