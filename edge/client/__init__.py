"""For programs outside: follow a group, wherever its hot node is. See docs/clients.md."""

from edge.client.beliefs import Hot
from edge.client.errors import (
    AmbiguousGroupError,
    ClosedError,
    GroupError,
    RefusedError,
    UnreachableGroupError,
)
from edge.client.follower import Follower, Move
from edge.client.group import Change, Group
from edge.client.waiting import Stream
from edge.ports import Message

__all__ = [
    "AmbiguousGroupError",
    "Change",
    "ClosedError",
    "Follower",
    "Group",
    "GroupError",
    "Hot",
    "Message",
    "Move",
    "RefusedError",
    "Stream",
    "UnreachableGroupError",
]
