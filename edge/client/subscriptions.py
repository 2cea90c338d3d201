"""What a follower is subscribed to: the same everywhere, and asked for again after each connect."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge.adapters.mqtt import Disconnected, Refused
from edge.client.line import Line

log = logging.getLogger("edge.client")


@dataclass(slots=True, eq=False)
class Side:
    """One address: what is granted there, and what was asked for."""

    line: Line
    granted: set[str] = field(default_factory=set)
    asked: dict[int, str] = field(default_factory=dict)

    def forget(self) -> None:
        self.granted.clear()
        self.asked.clear()


class Subscriptions:
    """The filters, and why one was not granted."""

    def __init__(self, sides: list[Side]) -> None:
        self._sides = sides
        self._filters: set[str] = set()
        self.refused: dict[str, str] = {}

    def add(self, *filters: str) -> None:
        for each in filters:
            self.refused.pop(each, None)  # of an earlier attempt
        self._filters.update(filters)
        for side in self._sides:
            _ask(side, filters)

    def drop(self, *filters: str) -> None:
        self._filters.difference_update(filters)
        for side in self._sides:
            side.granted.difference_update(filters)
            side.line.unsubscribe(*filters)

    def up(self, side: Side) -> None:
        side.forget()
        _ask(side, tuple(self._filters))

    def down(self, side: Side, event: Refused | Disconnected) -> None:
        """What one broker does not grant comes from none: from half of them would be worse."""
        refused = side.asked.get(event.request) if isinstance(event, Refused) else None
        if refused is not None:
            log.warning("no subscription to %s: %s: %s", refused, side.line.address, event.reason)
            self.refused[refused] = event.reason
            self.drop(refused)
        side.forget()

    def granted(self, side: Side, request: int) -> None:
        found = side.asked.pop(request, None)
        if found in self._filters:
            side.granted.add(found)

    def are_settled(self, filters: Iterable[str]) -> bool:
        """Granted by every broker that is connected, or one of them refused by one."""
        if any(each in self.refused for each in filters):
            return True
        up = [each for each in self._sides if each.line.is_up]
        return bool(up) and all(each.granted.issuperset(filters) for each in up)

    def ready(self) -> frozenset[str]:
        """The addresses where everything is granted."""
        return frozenset(
            each.line.address
            for each in self._sides
            if each.line.is_up and each.granted >= self._filters
        )


def _ask(side: Side, filters: Iterable[str]) -> None:
    """One by one: a broker that refuses one of several must not cost the others."""
    for each in filters:
        request = side.line.subscribe(each)
        if request:
            side.asked[request] = each
