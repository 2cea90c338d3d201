"""What the observers at the brokers saw, as the checks want it: words, events, responses."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.campaign.history import Late, Response, Told, Word
from tests.lan.checker import parse
from tests.lan.group import OUTSIDE
from tests.lan.groupfile import GROUP
from tests.lan.observer import Delivered, Entry

TOPICS = (
    "edge/+/hot",
    "edge/+/state",
    "edge/+/event",
    "edge/+/node/+/state",
    "edge/+/response/+",
)
PREFIX = f"edge/{GROUP}/"


def words(entries: Iterable[Entry]) -> list[Word]:
    """Seen from inside the node's own machine only, so that a cut does not hide them."""
    return [
        Word(each.at, each.via, each.payload.decode(errors="replace"))
        for each in _on(entries, "hot")
        if not each.via.endswith(OUTSIDE)
    ]


def told(entries: Iterable[Entry]) -> list[Told]:
    found = []
    for each in _on(entries, "event"):
        body = parse(each.payload)
        term, to = body.get("term"), body.get("to")
        if isinstance(term, int) and isinstance(to, str):
            found.append(Told(each.at, each.via, str(body.get("event")), to, term))
    return found


def responses(entries: Iterable[Entry]) -> list[Response]:
    return [
        _response(each, parse(each.payload))
        for each in entries
        if isinstance(each, Delivered) and each.topic.startswith(f"{PREFIX}response/")
    ]


def late(notes: Path) -> list[Late]:
    """What the sentinel wrote; its last line may be half a line."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    pairs = [line.split() for line in lines]
    return [Late(float(pair[0]), float(pair[1])) for pair in pairs if len(pair) == 2]


def _on(entries: Iterable[Entry], topic: str) -> Iterator[Delivered]:
    for each in entries:
        if isinstance(each, Delivered) and each.topic == PREFIX + topic:
            yield each


def _response(message: Delivered, body: dict[str, object]) -> Response:
    data = body.get("data")
    data = data if isinstance(data, dict) else {}
    return Response(
        at=message.at,
        via=message.via.removesuffix(OUTSIDE),
        command=message.topic.rpartition("/")[2],
        transaction=str(body.get("transaction")),
        is_ok=body.get("status") == "ok",
        code=str(body.get("code", "")),
        hot=str(data.get("hot", "")),
        term=int(data.get("term", 0)),
        node=str(data.get("node", "")),
    )
