"""The worst that can stand in a group file, on real nodes: hooks and processes that misbehave.

One group for all cases. white's hook and pump are scripts that each case writes anew; black's are
well. A node is idle again when its machine runs agent, guard and broker, and nothing else.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.lan.deadline import wait_until
from tests.lan.group import Group
from tests.lan.groupfile import GroupFile
from tests.lan.harness import Lan
from tests.lan.observer import Observer
from tests.lan.processes import children, command_line

pytestmark = pytest.mark.lan

DUTY = """
[[duty.process]]
name = "pump"
command = ["{folder}/{node}.pump"]
stop_timeout = 0.3
restart_delay = 0.1

[[duty.hook]]
on_hot = ["{folder}/{node}.hook"]
may_switch = ["{folder}/{node}.objection"]
timeout = 2.0
"""
GOOD_PUMP = "#!/bin/sh\nexec sleep 1000\n"
GOOD_HOOK = "#!/bin/sh\n"
PYTHON = "#!/usr/bin/python3\nimport os, signal, sys, time\n"
IDLE = 3  # agent, guard and broker


@dataclass(slots=True)
class Stage:
    """The group, and how far white's log has been read."""

    group: Group
    read: int = 0

    def write(self, name: str, content: str, mode: int = 0o755) -> None:
        """Replaced as a whole: the old one may be running."""
        path = self.group.folder / f"{name}.new"
        path.write_text(content)
        path.chmod(mode)
        path.rename(self.group.folder / name)

    def remove(self, name: str) -> None:
        (self.group.folder / name).unlink()

    def mend(self) -> None:
        for node in ("white", "black"):
            self.write(f"{node}.pump", GOOD_PUMP)
            self.write(f"{node}.hook", GOOD_HOOK)
            self.write(f"{node}.objection", GOOD_HOOK)

    def order(self, to: str) -> None:
        """Switch over as soon as that node is ready; wait for the answer."""
        group, old = self.group, "black" if to == "white" else "white"
        group.wait_redundant(old, to, timeout=40)
        count = len(self.answers)
        assert group.publish("black", "request/switchover", f'{{"to":"{to}"}}') == 0
        group.wait_for(lambda: len(self.answers) > count, "an answer")

    @property
    def answers(self) -> list[dict[str, object]]:
        return self.group.messages("black", "response/switchover")

    def does_duty(self, node: str) -> bool:
        state = self.group.own_state(node)
        return (state.get("role"), state.get("duty")) == ("hot", "on")

    def switch(self, to: str) -> None:
        self.order(to)
        self.group.wait_for(lambda: self.does_duty(to), f"{to} does the duty")

    def news(self) -> list[str]:
        """White's log since the last time, without what its broker says."""
        text = (self.group.folder / "white.log").read_text()
        lines, self.read = text[self.read :].splitlines(), len(text)
        return [each for each in lines if not each.startswith("INFO broker")]

    def pids(self, node: str) -> list[int]:
        return self.group.lan.hosts[node].namespace.pids()

    def wait_idle(self, node: str) -> None:
        def left() -> str:
            return "\n".join(map(command_line, self.pids(node)))

        wait_until(lambda: len(self.pids(node)) == IDLE, "nothing of the duty left", 20, left)

    def agent_and_guard(self, node: str) -> tuple[int, int]:
        agent = self.group.processes[node].pid
        guards = [each for each in children(agent) if "edge.duty.guard" in command_line(each)]
        return agent, guards[0]


@pytest.fixture(scope="module")
def running(_swept: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        lan, observer = stack.enter_context(Lan()), stack.enter_context(Observer())
        file = GroupFile(anonymous="operate")
        group = Group(lan, observer, tmp_path_factory.mktemp("bad"), file)
        stack.callback(group.close)
        stage = Stage(group)
        stage.mend()
        group.start("witness")
        start(group, "black")
        group.wait_hot("black")
        start(group, "white")
        group.wait_for(lambda: stage.does_duty("black"), "black does the duty")
        yield stage
        assert not group.overlaps(), group.explain_overlaps()


def start(group: Group, node: str) -> None:
    group.start_with(node, replace(group.file, more=DUTY.format(folder=group.folder, node=node)))


@pytest.fixture
def stage(running: Stage) -> Stage:
    """All is well: black is hot, white is ready and did the duty since it last failed."""
    running.mend()
    if not running.does_duty("black"):
        running.switch("black")
    running.wait_idle("white")
    running.news()
    return running


def peak_memory(pid: int) -> int:
    """The most that it ever had resident, bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024


# Hooks that refuse

FLOOD = "for _ in range(100): sys.stdout.write('x' * 1_000_000 + '\\n')\n"
USELESS_HOOKS = {
    "hangs": ("#!/bin/sh\nexec sleep 1000\n", "did not end within 2 s"),
    "hangs with its child": ("#!/bin/sh\nsleep 1000 &\nwait\n", "did not end within 2 s"),
    "ignores SIGTERM": ("#!/bin/sh\ntrap '' TERM\nsleep 1000\n", "did not end within 2 s"),
    "prints 100 MB": (PYTHON + FLOOD, "did not end within 2 s: xxx"),
    "needs a terminal": ("#!/bin/sh\n: < /dev/tty\n", "ended with status "),
    "asks at a terminal": ("#!/bin/sh\nread answer || exit 4\n", "ended with status 4"),
    "is no program": ("echo hello\n", "cannot run: {hook} is not a program"),
    "has no interpreter": ("#!/no/such\n", "cannot run: {hook} does not exist (or the interp"),
}


@pytest.mark.parametrize("kind", [*USELESS_HOOKS, "does not exist", "is not executable"])
def test_a_node_whose_hook_fails_leaves_the_duty_to_the_other(stage: Stage, kind: str) -> None:
    """It says so in one line of the log and in an alert, and nothing of the hook is left."""
    hook = stage.group.folder / "white.hook"
    content, words = USELESS_HOOKS.get(kind, (GOOD_HOOK, f"cannot run: {{hook}} {kind}"))
    stage.write("white.hook", content, 0o644 if kind == "is not executable" else 0o755)
    if kind == "does not exist":
        stage.remove("white.hook")
    stage.order("white")
    stage.group.wait_for(lambda: stage.does_duty("black"), "black does the duty again")
    said = f"could not be started: on_hot hook {hook} {words.format(hook=hook)}"
    stage.group.wait_for(lambda: said in stage.group.alerts("white").get("duty", ""), "the alert")
    stage.wait_idle("white")
    spoken = "INFO edge.duty: hook.1."
    (line,) = [each for each in stage.news() if " edge.duty: " in each and spoken not in each]
    assert re.match(r"WARNING edge\.duty: the duty of term \d+ ", line)
    assert said in line
    assert len(line) < 1000
    stage.mend()
    stage.switch("white")
    assert "duty" not in stage.group.alerts("white")


def test_a_flood_occupies_neither_memory_nor_log(stage: Stage) -> None:
    """By a hook as by a process that goes on: the node stays hot meanwhile."""
    stage.write("white.pump", PYTHON + FLOOD + "time.sleep(1000)\n")
    agent, guard = stage.agent_and_guard("white")
    before = peak_memory(agent)
    stage.switch("white")
    lines: list[str] = []

    def is_counted() -> bool:
        lines.extend(stage.news())
        return sum("pump: (" in each and "lines left out" in each for each in lines) >= 3

    stage.group.wait_for(is_counted, "lines that are counted instead of shown", 40)
    assert stage.does_duty("white")
    assert peak_memory(guard) < 12_000_000
    assert peak_memory(agent) < before + 10_000_000
    assert max(map(len, lines)) < 1000
    stage.switch("black")
    stage.wait_idle("white")


# Hooks and processes that try to get away

DAEMON = """\
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
    os._exit(0)
os.wait()
"""
RESTLESS_HOOKS = {
    "a child that keeps the pipe": "#!/bin/sh\nsleep 1000 &\n",
    "a daemon": PYTHON + DAEMON,
    "closed files": PYTHON + "os.closerange(0, 3)\n",
}


@pytest.mark.parametrize("kind", RESTLESS_HOOKS)
def test_a_hook_that_leaves_something_behind_is_done_and_so_is_that(
    stage: Stage, kind: str
) -> None:
    stage.write("white.hook", RESTLESS_HOOKS[kind])
    stage.switch("white")
    wait_until(lambda: len(stage.pids("white")) == IDLE + 1, "only the pump is left")
    assert stage.does_duty("white")


FOREVER = "while True: time.sleep(1000)\n"
RESTLESS_PUMPS = {
    "ignores SIGTERM": (PYTHON + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER, 1),
    "a daemon beside it": (PYTHON + DAEMON + FOREVER, 2),
    "closed files": (PYTHON + "os.closerange(0, 3)\n" + FOREVER, 1),
    "a child that stopped itself": (
        PYTHON + "if os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)\n" + FOREVER,
        2,
    ),
}


def does_duty_with(stage: Stage, kind: str) -> None:
    content, count = RESTLESS_PUMPS[kind]
    stage.write("white.pump", content)
    stage.switch("white")
    wait_until(lambda: len(stage.pids("white")) == IDLE + count, "all of the pump runs")


@pytest.mark.parametrize("kind", RESTLESS_PUMPS)
def test_a_restless_process_ends_with_a_planned_switchover(stage: Stage, kind: str) -> None:
    does_duty_with(stage, kind)
    stage.switch("black")
    assert len(stage.pids("white")) == IDLE, "before anybody else begins"


@pytest.mark.parametrize("kind", RESTLESS_PUMPS)
def test_a_restless_process_ends_with_its_agent(stage: Stage, kind: str) -> None:
    does_duty_with(stage, kind)
    stage.group.kill("white")
    try:
        stage.group.wait_for(lambda: stage.does_duty("black"), "black does the duty")
        wait_until(lambda: not stage.pids("white"), "nothing is left on white's machine")
    finally:
        start(stage.group, "white")


def test_a_restless_process_ends_while_its_agent_is_frozen(stage: Stage) -> None:
    does_duty_with(stage, "a daemon beside it")
    stage.group.freeze("white", whole_machine=False)
    try:
        stage.group.wait_for(lambda: stage.does_duty("black"), "black does the duty")
        assert len(stage.pids("white")) == IDLE, "before anybody else began"
    finally:
        stage.group.thaw("white")


# Vetoes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("#!/bin/sh\nexec sleep 1000\n", "may_switch hook {hook} did not end within 2 s"),
        ("", "may_switch hook {hook} cannot run: {hook} is not a program: neither binary nor "),
        ("#!/bin/sh\necho the tank is filling\necho more\nexit 1\n", "the tank is filling"),
    ],
    ids=["hangs", "no program", "says no"],
)
def test_who_does_not_agree_has_refused(stage: Stage, content: str, words: str) -> None:
    stage.write("black.objection", content)
    stage.order("white")
    answer = stage.answers[-1]
    assert answer["code"] == "vetoed"
    hook = stage.group.folder / "black.objection"
    assert str(answer["error"]).startswith(words.format(hook=hook))
    assert stage.does_duty("black")


def test_every_case_left_the_nodes_alive(running: Stage) -> None:
    """The last one: nobody died, no trace of a mistake of ours in the logs."""
    assert running.group.all_running()
    for node in ("white", "black"):
        log = (running.group.folder / f"{node}.log").read_text()
        ours = [each for each in log.splitlines() if "hook.1." not in each and "pump: " not in each]
        assert not any("Traceback" in each for each in ours)
        assert len(log) < 2_000_000
