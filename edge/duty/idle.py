"""The duty of a node whose file names none: everything is done as soon as it is asked for."""

from collections.abc import Callable

from edge.core.events import DutyStarted, DutyStopped, Event, SwitchJudged
from edge.core.model import Role


def _nobody(*_: object) -> None:
    raise AssertionError("attach comes before the first request")


class IdleDuty:
    """See edge.ports.Duty."""

    is_real = False

    def __init__(self) -> None:
        self._tell: Callable[[Event], None] = _nobody

    def attach(self, tell: Callable[[Event], None], alert: Callable[..., None] = _nobody) -> None:
        del alert
        self._tell = tell

    async def open(self) -> None:
        """There is no guard to start."""

    async def run(self) -> None:
        """There is no guard to replace."""

    async def close(self) -> None:
        """There is nothing to end."""

    def start(self, term: int, reason: str) -> None:
        del reason
        self._tell(DutyStarted(term))

    def stop(self, term: int, reason: str, *, at_once: bool) -> None:
        del reason, at_once
        self._tell(DutyStopped(term))

    def extend(self, term: int, deadline: float) -> None:
        """Nothing has a deadline."""

    def ask_to_switch(self, term: int, to: str | None) -> None:
        del to
        self._tell(SwitchJudged(term, ""))

    def set_role(self, role: Role, term: int, reason: str) -> None:
        """Nobody is told."""

    def on_alert(self, name: str, sentence: str | None) -> None:
        """Nobody is told."""

    def take_steps(self) -> list[tuple[str, float]]:
        return []
