"""What the agent needs of the world, where the world has more than one shape: real or recorded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge.core.model import Link


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT publication."""

    topic: str
    payload: bytes
    retained: bool = False
    qos: int = 1


class Path(Protocol):
    """One network path to one broker, for the life of the node; see edge.adapters.links."""

    @property
    def link(self) -> Link: ...

    @property
    def session(self) -> str | None:
        """The session that is connected now, or None."""

    @property
    def is_subscribed(self) -> bool:
        """Whether the broker has handed out what it retains to this session."""

    def publish(self, message: Message) -> None:
        """Send if the path is up. Whoever needs certainty looks for the echo."""

    def give_up(self, reason: str) -> None:
        """Drop this connection and make a new one."""

    def ask_again(self, topic_filter: str, then: Callable[[], None]) -> None:
        """Have what is retained under a subscribed filter handed out again, then call `then`."""
