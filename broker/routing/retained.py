"""The last retained message of each topic: kept, cleared, expired, handed out. Pure."""

import math
from collections.abc import Iterator

from broker.protocol.topics import RetainedStore
from broker.routing.agenda import Agenda
from broker.routing.messages import Message
from broker.settings import Limits


class Retained:
    """`serial` grows with each message that asked for it, `was_kept` tells of the last one."""

    def __init__(self, limits: Limits, agenda: Agenda) -> None:
        self.serial = 0
        self.was_kept = True
        self.store: RetainedStore[Message] = RetainedStore(
            limits.retained_messages, limits.retained_bytes, _cost
        )
        self._agenda = agenda

    def keep(self, message: Message, *, always: bool) -> bool:
        """An empty one clears its topic. False if there is no room, which `always` there is."""
        self.serial += 1
        message.serial = self.serial
        self.was_kept = True
        if message.payload:
            self.was_kept = self.store.put(message, always=always)
        else:
            self.store.clear(message.topic)
        key = ("retained", message.topic)
        if message.expires_at < math.inf and message.payload and self.was_kept:
            self._agenda.set(key, message.expires_at, lambda: self.store.clear(message.topic))
        else:
            self._agenda.cancel(key)
        return self.was_kept

    def walk(self, topic_filter: str) -> Iterator[Message | None]:
        """Step by step, while it may change."""
        return self.store.walk(topic_filter)


def _cost(message: Message) -> int:
    """The topic is there as text and as bytes."""
    return message.cost() + 2 * len(message.encoded_topic)
