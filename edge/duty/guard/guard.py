"""What the guard holds, and the one way in which it lets go (docs/duty.md, Guard)."""

import os
import time
from _collections_abc import Callable, Mapping
from math import ceil

from edge.duty.guard import cgroup, tree
from edge.duty.guard.addresses import Addresses
from edge.duty.guard.dead_man import Deadline
from edge.duty.guard.frames import Message
from edge.duty.guard.loop import Loop
from edge.duty.guard.probe import Manner
from edge.duty.guard.processes import CALLED_OFF, Process, Processes, Reports
from edge.duty.guard.spawning import Plan
from edge.duty.guard.watchdog import Watchdog, WatchdogError

# What is left of the lease when the last process is killed and the addresses are gone.
LAST = 0.01
# Grace of what is not guarded when the agent is gone: its successor waits for us.
UNGUARDED_GRACE = 2.0
FAREWELL = "farewell."
STRAYS_INTERVAL = 0.002


class Guard:
    """Carries out the agent's lines; lets go when the deadline nears or the agent is gone."""

    def __init__(self, loop: Loop, begin: Message, say: Callable[..., object], oom: str) -> None:
        self._loop = loop
        self._say = say
        self._oom_score = oom
        self._lease = float(begin["lease"])
        self._gone_grace = float(begin["gone_grace"])
        group, node = begin["group"], begin["node"]
        manner = Manner(begin["probes"], begin["probe_wait"], begin["probe_patience"])
        self._addresses = Addresses(loop, max(1, ceil(self._lease)), manner)
        self._processes = Processes(loop, tree.mark(group, node, begin["boot"], ""))
        self._cgroup = cgroup.folder(group, node) if begin["with_cgroups"] else None
        self._cgroup_count = 0
        self._farewells: dict[str, Message] = {}
        self._waiting: dict[str, Message] = {}  # starts, for the end of the name's last life
        self._deadline = Deadline(loop, self._needs, self._deadline_passed)
        self._why = ""
        self._began_at = 0.0
        self._pending = 0
        self._then: list[Callable[[], None]] = []
        self._problems: list[str] = []
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_")}
        self.output: Callable[[str, str], bool] = lambda _name, _line: False
        self.watchdog: Watchdog | None = None
        self._watchdog_trouble = ""

        self._orders: dict[str, Callable[[Message], None]] = {
            "ping": self._ping,
            "extend": self._extend,
            "hold_address": self._hold_address,
            "drop_address": self._drop_address,
            "spawn": self._spawn,
            "end": self._end,
            "set_guarded": self._set_guarded,
            "tell": self._tell,
            "farewell": self._hold_farewell,
            "drop_farewell": self._drop_farewell,
            "withdraw": self._withdraw,
        }

    def carry_out(self, message: Message) -> None:
        """One line of the agent."""
        self._orders[message["do"]](message)

    def reap(self) -> None:
        self._processes.reap()

    def agent_is_gone(self, then: Callable[[], None]) -> None:
        """Everything ends, also what is not guarded; `then` once nothing is left."""

        def clear_up() -> None:
            if self._cgroup is not None:
                cgroup.remove(self._cgroup)
            then()

        self._pending += 1
        self._call_off(list(self._waiting))
        self._let_go("agent_gone", clear_up)
        unguarded = [each for each in self._processes.all() if _ends_with_agent(each)]
        now = time.monotonic()
        self._end_all(unguarded, lambda each: now + min(each.grace, UNGUARDED_GRACE))
        self._one_less()

    def _deadline_passed(self) -> None:
        """Of a duty that ended by order, nothing is left and nobody needs to be told."""
        if self._is_idle():
            self._deadline.end()
        else:
            self._let_go("deadline")

    def _is_idle(self) -> bool:
        return not (self._farewells or self._addresses.is_any_held() or self._guarded())

    def _feed_watchdog(self) -> str:
        """Arm it before the first thing is held, feed it with each new deadline. What is still
        held when the deadlines end is ended by the reset of the machine."""
        if self.watchdog is None:
            return ""
        try:
            self.watchdog.arm()
        except WatchdogError as error:
            return str(error)
        return ""

    def _disarm_watchdog(self) -> None:
        if self.watchdog is not None and not self._why and self._is_idle():
            self.watchdog.disarm()

    def _guarded(self) -> list[Process]:
        return [each for each in self._processes.all() if each.is_guarded]

    def _needs(self) -> float:
        longest = max((each.grace for each in self._guarded()), default=0.0)
        return LAST + min(longest, self._lease / 2)

    def _extend(self, message: Message) -> None:
        """Also while letting go: what is ending has its instants already, and the next term's
        duty begins right afterwards."""
        is_ours = self._deadline.extend(message["term"], message["deadline"])
        if is_ours and not self._why:
            self._addresses.refresh(self._deadline.at)
            if not self._is_idle():
                self._note_watchdog(self._feed_watchdog())
        self._ping(message)

    def _note_watchdog(self, why: str) -> None:
        """What is held goes on without it: a device that has gone resets nothing. Said once."""
        if why and why != self._watchdog_trouble:
            self._say(**{"is": "problem", "why": f"the watchdog fails: {why}"})
        self._watchdog_trouble = why

    def _ping(self, message: Message) -> None:
        self._say(**{"is": "alive", "n": message["n"]})

    def _hold_address(self, message: Message) -> None:
        if not self._may_hold(message):
            return
        self._addresses.hold(
            message["address"],
            message["interface"],
            lambda: self._deadline.at,
            lambda why: self._answer(message, why),
        )

    def _drop_address(self, message: Message) -> None:
        self._answer(message, self._addresses.drop(message["address"], message["interface"]))

    def _tell(self, message: Message) -> None:
        self._processes.say(message["name"], message["line"].encode() + b"\n")

    def _drop_farewell(self, message: Message) -> None:
        self._farewells.pop(message["name"], None)
        self._answer(message)

    def _withdraw(self, message: Message) -> None:
        self._let_go("asked", lambda: self._answer(message))

    def _may_hold(self, message: Message) -> bool:
        if self._why:
            self._withhold(message, "the former duty is still ending")
        elif not self._deadline.is_ahead():
            self._withhold(message, "the lease does not last long enough to hold anything")
        elif why := self._feed_watchdog():
            self._answer(message, why)
        else:
            return True
        return False

    def _hold_farewell(self, message: Message) -> None:
        if self._may_hold(message):
            self._farewells[message["name"]] = message
            self._answer(message)

    def _spawn(self, message: Message) -> None:
        old = self._processes.get(message["name"])
        if message["guarded"] and not self._may_hold(message):
            return
        if old is None:
            self._start(self._new_process(message, message["name"]), message)
        elif old.pid is not None and old.kill_at is None:
            self._answer(message, f"{message['name']} is running already")
        else:
            self._spawn_after(old, message)

    def _spawn_after(self, old: Process, message: Message) -> None:
        """Something of its former life is still there. Until that is gone, the start can be called
        off: an order to end it comes later, and counts."""
        name = old.name
        if name in self._waiting:
            self._answer(message, f"{name} is starting already")
            return

        def spawn() -> None:
            waiting = self._waiting.pop(name, None)
            if waiting is not None:
                self._spawn(waiting)

        self._waiting[name] = message
        self._processes.end(old, time.monotonic(), spawn)

    def _call_off(self, names: list[str]) -> None:
        for name in names:
            waiting = self._waiting.pop(name, None)
            if waiting is not None:
                self._withhold(waiting, CALLED_OFF)

    def _set_guarded(self, message: Message) -> None:
        """Between the deadline and the agent's life; nothing that is ending changes sides."""
        process = self._processes.get(message["name"])
        if process is None or process.pid is None or process.kill_at is not None:
            self._answer(message, f"{message['name']} does not run")
        elif not message["guarded"] or self._may_hold(message):
            process.is_guarded = bool(message["guarded"])
            self._deadline.watch()
            self._answer(message)

    def _start(self, process: Process, message: Message) -> None:
        def exited(each: Process) -> None:
            by_guard = each.kill_at is not None
            news = {"name": each.name, "status": each.status, "by_guard": by_guard}
            self._say(**{"is": "exited", **news})

        def failed(_: Process, why: str) -> None:
            (self._withhold if why == CALLED_OFF else self._answer)(message, why)

        reports = Reports(
            lambda each: self._answer(message, pid=each.pid),
            failed,
            exited,
            self.output,
        )
        self._processes.start(process, reports)
        self._deadline.watch()

    def _new_process(self, message: Message, name: str) -> Process:
        self._cgroup_count += 1
        plan = Plan(
            message["argv"],
            self._env | dict[str, str](message["env"]),
            message.get("cwd"),
            message.get("user"),
            cgroup.make(self._cgroup, str(self._cgroup_count)),
            self._oom_score,
        )
        grace = message.get("grace")
        return Process(
            name,
            plan,
            self._lease / 4 if grace is None else float(grace),
            is_guarded=bool(message.get("guarded")),
            keeps_stdin=bool(message.get("stdin")),
        )

    def _end(self, message: Message) -> None:
        """By order, so in peace: the lease is renewed meanwhile. If it ends all the same, letting
        go cuts short what is still ending."""
        self._call_off([message["name"]])
        process = self._processes.get(message["name"])
        if process is None:
            self._answer(message)
            return
        kill_at = time.monotonic() + message["grace"]
        self._processes.end(process, kill_at, lambda: self._answer(message))

    def _let_go(self, why: str, then: Callable[[], None] | None = None) -> None:
        """Addresses, then SIGTERM, then SIGKILL while the lease lasts; farewells beside it."""
        now = time.monotonic()
        self._problems += self._addresses.remove_all()
        self._call_off([name for name, each in self._waiting.items() if each["guarded"]])
        latest = max(now, self._deadline.at - LAST)
        if why == "agent_gone":
            latest = min(latest, now + self._gone_grace)
        if why != "asked":
            self._deadline.end()
        if then is not None:
            self._then.append(then)
        if not self._why:
            self._began_at = now
        if self._why in {"", "asked"}:  # who asks while the lease ends changes nothing
            self._why = why
        self._pending += 1
        self._end_all(self._guarded(), lambda each: min(now + each.grace, latest))
        self._loop.at(now, self._say_farewell)
        self._loop.at(latest, self._kill_strays)

    def _end_all(self, ending: list[Process], kill_at: Callable[[Process], float]) -> None:
        for process in ending:
            self._pending += 1
            process.thens.append(self._one_less)
        self._processes.end_all(ending, kill_at)

    def _say_farewell(self) -> None:
        """After the signals: a fork takes its time. Each has its own limit, deadline or not."""
        for name in reversed(list(self._farewells)):
            message = self._farewells.pop(name)
            self._pending += 1
            self._start_farewell(self._new_process(message, FAREWELL + name), message)
        self._one_less()

    def _start_farewell(self, process: Process, message: Message) -> None:
        def failed(_process: Process, why: str) -> None:
            self._problems.append(f"{message['name']}: {why}")

        def over(each: Process) -> None:
            if each.status:
                self._problems.append(f"{message['name']}: exit status {each.status}")
            self._processes.end(each, time.monotonic(), _nothing)  # with all that it started

        def late() -> None:
            if process.pid is not None:
                self._problems.append(f"{message['name']}: not done within {message['limit']:g} s")
                self._processes.end(process, time.monotonic(), _nothing)

        process.thens.append(self._one_less)
        self._processes.start(process, Reports(_ignore, failed, over, self.output))
        self._loop.after(message["limit"], late)

    def _kill_strays(self) -> None:
        self._processes.kill_strays()

    def _one_less(self) -> None:
        self._pending -= 1
        if self._pending or not self._why:
            return
        if self._processes.kill_strays():
            self._pending += 1
            self._loop.after(STRAYS_INTERVAL, self._one_less)
            return
        why, self._why = self._why, ""
        then, self._then = self._then, []
        problems, self._problems = self._problems, []
        took = time.monotonic() - self._began_at
        self._disarm_watchdog()
        self._say(**{"is": "withdrawn", "why": why, "took": took, "problems": problems})
        for each in then:
            each()

    def _answer(self, message: Mapping[str, object], why: str = "", **more: object) -> None:
        self._disarm_watchdog()
        outcome = {"is": "failed", "why": why} if why else {"is": "done"}
        self._say(id=message["id"], **outcome, **more)

    def _withhold(self, message: Message, why: str) -> None:
        """Not for what it asks for, but because the lease is over or it was called off."""
        self._disarm_watchdog()
        self._say(**{"is": "withheld", "id": message["id"], "why": why})


def _ends_with_agent(process: Process) -> bool:
    return not process.is_guarded and not process.name.startswith(FAREWELL)


def _nothing() -> None:
    """Nobody waits for it."""


def _ignore(_process: Process) -> None:
    """Nobody wants to know."""
