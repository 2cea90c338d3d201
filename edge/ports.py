"""What the agent needs of the world, where the world has more than one shape: real or recorded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge.core.model import Link, Role


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


class Duty(Protocol):
    """What being hot means outside. Requests only; what comes of them comes back as events:
    DutyStarted, DutyStopped, FitnessChanged, SwitchJudged."""

    @property
    def is_real(self) -> bool:
        """Whether anything happens outside at all."""

    def start(self, term: int, reason: str) -> None: ...

    def stop(self, term: int, reason: str, *, at_once: bool) -> None:
        """In order, or `at_once` because the lease is gone."""

    def extend(self, term: int, deadline: float) -> None:
        """The duty may go on until this instant of the monotonic clock."""

    def ask_to_switch(self, term: int, to: str | None) -> None: ...

    def set_role(self, role: Role, term: int, reason: str) -> None:
        """For what runs on a node that is not hot."""

    def on_alert(self, name: str, sentence: str | None) -> None:
        """An alert of the group began, changed, or (None) ended."""

    def take_steps(self) -> list[tuple[str, float]]:
        """What was done since the last call: each step, and its milliseconds."""
