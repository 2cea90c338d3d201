"""The processes that the guard holds, each with all that it ever started, until nothing is left."""

import os
import time
from _collections_abc import Callable, Iterable
from math import inf

from edge.duty.guard import cgroup, spawning, tree
from edge.duty.guard.loop import Loop, Timer
from edge.duty.guard.output import Output
from edge.duty.guard.small import signal, suppress
from edge.duty.guard.spawning import Plan

# How soon the end of the last process is noticed, and how often SIGKILL is repeated.
POLL_INTERVAL = 0.01
# After a look that found nobody gone, others have so many times as long as it took: the guard goes
# ahead of all ordinary processes, also of a thousand that are dying.
REST = 3.0
LONGEST_REST = 0.2
STRAY = ""
CALLED_OFF = "it was ended while it started"


class Process:
    """One process by its name; `pid` is None once the process itself has exited."""

    __slots__ = (
        "cgroup",
        "grace",
        "is_guarded",
        "is_started",
        "keeps_stdin",
        "kill_at",
        "name",
        "output",
        "pid",
        "plan",
        "session",
        "status",
        "stdin",
        "thens",
        "told",
        "trouble",
    )

    def __init__(
        self, name: str, plan: Plan, grace: float, *, is_guarded: bool, keeps_stdin: bool
    ) -> None:
        self.name = name
        self.keeps_stdin = keeps_stdin
        self.plan = plan
        self.grace = grace
        self.is_guarded = is_guarded
        self.cgroup = plan.cgroup
        self.pid: int | None = None
        self.session = 0
        self.is_started = False
        self.status: int | None = None
        self.kill_at: float | None = None
        self.output: Output | None = None
        self.stdin = -1
        self.trouble = -1
        self.thens: list[Callable[[], None]] = []
        self.told: set[int] = set()  # who was there when it was ended in order


class Reports:
    """What is told to whoever started a process."""

    __slots__ = ("exited", "failed", "output", "started")

    def __init__(
        self,
        started: Callable[[Process], None],
        failed: Callable[[Process, str], None],
        exited: Callable[[Process], None],
        output: Callable[[str, str], bool],
    ) -> None:
        self.started = started
        self.failed = failed
        self.exited = exited
        self.output = output


class Processes:
    """All of them, by name, in the order of their start."""

    def __init__(self, loop: Loop, mark_start: str) -> None:
        self._loop = loop
        self._mark_start = mark_start
        self._held: dict[str, Process] = {}
        self._reports: dict[str, Reports] = {}
        self._timer: Timer | None = None
        self._rests_until = 0.0
        self._may_have_strays = False
        self._names: dict[int, str] = {}  # whose each process id was when we last looked

    def get(self, name: str) -> Process | None:
        return self._held.get(name)

    def all(self) -> list[Process]:
        """The last one first: the order in which they end."""
        return list(reversed(self._held.values()))

    def start(self, process: Process, reports: Reports) -> None:
        process.plan.env[tree.MARK] = self._mark_start + process.name
        try:
            started = spawning.start(process.plan)
        except OSError as error:  # a machine that has no room for one more
            reports.failed(process, os.strerror(error.errno or 0))
            self._leave(process)
            return
        process.pid = process.session = started.pid
        process.stdin = started.stdin
        process.trouble = started.trouble
        if not process.keeps_stdin:
            self._close_stdin(process)
        self._may_have_strays |= process.cgroup is None
        self._held[process.name] = process
        self._reports[process.name] = reports
        name = process.name
        process.output = Output(self._loop, started.output, lambda line: reports.output(name, line))
        self._loop.add(started.trouble, lambda: self._hear_trouble(process))

    def say(self, name: str, line: bytes) -> None:
        """Lost if the process does not read: a pipe holds 64 KB."""
        process = self._held.get(name)
        if process is not None and process.stdin >= 0:
            with suppress(OSError):
                os.write(process.stdin, line)

    def end(self, process: Process, kill_at: float, then: Callable[[], None]) -> None:
        """SIGTERM to all of it now, SIGKILL at the instant; `then` once nothing is left."""
        if process.kill_at is None and kill_at > time.monotonic():
            process.told = set(self._pids(process))
        process.thens.append(then)
        self.end_all([process], lambda _: kill_at)

    def end_all(self, ending: list[Process], kill_at: Callable[[Process], float]) -> None:
        """In this order. Whole sessions first, as that takes no time; then whoever left them."""
        new = [each for each in ending if each.kill_at is None]
        for process in new:
            if process.pid is not None and not _send(-process.pid, signal.SIGTERM):
                _send(process.pid, signal.SIGTERM)  # it has no session of its own yet
        for process in ending:
            process.kill_at = min(kill_at(process), process.kill_at or inf)
        members = self._members() if any(each.cgroup is None for each in new) else {}
        for process in new:
            for pid in _pids(process, members):
                if process.pid is None or _session(pid) != process.pid:
                    _send(pid, signal.SIGTERM)
        self._look_at(time.monotonic())

    def reap(self) -> None:
        """After SIGCHLD: our own children, and the orphans that we adopted."""
        for pid, status in _ended_children():
            for process in list(self._held.values()):
                if process.pid == pid:
                    self._exited(process, os.waitstatus_to_exitcode(status))
        self._look_at(max(time.monotonic(), self._rests_until))

    def kill_strays(self) -> bool:
        """Those who got away without a trace of whose they are: no mark, no control group.

        False if there are none. Nobody gets out of a control group, so with them nobody is sought.
        """
        self._look()  # those who are due do not wait for the search
        if not self._may_have_strays:
            return False
        strays = self._members().get(STRAY, [])
        for pid in strays:
            _send(pid, signal.SIGKILL)
        return bool(strays)

    def _pids(self, process: Process) -> Iterable[int]:
        return _pids(process, self._members() if process.cgroup is None else {})

    def _tell_orphans(self, process: Process) -> None:
        """Who was started after the SIGTERM and left behind has not heard it, and nobody else
        will tell him. Those who still end in order, and what they start, are left in peace."""
        for pid in self._pids(process):
            if pid not in process.told and tree.parent_of(pid) == os.getpid():
                _send(pid, signal.SIGTERM)

    def _close_stdin(self, process: Process) -> None:
        if process.stdin >= 0:
            os.close(process.stdin)
            process.stdin = -1

    def _hear_trouble(self, process: Process) -> None:
        try:
            text = os.read(process.trouble, 100).decode()
        except BlockingIOError:
            return
        self._loop.remove(process.trouble)
        os.close(process.trouble)
        process.trouble = -1
        reports = self._reports[process.name]
        if text:
            process.kill_at = time.monotonic()
            reports.failed(process, spawning.in_words(process.plan, text))
        elif process.kill_at is None:
            process.is_started = True
            reports.started(process)
        else:
            reports.failed(process, CALLED_OFF)

    def _exited(self, process: Process, status: int) -> None:
        if process.trouble >= 0:
            self._hear_trouble(process)
        process.pid = None
        process.status = status
        if process.is_started and process.output is not None:
            process.output.drain()
        if process.told:
            self._tell_orphans(process)
        if process.is_started:
            self._reports[process.name].exited(process)

    def _look_at(self, at: float) -> None:
        if self._timer is not None and self._timer.call is not None:
            if self._timer.at <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.at(at, self._look)

    def _look(self) -> None:
        """Kill what is due, forget what is gone, come again while something is ending.

        A process that exited by itself is only forgotten once its descendants are gone too.
        """
        now = time.monotonic()
        over = [each for each in self._held.values() if each.pid is None or each.kill_at]
        due = [each for each in over if each.kill_at and now >= each.kill_at]
        for process in due:
            _kill_at_once(process)
        is_needed = any(each.cgroup is None and (each.pid is None or each in due) for each in over)
        members = self._members() if is_needed else {}
        for process in due:
            for pid in members.get(process.name, ()):
                _send(pid, signal.SIGKILL)
        is_anybody_gone = self._forget_gone([each for each in over if each.pid is None], members)
        took = time.monotonic() - now
        rest = 0.0 if is_anybody_gone else min(REST * took, LONGEST_REST)
        self._rests_until = now + took + rest
        self._come_again()

    def _forget_gone(self, exited: list[Process], members: dict[str, list[int]]) -> bool:
        gone = [each for each in exited if not _has_members(each, members)]
        if any(each.cgroup is None for each in gone):
            members = self._members(surely_all=True)
            gone = [each for each in gone if not _has_members(each, members)]
        for process in gone:
            if self._held.get(process.name) is process:  # whoever waited for one may look, too
                self._forget(process)
        return bool(gone)

    def _come_again(self) -> None:
        """Who is due is killed in time, whoever rests."""
        now = time.monotonic()
        instants = [each.kill_at for each in self._held.values() if each.kill_at is not None]
        if instants:
            next_look_at = max(now + POLL_INTERVAL, self._rests_until)
            self._look_at(min([next_look_at, *(at for at in instants if at > now)]))

    def _forget(self, process: Process) -> None:
        del self._held[process.name]
        del self._reports[process.name]
        if process.output is not None:
            process.output.finish()
        self._close_stdin(process)
        self._leave(process)

    def _leave(self, process: Process) -> None:
        """Nothing of it is left, or ever was."""
        if process.cgroup is not None:
            cgroup.remove(process.cgroup)
        for then in process.thens:
            then()

    def _members(self, *, surely_all: bool = False) -> dict[str, list[int]]:
        """Everybody below us, by the name of the process that they come from.

        Who is just dying has no mark any more; he is still whose he was when we last looked.
        """
        sessions = {each.session: each.name for each in self._held.values()}
        names: dict[int, str] = {}
        found: dict[str, list[int]] = {}
        own = os.getsid(0)
        for entry in tree.descendants(os.getpid(), surely_all=surely_all):
            if entry.session == own:  # a fork of ours that is not a program yet
                continue
            name = sessions.get(entry.session) or names.get(entry.parent) or self._marked(entry.pid)
            names[entry.pid] = name = name or self._formerly(entry.pid)
            found.setdefault(name, []).append(entry.pid)
        self._names = names
        return found

    def _formerly(self, pid: int) -> str:
        name = self._names.get(pid, STRAY)
        return name if name in self._held else STRAY

    def _marked(self, pid: int) -> str:
        mark = tree.mark_of(pid)
        name = mark.removeprefix(self._mark_start)
        return name if name != mark and name in self._held else STRAY


def _kill_at_once(process: Process) -> None:
    if process.cgroup is not None and not cgroup.kill(process.cgroup):
        for pid in cgroup.processes(process.cgroup):
            _send(pid, signal.SIGKILL)
    if process.pid is not None:
        _send(-process.pid, signal.SIGKILL)
        _send(process.pid, signal.SIGKILL)


def _has_members(process: Process, members: dict[str, list[int]]) -> bool:
    if process.cgroup is not None:
        return not cgroup.is_empty(process.cgroup)
    return bool(members.get(process.name))


def _pids(process: Process, members: dict[str, list[int]]) -> Iterable[int]:
    if process.cgroup is not None:
        return cgroup.processes(process.cgroup)
    return members.get(process.name, ())


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _send(pid: int, number: int) -> bool:
    with suppress(OSError):
        os.kill(pid, number)
        return True
    return False


def _ended_children() -> list[tuple[int, int]]:
    ended = []
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended.append((pid, status))
    return ended
