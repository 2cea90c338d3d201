"""No acknowledged request is lost. What that means, request by request:

- switchover, promote: the node that the answer names was hot between the request and the answer.
- pause, resume: the answering node's core took the order before the answer, with a counter; at
  the end of every later calm all nodes agree on one order, that one or one with a higher counter.
  And no node that knows of a pause becomes hot by itself.
- ping: the broker's own node answers.
A request without an answer, or refused, promises nothing.
"""

from collections import defaultdict

from tests.campaign.checks import BY_ORDER, Finding
from tests.campaign.history import History, Request, Response
from tests.campaign.ledger import value_at

NAME = "no acknowledged request is lost"
Order = tuple[int, bool]


def answered(history: History) -> list[tuple[Request, Response]]:
    """Every request with the first answer that came, in the order in which they were sent."""
    first: dict[str, Response] = {}
    for response in sorted(history.responses, key=lambda each: each.at):
        first.setdefault(response.transaction, response)
    return [(r, first[r.transaction]) for r in history.requests if r.transaction in first]


def acknowledged(history: History) -> list[tuple[Request, Response]]:
    return [(request, response) for request, response in answered(history) if response.is_ok]


def switchovers_happened(history: History) -> list[Finding]:
    found = []
    for request, response in acknowledged(history):
        if request.command not in {"switchover", "promote"}:
            continue
        was_hot = any(
            hot.node == response.hot and hot.start <= response.at and hot.end >= request.sent_at
            for hot in history.hots
        )
        if not was_hot:
            text = f"{request.command} was acknowledged, but {response.hot} was not hot"
            found.append(Finding(NAME, response.at, text))
    return found


def pauses_are_taken(history: History) -> list[Finding]:
    """The answering node's core knew the order when it answered."""
    return [
        Finding(NAME, response.at, f"{request.command} was acknowledged, but not in force")
        for request, response in acknowledged(history)
        if request.command in {"pause", "resume"} and taken(history, request, response) is None
    ]


def taken(history: History, request: Request, response: Response) -> Order | None:
    """The order as the answering node numbered it."""
    notes = history.notes.get(request.via, ())
    before = value_at(notes, request.sent_at)
    counter = before.pause if before else 0
    is_on = request.command == "pause"
    orders = [
        (entry.pause, entry.paused)
        for entry in history.entries(request.via)
        if request.sent_at <= entry.at <= response.at
        and entry.pause > counter
        and entry.paused == is_on
    ]
    return orders[0] if orders else None


def pauses_are_kept(history: History) -> list[Finding]:
    found = []
    orders = [
        (response.at, order)
        for request, response in acknowledged(history)
        if request.command in {"pause", "resume"}
        and (order := taken(history, request, response)) is not None
    ]
    for calm in history.calms:
        if calm.hold_from > calm.ended_at:
            continue
        known = orders_known(history, calm.ended_at)
        newest = max((order for at, order in orders if at < calm.hold_from), default=(0, False))
        if len(set(known.values())) > 1:
            text = f"the nodes do not agree whether the group is paused: {known}"
            found.append(Finding(NAME, calm.ended_at, text))
        if any(order < newest for order in known.values()):
            text = f"order {newest} was acknowledged, in force are {known}"
            found.append(Finding(NAME, calm.ended_at, text))
    return found


def orders_known(history: History, at: float) -> dict[str, Order]:
    found = {}
    for node in history.rules.nodes:
        entry = value_at(history.notes.get(node, ()), at)
        if entry is not None:
            found[node] = (entry.pause, entry.paused)
    return found


def nobody_takes_over_while_paused(history: History) -> list[Finding]:
    found = []
    for hot in history.hots:
        entry = value_at(history.notes.get(hot.node, ()), hot.start)
        if entry is not None and entry.paused and hot.reason not in BY_ORDER:
            text = f"{hot.node} became hot ({hot.reason}) although it knew of a pause"
            found.append(Finding(NAME, hot.start, text))
    return found


def pings_are_answered_by_the_owner(history: History) -> list[Finding]:
    return [
        Finding(NAME, response.at, f"{response.node} answered a ping at {request.via}")
        for request, response in acknowledged(history)
        if request.command == "ping" and response.node != request.via
    ]


def one_answer_each(history: History) -> list[Finding]:
    """Observers see each answer more than once; what it says must be one thing."""
    contents: dict[str, set[tuple[bool, str, str, str]]] = defaultdict(set)
    latest: dict[str, float] = {}
    for each in history.responses:
        contents[each.transaction].add((each.is_ok, each.code, each.hot, each.node))
        latest[each.transaction] = each.at
    return [
        Finding("one answer to a request", latest[transaction], f"{transaction}: {found}")
        for transaction, found in contents.items()
        if len(found) > 1
    ]
