"""Subscriptions with their options, shared ones, and what several of them grant together. Pure."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from broker.protocol.fields import MalformedPacketError
from broker.protocol.properties import write_subscription_ids
from broker.protocol.topics import is_valid_filter

SHARE_PREFIX: Final = "$share/"


class Subscription(NamedTuple):
    """What a client asked for with a filter: MQTT 5's options byte, and an identifier or 0."""

    options: int
    identifier: int = 0

    @property
    def qos(self) -> int:
        return self.options & 0x03

    @property
    def is_no_local(self) -> bool:
        """Its own messages do not come back to the client."""
        return bool(self.options & 0x04)

    @property
    def keeps_retain(self) -> bool:
        """Live messages have the retain flag that they were published with."""
        return bool(self.options & 0x08)

    @property
    def retain_handling(self) -> int:
        """0: hand out what is retained; 1: only if the subscription is new; 2: do not."""
        return self.options >> 4 & 3


class Grant(NamedTuple):
    """How one client gets the messages of a topic: once, whatever subscriptions match."""

    qos: int
    keeps_retain: bool = False
    identifiers: bytes = b""


def grant(subscriptions: Iterable[Subscription]) -> Grant:
    """The best of them, and the identifiers of all."""
    found = tuple(subscriptions)
    identifiers = tuple(each.identifier for each in found if each.identifier)
    return Grant(
        max(each.qos for each in found),
        any(each.keeps_retain for each in found),
        write_subscription_ids(identifiers),
    )


@dataclass(frozen=True, slots=True)
class WantedFilter:
    """A filter as a client sent it, taken apart. `share` is the name of a shared subscription."""

    topic_filter: str
    share: str = ""

    def is_valid(self, most_levels: int) -> bool:
        return is_valid_filter(self.topic_filter, most_levels)


def require_filters(texts: Iterable[str]) -> None:
    """Raises MalformedPacketError for what is no filter at all, whoever asks for it."""
    for text in texts:
        wanted = take_apart(text)
        if wanted is None or not wanted.is_valid(sys.maxsize):
            raise MalformedPacketError("this is no topic filter")


def take_apart(text: str) -> WantedFilter | None:
    """None if it is a shared subscription whose name is none."""
    if not text.startswith(SHARE_PREFIX):
        return WantedFilter(text)
    share, _, topic_filter = text[len(SHARE_PREFIX) :].partition("/")
    if not share or "+" in share or "#" in share:
        return None
    return WantedFilter(topic_filter, share)
