"""Random orders to the guard alone, in bursts: each is answered once, and the answers are true."""

import asyncio
import random
from functools import partial

from tests.duty.pipe import BOUND, Answer, Pipe, guard_at_a_pipe
from tests.duty.stage import marked, unique_group

NAMES = ("a", "b", "c")
COMMANDS = (
    ("sleep", "1000"),
    ("true",),
    ("false",),
    ("sh", "-c", "sleep 1000 & exit 0"),
    ("sh", "-c", "setsid sleep 1000 & exit 1"),
    ("sh", "-c", "setsid sleep 1000 & sleep 1000"),
    ("/no/such/program",),
)
SHORT_COMMANDS = COMMANDS[1:5]
ADDRESS = "10.9.8.7/24"


class PipeStorm:
    def __init__(self, dice: random.Random, pipe: Pipe, group: str, interface: str) -> None:
        self._dice = dice
        self._pipe = pipe
        self._group = group
        self._interface = interface or "nowhere"
        self._term = 1
        self._count = 0
        self._spawned: dict[str, int] = {}  # by name: the count of the last order to start it
        self.wrong: list[str] = []

    async def run(self, steps: int) -> list[str]:
        while self._count < steps and not self.wrong:
            for _ in range(self._dice.choice((1, 2, 5, 20))):
                self._order()
            if self._dice.random() < 0.5:
                await asyncio.sleep(self._dice.choice((0.0, 0.001, 0.02, 0.3)))
            if self._dice.random() < 0.1:
                await self._be_calm()
        self._pipe.extend(self._term + 1)
        self._pipe.order("withdraw")
        await self._be_calm()
        twice = [number for number, count in self._pipe.answers.items() if count != 1]
        return self.wrong + [f"order {each} was answered more than once" for each in twice]

    def _order(self) -> None:
        self._count += 1
        orders = (self._spawn, self._end, self._hold, self._change, self._extend)
        self._dice.choice(orders)(self._dice.choice(NAMES))

    def _end(self, name: str) -> None:
        grace = self._dice.choice((0.0, 0.02, 100.0))
        end = self._pipe.order("end", name=name, grace=grace)
        end.add_done_callback(partial(self._check_end, name, self._count))

    def _hold(self, name: str) -> None:
        place = {"address": ADDRESS, "interface": self._interface}
        match self._dice.randrange(4):
            case 0:
                argv = self._dice.choice(SHORT_COMMANDS)
                self._pipe.order("farewell", name=name, argv=argv, env={}, limit=100.0)
            case 1:
                self._pipe.order("drop_farewell", name=name)
            case 2:
                self._pipe.order("hold_address", **place)
            case 3:
                self._pipe.order("drop_address", **place)

    def _change(self, name: str) -> None:
        match self._dice.randrange(3):
            case 0:
                self._pipe.order("set_guarded", name=name, guarded=self._dice.random() < 0.5)
            case 1:
                self._pipe.send("tell", name=name, line="{}")
            case 2:
                self._pipe.order("withdraw")

    def _extend(self, _: str) -> None:
        self._term += self._dice.randrange(2)
        self._pipe.extend(self._term, self._dice.choice((-1.0, 0.0, 0.05, 0.5, 100.0)))

    def _spawn(self, name: str) -> None:
        self._spawned[name] = self._count
        guarded = self._dice.random() < 0.7
        argv = self._dice.choice(COMMANDS)
        grace = self._dice.choice((0.0, 0.1))
        more = {"guarded": guarded, "grace": grace, "stdin": self._dice.random() < 0.3}
        self._pipe.order("spawn", name=name, argv=argv, env={}, **more)

    def _check_end(self, name: str, count: int, answer: asyncio.Future[Answer]) -> None:
        """Nothing of that name runs, unless it was started again."""
        if answer.cancelled() or self._spawned.get(name, -1) > count:
            return
        left = [each for each in marked(self._group) if _name_of(each) == name]
        if left:
            self.wrong.append(f"{name} was ended by order {count}, but there is {left}")

    async def _be_calm(self) -> None:
        waiting = self._pipe.all_answered()
        try:
            async with asyncio.timeout(BOUND):
                await waiting
        except TimeoutError:
            self.wrong.append(f"not answered: {self._pipe.unanswered}")


def _name_of(process: object) -> str:
    return process.environ().get("EDGE_DUTY", "").rpartition("/")[2]  # type: ignore[attr-defined,no-any-return]


async def storm_at_the_pipe(dice: random.Random, steps: int, interface: str) -> list[str]:
    group = unique_group()
    async with guard_at_a_pipe(group, with_cgroups=dice.random() < 0.5) as pipe:
        wrong = await PipeStorm(dice, pipe, group, interface).run(steps * 5)
    return wrong + [f"left after the end: {each}" for each in marked(group)]
