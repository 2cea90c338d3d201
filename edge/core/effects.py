"""What is to be done: the only outputs of the core. Imperatives, carried out in order."""

from dataclasses import dataclass

from edge.core.model import Link, Record, Saved


@dataclass(frozen=True, slots=True)
class Persist:
    """Must be on disk before the next effect starts."""

    saved: Saved


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a record, retained, at QoS 1, over this link."""

    link: Link
    record: Record


@dataclass(frozen=True, slots=True)
class Beat:
    """Show on every link that this node lives."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Give this connection up and make a new one: it swallowed a record."""

    link: Link


@dataclass(frozen=True, slots=True)
class StartDuty:
    """Begin what being hot means outside; DutyStarted follows."""

    term: int


@dataclass(frozen=True, slots=True)
class StopDuty:
    """End it; DutyStopped follows. The reason is for whoever is told that it ends."""

    term: int
    reason: str


@dataclass(frozen=True, slots=True)
class AskToSwitch:
    """Ask those who may object to a planned switchover; SwitchJudged follows."""

    term: int
    to: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """Something people want to know: the event topic, the log, the history. Times in seconds."""

    event: str
    reason: str
    term: int
    origin: str | None = None
    target: str | None = None
    detect: float | None = None
    elect: float | None = None
    duty: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to an order; `code` is empty when it was carried out."""

    ticket: int
    code: str
    text: str
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class Leave:
    """Everything is handed over: say good-bye and end."""


Effect = (
    Persist
    | Publish
    | Beat
    | Reconnect
    | StartDuty
    | StopDuty
    | AskToSwitch
    | Report
    | Answer
    | Leave
)
