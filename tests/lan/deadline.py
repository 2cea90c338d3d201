"""The one unit of time-outs of these tests: wait for a condition, never for a time.

EDGE_TEST_TIMEOUT_SCALE stretches every deadline on a slow machine.
"""

import os
import time
from collections.abc import Callable

SCALE = float(os.environ.get("EDGE_TEST_TIMEOUT_SCALE", "1"))
POLL_INTERVAL = 0.01


def wait_until(
    condition: Callable[[], object],
    what: str,
    timeout: float = 20.0,
    explain: Callable[[], str] = str,
) -> float:
    """Return the monotonic time at which the condition was first seen true."""
    deadline = time.monotonic() + timeout * SCALE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout * SCALE:g} s: {what}\n{explain()}")
        time.sleep(POLL_INTERVAL)
    return time.monotonic()


def holds_for(
    seconds: float,
    condition: Callable[[], object],
    what: str,
    explain: Callable[[], str] = str,
) -> None:
    """Watch that something stays true. The time is the length of the observation, not a wait."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"no longer true: {what}\n{explain()}"
        time.sleep(POLL_INTERVAL)
