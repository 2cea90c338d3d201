"""What the limits refused: every time counted, one line for each client and limit. Pure."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from broker.protocol.reasons import ReasonCode

# Clients and limits that have had their line; beyond that some get another one.
REMEMBERED: Final = 4096


class Limit(StrEnum):
    """Named as in the settings, but for the two rates, which are one here, and the pace."""

    CONNECTIONS = "connections"
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    RATE = "rate"
    PACE = "pace"  # of those that read what a client sends
    PACKET_SIZE = "packet_size"
    QUEUE = "queue"
    SEND_BUFFER = "send_buffer"
    SUBSCRIPTIONS = "subscriptions"
    RETAINED = "retained"
    TOPICS = "topics"
    RECEIVE_MAXIMUM = "receive_maximum"


# What a client does that is closed with these reason codes.
CLOSING: Final = {
    ReasonCode.PACKET_TOO_LARGE: Limit.PACKET_SIZE,
    ReasonCode.TOPIC_NAME_INVALID: Limit.TOPICS,
    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED: Limit.RECEIVE_MAXIMUM,
}


class Refusals:
    """The counts are published under `$SYS`."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.counts = dict.fromkeys(Limit, 0)
        self._report = report
        self._told: set[tuple[str, Limit]] = set()

    def note(self, limit: Limit, client: str, sentence: str) -> None:
        """`client` is its id, or its address as long as it has none."""
        self.counts[limit] += 1
        key = (client, limit)
        if key in self._told:
            return
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told.add(key)
        self._report(f"{client}: {sentence} (limit {limit}; said once)")
