"""What is kept on disk, as changes: one value for each thing that can happen, bytes and back. Pure.

Each value has its numbers first and then its texts, all as bytes; so one table of formats is all
that the encoding needs. Sessions and messages have numbers, which are never used again.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

# In place of a duration: without end.
FOR_EVER: Final = 0xFFFFFFFF


class UnreadableError(Exception):
    """These bytes are not what this version writes."""


class Stored(NamedTuple):
    """A message. It expires `seconds` after the wall clock's second `at`, if not FOR_EVER."""

    number: int
    qos: int
    is_retained: bool
    seconds: int
    at: int
    topic: bytes
    payload: bytes
    forwarded: bytes


class Cleared(NamedTuple):
    """Nothing is retained under this topic any more."""

    topic: bytes


class Began(NamedTuple):
    """A session, with nothing in it: whatever was known of this number is void."""

    session: int
    is_5: bool
    has_user: bool
    seconds: int
    client_id: bytes
    user: bytes


class Resumed(NamedTuple):
    """Its client is connected, perhaps with other terms."""

    session: int
    is_5: bool
    seconds: int


class Left(NamedTuple):
    """Its client went away when the wall clock showed `at`; it ends `seconds` later."""

    session: int
    seconds: int
    at: int


class Ended(NamedTuple):
    session: int


class Subscribed(NamedTuple):
    session: int
    options: int
    identifier: int
    text: bytes


class Unsubscribed(NamedTuple):
    session: int
    text: bytes


class Queued(NamedTuple):
    """A message is on its way to a client; the packet id says which one it is there.

    `group` is the shared subscription through which it came, if it did.
    """

    session: int
    packet_id: int
    message: int
    qos: int
    retain: bool
    identifiers: bytes
    group: bytes


class Received(NamedTuple):
    """The client has it, at QoS 2: it is never sent again, its id is to be released."""

    session: int
    packet_id: int


class Done(NamedTuple):
    """The client has it, and the id is free."""

    session: int
    packet_id: int


class Incoming(NamedTuple):
    """A QoS 2 message came from the client under this id and must not count twice."""

    session: int
    packet_id: int


class Released(NamedTuple):
    """The client may use this id again."""

    session: int
    packet_id: int


class WillWaits(NamedTuple):
    """A will that is published `seconds` after `at`; its properties as in a CONNECT."""

    session: int
    qos: int
    retain: bool
    seconds: int
    at: int
    topic: bytes
    payload: bytes
    properties: bytes


class WillGone(NamedTuple):
    session: int


class Complete(NamedTuple):
    """All that is alive stands in this file: older files are not needed any more."""


Change = (
    Stored
    | Cleared
    | Began
    | Resumed
    | Left
    | Ended
    | Subscribed
    | Unsubscribed
    | Queued
    | Received
    | Done
    | Incoming
    | Released
    | WillWaits
    | WillGone
    | Complete
)

# Kind, its letter, the format of the numbers (a session is I, a message Q, a packet id H), and how
# many texts follow.
_TABLE: Final[tuple[tuple[type[Change], bytes, str, int], ...]] = (
    (Stored, b"M", "QB?II", 3),
    (Cleared, b"c", "", 1),
    (Began, b"B", "I??I", 2),
    (Resumed, b"R", "I?I", 0),
    (Left, b"L", "III", 0),
    (Ended, b"E", "I", 0),
    (Subscribed, b"S", "IBI", 1),
    (Unsubscribed, b"U", "I", 1),
    (Queued, b"Q", "IHQB?", 2),
    (Received, b"r", "IH", 0),
    (Done, b"D", "IH", 0),
    (Incoming, b"I", "IH", 0),
    (Released, b"i", "IH", 0),
    (WillWaits, b"W", "IB?II", 3),
    (WillGone, b"w", "I", 0),
    (Complete, b"Z", "", 0),
)


class _Format(NamedTuple):
    kind: type[Change]
    letter: bytes
    head: struct.Struct
    size: int  # of the letter and the head
    numbers: int


def _format(kind: type[Change], letter: bytes, numbers: str, texts: int) -> _Format:
    head = struct.Struct(f"<{numbers}{'I' * texts}")
    return _Format(kind, letter, head, 1 + head.size, len(numbers))


_FORMATS: Final = tuple(_format(*each) for each in _TABLE)
_BY_KIND: Final = {each.kind: each for each in _FORMATS}
_BY_LETTER: Final = {each.letter[0]: each for each in _FORMATS}
# What `kind(*values)` does, at a third of the time; a start reads a hundred thousand of them.
_make: Final[Callable[[type[Change], Iterable[Any]], Change]] = tuple.__new__


def encode(change: Change) -> bytes:
    form = _BY_KIND[type(change)]
    values: tuple[Any, ...] = change
    texts = values[form.numbers :]
    head = form.head.pack(*values[: form.numbers], *map(len, texts))
    return b"".join((form.letter, head, *texts))


def decode(data: bytes) -> list[Change]:
    """The changes of one transaction. Raises UnreadableError."""
    changes = []
    start, end = 0, len(data)
    while start < end:
        form = _BY_LETTER.get(data[start])
        if form is None or start + form.size > end:
            raise UnreadableError
        kind, _, head, size, numbers = form
        values: list[Any] = list(head.unpack_from(data, start + 1))
        start += size
        for place in range(numbers, len(values)):  # each length makes room for its text
            begin, start = start, start + values[place]
            values[place] = data[begin:start]
        if start > end:
            raise UnreadableError
        changes.append(_make(kind, values))
    return changes
