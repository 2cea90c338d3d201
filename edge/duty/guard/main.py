"""The guard process: messages on standard input and output, until the agent is gone."""

import os
import sys

from edge.duty.guard import leftovers, privilege
from edge.duty.guard.alone import Lock
from edge.duty.guard.channel import Channel
from edge.duty.guard.frames import Message
from edge.duty.guard.guard import Guard
from edge.duty.guard.loop import Loop
from edge.duty.guard.small import signal, suppress
from edge.duty.guard.watchdog import Watchdog, WatchdogError

# How long the guard of an earlier life may take to end by itself.
PATIENCE = 3.0


class Main:
    """Wires the loop, the channel and the signals to the guard."""

    def __init__(self, agent: int) -> None:
        self._loop = Loop()
        self._guard: Guard | None = None
        self._lock: Lock | None = None
        self._is_ending = False
        self._oom_score = privilege.oom_score()
        self._listen_to_signals()
        self._watch(agent)
        self._channel = Channel(self._loop, (0, 1), self._take, self._end)

    def run(self) -> None:
        self._loop.run()

    def _take(self, message: Message) -> None:
        if self._guard is not None:
            self._guard.carry_out(message)
        elif message.get("do") == "begin":
            self._begin(message)

    def _begin(self, message: Message) -> None:
        """Nothing of an earlier life may be left before anything new is held."""
        self._lock = Lock(message["group"], message["node"])
        why = self._lock.take(PATIENCE)
        if why:
            self._channel.say(**{"is": "refused", "why": why})
            return
        held = [(address, interface) for address, interface in message["addresses"]]
        try:
            swept = leftovers.sweep(message["group"], message["node"], held)
        except OSError as error:
            self._channel.say(**{"is": "refused", "why": f"cannot sweep: {error}"})
            return
        privilege.insist()
        watchdog, why = self._watchdog(message["watchdog"])
        if why:
            self._channel.say(**{"is": "refused", "why": why})
            return
        self._guard = Guard(self._loop, message, self._channel.say, self._oom_score)
        self._guard.watchdog = watchdog
        self._guard.output = self._pass_on
        self._channel.say(**{"is": "ready", "swept": swept})

    def _watchdog(self, wanted: Message | None) -> tuple[Watchdog | None, str]:
        """The one to use, if any; or why the guard must not begin."""
        if wanted is None:
            return None, ""
        watchdog = Watchdog(wanted["device"], wanted["timeout"])
        try:
            watchdog.try_out()
        except WatchdogError as error:
            if wanted["is_required"]:
                return None, f"the watchdog is required: {error}"
            self._channel.say(**{"is": "problem", "why": f"no watchdog: {error}"})
            return None, ""
        return watchdog, ""

    def _pass_on(self, name: str, line: str) -> bool:
        return self._channel.say_if_room(**{"is": "output", "name": name, "line": line})

    def _end(self) -> None:
        """The agent closed the pipe, or is gone: the same, and only once."""
        if self._is_ending:
            return
        self._is_ending = True
        if self._guard is None:
            self._loop.stop()
        else:
            self._guard.agent_is_gone(self._loop.stop)

    def _watch(self, agent: int) -> None:
        """Its end is seen even while a child of its holds the pipe open."""
        try:
            descriptor = os.pidfd_open(agent)
        except (OSError, AttributeError):
            return

        def gone() -> None:
            self._loop.remove(descriptor)
            self._end()

        self._loop.add(descriptor, gone)

    def _listen_to_signals(self) -> None:
        """A stop of the whole service is the agent's business; we go when it goes."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        readable, written = os.pipe()
        for each in (readable, written):
            os.set_blocking(each, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noted)

        def ended() -> None:
            with suppress(BlockingIOError):
                os.read(readable, 4096)
            if self._guard is not None:
                self._guard.reap()

        self._loop.add(readable, ended)


def _noted(_number: int, _frame: object) -> None:
    """The wake-up descriptor has it."""


def main() -> None:
    """The last argument is the agent's process id."""
    Main(int(sys.argv[-1])).run()
