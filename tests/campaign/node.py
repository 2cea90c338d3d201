"""A node of the campaign: `edge` itself, whose agent also writes down what its core allows.

python -m tests.campaign.node LEDGER run --config FILE --node NAME. Before any effect of a step
goes out, and after each step, the instant until which outputs are allowed stands in the ledger.
It is written with one system call, so it survives the process's death.
"""

import os
import select
import sys
import time

import orjson

from edge import cli
from edge.agent import Agent
from edge.core import lease
from edge.core.effects import Effect
from edge.core.events import Event
from edge.core.state import State, views_of

LATE_WORTH_NOTING = 0.03


class Pen:
    """Appends to the ledger whatever differs from its last line."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._last: tuple[object, ...] = ()
        self._write({"life": os.getpid(), "at": time.monotonic()})

    def note(self, state: State, late: float = 0.0) -> None:
        until = lease.acts_until(state)
        tenure = state.tenure
        value = (
            until if until > state.now else 0.0,
            tenure.term if tenure else 0,
            tenure.reason if tenure else "",
            state.pause.counter,
            state.pause.is_on,
            sum(bool(views_of(state, broker)) for broker in state.group.brokers),
        )
        if value == self._last and late < LATE_WORTH_NOTING:
            return
        self._last = value
        names = ("until", "term", "reason", "pause", "paused", "connected")
        entry = dict(zip(names, value, strict=True))
        self._write({"at": state.now, **entry, "late": max(0.0, late)})

    def _write(self, line: dict[str, object]) -> None:
        os.write(self._file, orjson.dumps(line) + b"\n")


def attach(pen: Pen) -> None:
    """Look over the agent's shoulder: it does what it always does, and everything is noted."""
    tell, carry_out = Agent.tell, Agent._carry_out

    def noting_tell(self: Agent, event: Event) -> None:
        # Before its first event an agent waits for its broker: that is no delay.
        late = time.monotonic() - self.state.wakeup_at if self._timer is not None else 0.0
        tell(self, event)
        pen.note(self.state, late)

    def noting_carry_out(self: Agent, effect: Effect) -> None:
        pen.note(self.state)
        carry_out(self, effect)

    Agent.tell = noting_tell  # type: ignore[method-assign]
    Agent._carry_out = noting_carry_out  # type: ignore[method-assign]


def sleep(seconds: float) -> None:
    """Instead of `time.sleep`: libfaketime refuses to sleep until an instant of the monotonic
    clock, which is how Python does it (EINVAL)."""
    select.select((), (), (), seconds)


def main() -> None:
    time.sleep = sleep  # type: ignore[assignment]
    attach(Pen(sys.argv.pop(1)))
    cli.main()


if __name__ == "__main__":
    main()
