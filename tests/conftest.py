"""What all tests stand on: signals as in a terminal, however the run was started."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _hears_signals() -> Iterator[None]:
    """A shell's background job ignores SIGINT, what `nohup` starts SIGHUP, and what the tests start
    would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    before_hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGHUP, before_hangup)
