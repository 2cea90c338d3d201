"""Histories made by hand, for the tests of the checks: short words for what a run remembers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.campaign.history import Calm, History, Request, Response, Rules, Suffered
from tests.campaign.ledger import Entry, Life
from tests.campaign.plan import Fault

RULES = Rules("witness", ("white", "black"), ("white", "black", "witness"))
Note = Life | Entry


def says(
    at: float,
    until: float = 0.0,
    term: int = 0,
    reason: str = "",
    pause: tuple[int, bool] = (0, False),
    connected: int = 3,
) -> Entry:
    return Entry(at, until, term, reason, *pause, connected, 0.0)


def hot(start: float, end: float, term: int, reason: str = "silent") -> list[Note]:
    """Renewed each quarter of a second, and over at the end by the core's own word."""
    renewals = [start + 0.25 * n for n in range(int((end - start) / 0.25) + 1)]
    return [*(says(at, at + 1.0, term, reason) for at in renewals if at < end), says(end)]


def made(
    white: Sequence[Note] = (), black: Sequence[Note] = (), policy: str = "witness"
) -> History:
    """A history of two nodes; the fields that a test cares about are appended by it."""
    notes = {"white": white, "black": black}
    return History(rules=replace(RULES, policy=policy), notes=notes)


def suffered(fault: Fault, target: str, start: float, end: float, other: str = "") -> Suffered:
    return Suffered(fault, target, other, start, start, end)


def calm(began_at: float, ended_at: float, hold_from: float | None = None) -> Calm:
    return Calm(began_at, began_at, began_at + 1 if hold_from is None else hold_from, ended_at)


def asked(
    command: str, via: str, sent_at: float, answered_at: float, **said: Any
) -> tuple[Request, Response]:
    """A request that was acknowledged."""
    request = Request(sent_at, command, via, "", f"{command}-{sent_at}")
    response = Response(answered_at, via, command, request.transaction, is_ok=True)
    return request, replace(response, **said)
