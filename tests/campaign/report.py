"""The one page that a run leaves: what was done, what came of it, what was broken."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.campaign.checks import Finding
from tests.campaign.history import History
from tests.campaign.verdict import Figures, spread

SHOWN_MAX = 40


@dataclass(frozen=True, slots=True)
class Title:
    """Which run this is, so that it can be repeated."""

    seed: int
    commit: str
    minutes: float
    policy: str
    engine: str
    witness: str
    profile: str
    episodes: int
    seconds: float
    begun_at: float


def page(title: Title, history: History, figures: Figures, found: Sequence[Finding]) -> str:
    violations = [each for each in found if not each.excuse]
    overlaps = [each for each in found if each.check == "never two hot"]
    lines = [
        f"# Fault campaign: {'FAILED' if violations else 'passed'}",
        "",
        f"seed {title.seed}, commit {title.commit}, {title.minutes:g} minutes asked, "
        f"{title.seconds / 60:.1f} played in {title.episodes} episodes; policy {title.policy}, "
        f"engine {title.engine}, witness {title.witness}, profile {title.profile}.",
        "",
        *_table("fault", "times", figures.faults),
        *_table("became hot because", "times", figures.changes),
        "| measured | |",
        "| --- | --- |",
        f"| time without a hot node | {spread(figures.gaps)} |",
        f"| hot after calm | {spread(figures.recoveries)} |",
        f"| two hot at one time | {len(overlaps)}, not excused "
        f"{sum(not each.excuse for each in overlaps)} |",
        f"| violations | {len(violations)}, excused findings {len(found) - len(violations)} |",
        f"| requests lost | {_lost(found)} |",
        f"| worst delay of the machine | {figures.machine * 1000:.0f} ms |",
        f"| worst delay of an agent, not frozen | {figures.agents * 1000:.0f} ms |",
        "",
        *_requests(figures),
        *_findings("Violations", violations, title.begun_at),
        *_findings("Excused", [each for each in found if each.excuse], title.begun_at),
        *_ends(history),
    ]
    return "\n".join(lines) + "\n"


def _table(name: str, count: str, values: Mapping[str, int]) -> list[str]:
    rows = [f"| {key} | {value} |" for key, value in values.items()]
    total = f"| **all** | {sum(values.values())} |"
    return [f"| {name} | {count} |", "| --- | --- |", *rows, total, ""]


def _requests(figures: Figures) -> list[str]:
    rows = [
        f"| {command} | {sent} | {figures.answered.get(command, 0)} "
        f"| {figures.acknowledged.get(command, 0)} |"
        for command, sent in figures.sent.items()
    ]
    head = ["| request | sent | answered | acknowledged |", "| --- | --- | --- | --- |"]
    return [*head, *rows, ""]


def _lost(found: Sequence[Finding]) -> int:
    return sum("acknowledged request" in each.check and not each.excuse for each in found)


def _findings(name: str, found: Sequence[Finding], zero: float) -> list[str]:
    """Each with its second in the timeline; by kind where there are many."""
    if not found:
        return []
    kinds = Counter(each.check for each in found)
    summary = ", ".join(f"{check}: {times}" for check, times in kinds.items())
    rows = [
        f"- {each.at - zero:8.3f} s, {each.check}: {each.text}"
        + (f" ({each.excuse})" if each.excuse else "")
        for each in found[:SHOWN_MAX]
    ]
    return [f"## {name}", "", summary, "", *rows, ""]


def _ends(history: History) -> list[str]:
    killed = sum(not each.by_itself for each in history.deaths)
    ended = len(history.deaths) - killed
    return [f"Processes killed: {killed}, ended by themselves: {ended}."]
