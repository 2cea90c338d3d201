"""Random requests as a core makes them, and random faults, against a duty with a real guard."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from edge.core.events import DutyStarted, DutyStopped, Event, FitnessChanged, SwitchJudged
from edge.core.model import Role
from edge.core.orders import STAND_BACK_MAX
from edge.duty.guard import tree
from edge.duty.guard.netlink import Kernel, parse
from edge.duty.handle import GuardSettings
from edge.duty.service import GuardedDuty
from edge.settings.duty import Duty
from tests.duty.keeping import SCALE
from tests.duty.stage import unique_group

LEASE = 0.6
# Nothing is stubborn, so no answer takes as long; far below every limit of what follows.
BOUND = 12.0 * SCALE
STUBBORN = 300.0
# One life at a time: the kernel gives the lock to one.
ALONE = 'exec 9>"$0"; flock -n 9 || { echo twice >> "$0.twice"; exit 1; }; exec "$@"'
CHECK = {"command": ("true",), "interval": 0.05, "timeout": STUBBORN}
ADDRESS = "10.9.8.7/24"
OF_DUTY = ("pump", "meter")


def duty_in(folder: Path, interface: str, dice: random.Random) -> Duty:
    """In some a process has to be killed, or a hook leaves something behind."""

    def process(name: str, **more: object) -> dict[str, object]:
        program = ("cat",) if more.get("instance") else ("sleep", "1000")
        command = (*ignoring, "sh", "-c", ALONE, str(folder / name), *program)
        limits = {
            "stop_timeout": 0.2 if ignoring else STUBBORN,
            "start_timeout": STUBBORN,
            "restart_delay": 0.02,
        }
        often = {"max_restarts": 1000, "restart_delay_max": 0.02}
        return {"name": name, "command": command, **limits, **often, **more}

    ignoring = dice.choice(((), ("env", "--ignore-signal=TERM")))
    command = dice.choice((("true",), ("sh", "-c", "sleep 1000 & exit 0")))
    hook = dict.fromkeys(("on_hot", "on_standby", "on_alert", "may_switch"), command)
    processes = (
        process("pump"),
        process("meter", health=dice.choice((None, CHECK))),
        process("warmer", run_on="standby"),
        process("driver", run_on="always", instance=True),
    )
    addresses = ({"address": ADDRESS, "interface": interface},) if interface else ()
    tables = {"address": addresses, "process": processes, "grace": 0.2}
    return Duty.model_validate({**tables, "hook": ({**hook, "timeout": STUBBORN},)})


def has_address() -> bool:
    kernel = Kernel()
    try:
        return parse(ADDRESS)[0] in {each.packed for each in kernel.addresses()}
    finally:
        kernel.close()


class DutyStorm:
    """One duty, from its opening to its close."""

    def __init__(
        self, dice: random.Random, folder: Path, interface: str, *, has_faults: bool
    ) -> None:
        self._dice = dice
        self._folder = folder
        self._has_faults = has_faults
        self._group = unique_group()
        held = ((ADDRESS, interface),) if interface else ()
        with_cgroups = dice.random() < 0.5
        settings = GuardSettings(
            self._group, "white", "b1", LEASE, 0.1, held, with_cgroups=with_cgroups
        )
        self._has_address = bool(interface)
        self._duty = GuardedDuty(duty_in(folder, interface, dice), settings, lambda _: None)
        self._loop = asyncio.get_running_loop()
        self._term = 0
        self._is_tenant = False  # between a start and its end
        self._asks_until_stopped = False  # a stop in order: the lease is kept until the answer
        self._is_stalled = False
        self._open: dict[str, float] = {}  # what is waited for, since when
        self._fault_at = 0.0
        self._extended_at = self._loop.time()
        self._is_disturbed = False
        self._is_guard_hit = False
        self._fitness = ""
        self._news = asyncio.Event()
        self._trace: list[str] = []
        self.wrong: list[str] = []

    async def run(self, steps: int) -> list[str]:
        self._loop.set_exception_handler(lambda _, context: self._note_wrong(f"{context}"))
        self._duty.attach(self._tell, lambda *_: None)
        await self._duty.open()
        running = [self._loop.create_task(each) for each in (self._duty.run(), self._extend())]
        try:
            await self._storm(steps)
            if self._dice.random() < 0.7:
                await self._end_in_peace()
        finally:
            for each in running:
                each.cancel()
            await asyncio.wait(running)
            await self._bounded("close", self._duty.close())
        self.wrong += [f"left after the end: {each}" for each in self._lives()]
        self.wrong += [f"two lives: {each.name}" for each in self._folder.glob("*.twice")]
        return self.wrong

    # What is done

    async def _storm(self, steps: int) -> None:
        orders = [self._change] * 6 + [self._ask, self._alert, self._say_role]
        of_guard = [self._kill_guard, self._freeze_guard]
        faults = [*of_guard, self._kill_process, self._stall, self._stand_still]
        for _ in range(steps):
            await self._gap()
            is_fault = self._has_faults and self._dice.random() < 0.12
            order = self._dice.choice(faults if is_fault else orders)
            self._trace.append(order.__name__)
            order()
            if self.wrong:
                return
            if self._dice.random() < 0.03:
                await self._be_calm()

    async def _gap(self) -> None:
        match self._dice.randrange(6):
            case 0 | 1:
                for _ in range(self._dice.randrange(4)):
                    await asyncio.sleep(0)
            case 2 | 3:
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._news.wait()
            case _:
                await asyncio.sleep(self._dice.random() * 0.05)

    def _change(self) -> None:
        if not self._is_tenant and not self._is_stalled:
            self._start()
        elif not self._is_tenant:
            return
        elif self._asks_until_stopped:
            if self._dice.random() < 0.5:  # the lease is lost before the duty has stopped
                self._stop(at_once=True)
        elif self._dice.random() < 0.7:
            self._stop(at_once=self._dice.random() < 0.5)

    def _start(self) -> None:
        self._term += 1
        self._is_tenant, self._asks_until_stopped = True, False
        self._open[f"start {self._term}"] = self._loop.time()
        self._note(f"start {self._term}")
        self._duty.start(self._term, "died")
        self._extend_once()

    def _stop(self, *, at_once: bool) -> None:
        self._note(f"stop {self._term} {at_once}")
        self._open.pop(f"start {self._term}", None)
        self._open.setdefault(f"stop {self._term}", self._loop.time())
        self._is_tenant, self._asks_until_stopped = not at_once, not at_once
        self._duty.stop(self._term, "switchover", at_once=at_once)

    def _ask(self) -> None:
        if self._is_tenant and f"judged {self._term}" not in self._open:
            self._open[f"judged {self._term}"] = self._loop.time()
            self._duty.ask_to_switch(self._term, "black")

    def _alert(self) -> None:
        self._duty.on_alert("lost", self._dice.choice(("Not there: black.", None)))

    def _say_role(self) -> None:
        role = self._dice.choice((Role.STANDBY, Role.STARTING, Role.HOT))
        self._duty.set_role(role, self._term, "")

    def _kill_guard(self) -> None:
        self._signal_guard(signal.SIGKILL)

    def _freeze_guard(self) -> None:
        """For ever, or for a moment. One that is still starting has its own, longer limit."""
        if self._duty._keeper is None:
            return
        guard = self._signal_guard(signal.SIGSTOP)
        if guard is not None and self._dice.random() < 0.5:
            self._loop.call_later(self._dice.random() * 0.3, self._wake, guard)

    def _wake(self, guard: int) -> None:
        if self._duty._handle.pid == guard:
            with suppress(ProcessLookupError):
                os.kill(guard, signal.SIGCONT)

    def _signal_guard(self, number: int) -> int | None:
        """While a guard is being started there is none."""
        guard = self._duty._handle.pid
        if guard is not None:
            self._note_fault(f"signal {number} to the guard")
            self._is_guard_hit = True
            with suppress(ProcessLookupError):
                os.kill(guard, number)
        return guard

    def _kill_process(self) -> None:
        lives = self._lives()
        if lives:
            name, pid = self._dice.choice(lives)[:2]
            self._note_fault(f"kill {name}")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _stall(self) -> None:
        """The agent says nothing: the lease ends by itself."""
        if not self._is_stalled:
            self._note_fault("stall")
            self._is_stalled = True
            self._loop.call_later(self._dice.random() * 2 * LEASE, self._wake_up)

    def _wake_up(self) -> None:
        self._is_stalled = False
        self._note("end of the stall")

    def _stand_still(self) -> None:
        """The agent, as a whole."""
        self._note_fault("stands still")
        time.sleep(self._dice.random() * 2 * LEASE)

    # What must hold

    def _tell(self, event: Event) -> None:
        self._news.set()
        self._note(str(event))
        self._note_lateness()
        match event:
            case DutyStarted(term):
                self._started(term)
            case DutyStopped(term):
                self._stopped(term)
            case SwitchJudged(term):
                self._open.pop(f"judged {term}", None)
            case FitnessChanged(why_not):
                self._fitness = why_not
                if why_not:
                    self._note_wrong_without_fault(f"unfit: {why_not}")
                if "guard was lost" in why_not and not self._is_guard_hit:
                    self._note_wrong(why_not)

    def _started(self, term: int) -> None:
        is_awaited = self._open.pop(f"start {term}", None) is not None
        if is_awaited and not self._is_disturbed:
            missing = self._missing(term)
            if self._has_address and not has_address():
                missing |= {ADDRESS}
            self._note_lateness()
            if missing:
                self._note_wrong_without_fault(f"started {term}, but {missing} is not there")

    def _missing(self, term: int) -> set[str]:
        """Looked at again: who is just becoming a program has no environment for a moment."""
        missing = {*OF_DUTY}
        until = self._loop.time() + LEASE / 4
        while missing and self._loop.time() < until:
            missing -= {name for name, _, its in self._lives() if its == term}
            time.sleep(0.005)
        return missing

    def _note_lateness(self) -> None:
        """On a machine that is busy with other things the lease may end by itself."""
        if self._loop.time() > self._extended_at + LEASE / 2:
            self._note_fault("late")

    def _stopped(self, term: int) -> None:
        self._look_for_left(term)
        was_start = self._open.pop(f"start {term}", None) is not None
        if was_start:
            self._note_wrong_without_fault(f"start {term} failed")
        for each in [each for each in self._open if each.startswith("stop ")]:
            if int(each.split()[1]) <= term:
                del self._open[each]
        if term == self._term:
            self._is_tenant = self._asks_until_stopped = False

    def _look_for_left(self, term: int) -> None:
        for name, pid, its in self._lives():
            if name in OF_DUTY and its is not None and its <= term:
                self._note_wrong(f"stopped {term}, but there is {name} ({pid}) of term {its}")
        if self._has_address and term == self._term and has_address():
            self._note_wrong(f"stopped {term}, but there is the address")

    def _lives(self) -> list[tuple[str, int, int | None]]:
        """Name, process id and term of all that the guard started."""
        found = []
        for pid in tree.marked(f"{self._group}/"):
            words = tree._read(f"/proc/{pid}/environ").split(b"\0")
            environment = dict(each.partition(b"=")[::2] for each in words)
            name = environment.get(b"EDGE_DUTY", b"").rpartition(b"/")[2].decode()
            term = environment.get(b"EDGE_TERM", b"")
            if name:
                found.append((name, pid, int(term) if term else None))
        return found

    async def _be_calm(self) -> None:
        """No fault any more: everything is answered, and the node can be hot again."""
        await self._wait(lambda: not self._open, "answers")
        await self._wait(self._is_calm, "fitness", STAND_BACK_MAX)
        self._is_disturbed = self._is_guard_hit = False
        self._note("calm")

    def _is_calm(self) -> bool:
        """A fault is noticed within a third of a lease; that of a stall within a whole one."""
        is_over = self._loop.time() > self._fault_at + 4 * LEASE
        return is_over and not self._fitness and not self._is_stalled

    async def _end_in_peace(self) -> None:
        await self._be_calm()
        for _ in range(2):
            if self._is_tenant and not self._asks_until_stopped:
                self._stop(at_once=False)
            await self._wait(lambda: not self._open, "answers")
            self._start()
            await self._wait(lambda: not self._open, "the start in peace")
        self._stop(at_once=False)
        await self._wait(lambda: not self._open, "the stop in peace")

    async def _wait(self, condition: Callable[[], bool], what: str, more: float = 0.0) -> None:
        since = self._loop.time()
        while not condition() and not self.wrong:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await self._news.wait()
            if self._loop.time() > max(since, self._fault_at) + BOUND + more:
                self._note_wrong(f"no {what}: {self._open}, {self._fitness!r}")

    async def _bounded(self, what: str, work: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(BOUND):
                await work
        except TimeoutError:
            self._note_wrong(f"{what} does not end")

    # As an agent does

    async def _extend(self) -> None:
        while True:
            self._note_lateness()
            self._extend_once()
            await asyncio.sleep(LEASE / 8)

    def _extend_once(self) -> None:
        self._extended_at = self._loop.time()
        if self._is_tenant and not self._is_stalled:
            self._duty.extend(self._term, self._loop.time() + LEASE)

    def _note_fault(self, what: str) -> None:
        self._fault_at = self._loop.time()
        self._is_disturbed = True
        self._note(what)

    def _note(self, what: str) -> None:
        self._trace.append(f"{self._loop.time():.3f} {what}")

    def _note_wrong_without_fault(self, what: str) -> None:
        if not self._is_disturbed:
            self._note_wrong(f"{what}, without a fault")

    def _note_wrong(self, what: str) -> None:
        if not self.wrong:
            self.wrong.append(f"{what}; before: {self._trace[-25:]}")
        self._news.set()
