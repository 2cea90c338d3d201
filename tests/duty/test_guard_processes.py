"""Processes of the duty: whatever they do to get away, nothing of them outlives the deadline."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.duty.conftest import MakeAgent
from tests.duty.stage import Agent, cgroups_work, is_gone
from tests.lan.deadline import wait_until

IGNORES_TERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
FOREVER = "print('up', flush=True); time.sleep(1000)"
DAEMON = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        {FOREVER}
    os._exit(0)
os.wait()
time.sleep(1000)
"""
WITHOUT_TRACE = f"""
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        code = "import time; {FOREVER}"
        os.execve(sys.executable, [sys.executable, '-c', code, *sys.argv[1:]], {{}})
    os._exit(0)
os.wait()
time.sleep(1000)
"""
SESSION = f"""
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)
{FOREVER}
"""
CLOSED = (
    "import os, time; print('up', flush=True); [os.close(n) for n in range(3)]; time.sleep(1000)"
)
BOMB = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
for _ in range(4):  # sixteen of them
    if os.fork() == 0:
        os.setsid()
for _ in range(50):  # each goes on forking for a while
    if os.fork() == 0:
        time.sleep(0.02)
        os._exit(0)
    time.sleep(0.02)
time.sleep(1000)
"""
FOREVER_ALONE = f"import time; {FOREVER}"
POLITE = f"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
{FOREVER}
"""
FLOOD = """
import sys, time
print('up', flush=True)
for _ in range(1600):
    sys.stdout.write('x' * 64 + '\\n' + 'y' * 65000)
time.sleep(1000)
"""
STUBBORN = {
    "ignores SIGTERM": f"{IGNORES_TERM} {FOREVER}",
    "daemon": DAEMON,
    "daemon without a trace": WITHOUT_TRACE,
    "other session": SESSION,
    "closed its files": CLOSED,
    "forks on": BOMB,
    "prints 100 MB": FLOOD,
}


def start(agent: Agent, name: str, code: str, **more: object) -> int:
    """Start it and wait until it says that it is up."""
    pid = agent.spawn(name, sys.executable, "-c", code, agent.group, **more)
    agent.wait(lambda news: news == {"output": name, "line": "up"}, f"{name} is up")
    return pid


def started(agent: Agent) -> list[int]:
    """Everything alive with the group's name among its arguments, wherever it got to."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if agent.group in process.cmdline() and not is_gone(process.pid):
                found.append(process.pid)
    return found


def below(agent: Agent) -> list[int]:
    """Everything alive that descends from the guard."""
    try:
        children = psutil.Process(agent.guard).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [each.pid for each in children if not is_gone(each.pid)]


@pytest.fixture(params=[True, False], ids=["cgroup", "no cgroup"])
def held(request: pytest.FixtureRequest, make_agent: MakeAgent) -> Agent:
    """A hot one. Where there is no writable cgroup, the guard goes by descent and marks."""
    agent = make_agent(with_cgroups=request.param)
    agent.uses_cgroups = request.param and cgroups_work()
    agent.order("keep", term=1)
    return agent


@pytest.mark.parametrize("code", STUBBORN.values(), ids=STUBBORN)
def test_nothing_outlives_the_deadline(held: Agent, code: str) -> None:
    start(held, "stubborn", code)
    everything = started(held)
    assert everything
    held.order("let_go")
    held.wait(lambda news: news.get("withdrawn") == "deadline", "withdrawn")
    wait_until(lambda: all(map(is_gone, everything)), "all gone")
    assert not started(held)


@pytest.mark.parametrize("code", STUBBORN.values(), ids=STUBBORN)
def test_nothing_outlives_the_agent(held: Agent, code: str) -> None:
    start(held, "stubborn", code)
    start(held, "standby", code, guarded=False, grace=0.0)
    everything = started(held)
    held.signal(signal.SIGKILL)
    wait_until(lambda: is_gone(held.guard), "the guard is done")
    assert all(map(is_gone, everything))


@pytest.mark.parametrize("code", STUBBORN.values(), ids=STUBBORN)
def test_nothing_is_left_when_a_process_was_ended(held: Agent, code: str) -> None:
    start(held, "stubborn", code)
    everything = started(held)
    other = start(held, "other", FOREVER_ALONE)
    held.order("end", name="stubborn", grace=0.1)
    if code != WITHOUT_TRACE or held.uses_cgroups:  # else it is left for the withdrawal
        assert all(map(is_gone, everything))
    assert not is_gone(other), "the other one is not concerned"


def test_sigterm_comes_first_and_is_enough(held: Agent) -> None:
    pid = start(held, "polite", POLITE)
    held.order("end", name="polite", grace=60.0)
    assert is_gone(pid)
    held.wait(lambda news: news.get("exited") == "polite" and news["status"] == 7, "its own status")


def test_deadline_waits_for_no_grace(held: Agent) -> None:
    """A grace longer than the lease is cut: SIGKILL comes before the deadline."""
    start(held, "stubborn", STUBBORN["ignores SIGTERM"], grace=60.0)
    held.order("let_go")
    held.order("extend", term=1, deadline=(deadline := time.monotonic() + 2.0))
    held.wait(lambda news: news.get("exited") == "stubborn", "killed")
    # Seen from outside, so the time that the news took is in it: no more than a sanity check.
    assert time.monotonic() < deadline + 5.0
    held.wait(lambda news: news.get("withdrawn") == "deadline", "withdrawn")


# Without a child: one that a shell is just forking may miss the SIGTERM, and lives on by right.
TAKES_ITS_TIME = f"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(2.5), sys.exit(7)))
{FOREVER}
"""


def test_orderly_end_may_take_longer_than_a_lease(held: Agent) -> None:
    """The lease is renewed meanwhile, so there is time for what must be written to a disk."""
    start(held, "database", TAKES_ITS_TIME)
    held.order("end", name="database", grace=60.0)
    exit_news = held.wait(lambda news: news.get("exited") == "database", "its end")
    assert exit_news["status"] == 7


def test_what_is_started_during_the_end_and_left_behind_hears_of_it(held: Agent) -> None:
    """It was not there yet when all were told, and nobody is left to tell it."""
    leaves_one = "trap 'sleep 1000 & sleep 0.3; exit' TERM; echo up; while :; do sleep 0.01; done"
    held.spawn("database", "sh", "-c", leaves_one)
    held.wait(lambda news: news.get("line") == "up", "it is up")
    held.order("end", name="database", grace=1000.0)
    assert not below(held)


def test_who_still_ends_in_order_is_told_once(held: Agent, tmp_path: Path) -> None:
    """Although the one that started it has left it behind."""
    done = tmp_path / "done"
    saves = (
        f"trap 'sleep 0.5; echo saved >> {done}; exit' TERM; echo up; while :; do sleep 0.01; done"
    )
    held.spawn("database", "sh", "-c", f"trap 'exit' TERM; sh -c \"{saves}\" & wait")
    held.wait(lambda news: news.get("line") == "up", "it is up")
    held.order("end", name="database", grace=1000.0)
    assert done.read_text() == "saved\n"


def test_orderly_end_is_cut_short_when_the_lease_ends(held: Agent) -> None:
    pid = start(held, "stubborn", STUBBORN["ignores SIGTERM"])
    held.send("end", name="stubborn", grace=1000.0)
    held.send("let_go")
    held.signal(signal.SIGSTOP)
    wait_until(lambda: is_gone(pid), "killed by the guard alone")


def test_unguarded_process_outlives_the_deadline_but_not_the_agent(held: Agent) -> None:
    guarded = start(held, "hot", FOREVER_ALONE)
    always = start(held, "always", FOREVER_ALONE, guarded=False)
    held.order("withdraw")
    assert is_gone(guarded)
    assert not is_gone(always)
    held.order("close")
    assert is_gone(always)


def test_last_words_come_before_the_exit(held: Agent) -> None:
    held.spawn("talker", "sh", "-c", "echo one; echo two >&2; printf three; exit 3")
    held.wait(lambda news: news.get("exited") == "talker" and news["status"] == 3, "its status")
    held.wait(lambda news: news.get("line") == "three", "the last line")
    said = [each["line"] for each in held.news if "line" in each]
    assert said == ["one", "two", "three"]


def test_flood_of_lines_is_counted_not_passed_on(held: Agent) -> None:
    held.spawn("flood", "sh", "-c", "seq 1 100000; sleep 0.2; echo over; sleep 1000")
    held.wait(lambda news: "lines left out" in news.get("line", ""), "what was left out")
    said = [each["line"] for each in held.news if "line" in each]
    assert said[:2] == ["1", "2"]
    assert len(said) < 1000


def test_long_line_is_cut(held: Agent) -> None:
    held.spawn("long", "sh", "-c", "head -c 5000 /dev/zero | tr '\\0' x; echo; sleep 1000")
    line = held.wait(lambda news: news.get("output") == "long", "the line")["line"]
    assert line == "x" * 1000 + " ..."


def test_process_reads_what_it_is_told(held: Agent) -> None:
    held.spawn("echo", "cat", keeps_stdin=True)
    held.order("say", name="echo", line='{"role":"hot"}')
    held.wait(lambda news: news.get("line") == '{"role":"hot"}', "the line came back")


def test_process_that_never_reads_does_not_hold_up_the_guard(held: Agent) -> None:
    start(held, "deaf", FOREVER_ALONE, keeps_stdin=True)
    for _ in range(40):
        held.send("say", name="deaf", line="x" * 4000)
    held.order("end", name="deaf", grace=0.0)


def test_process_that_is_told_nothing_reads_an_end_of_file(held: Agent) -> None:
    held.spawn("cat", "cat")
    held.wait(lambda news: news.get("exited") == "cat" and news["status"] == 0, "its end")


@pytest.mark.parametrize(
    ("argv", "more", "words"),
    [
        (["no-such-program"], {}, "does not exist"),
        (["/etc/passwd"], {}, "not executable"),
        (["/"], {}, "not executable"),
        (["true"], {"cwd": "/no/such/folder"}, "working directory /no/such/folder"),
        (["true"], {"user": "no-such-user"}, "no user no-such-user"),
    ],
)
def test_what_cannot_be_started_is_refused_in_words(
    agent: Agent, argv: list[str], more: dict[str, object], words: str
) -> None:
    agent.order("keep", term=1)
    assert words in agent.order("spawn", name="a", argv=argv, **more)["refused"]
    agent.spawn("a", "sleep", "1000")  # the name is free again


def test_file_that_is_no_program_is_refused_in_words(held: Agent, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"\0\1\2 neither")
    script.chmod(0o755)
    outcome = held.order("spawn", name="a", argv=[str(script)])
    assert "is not a program" in outcome["refused"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start it as another user")
def test_process_of_another_user_dies_like_any_other(held: Agent) -> None:
    script = "sleep 1000 & echo up; wait"
    pid = held.spawn("nobody", "sh", "-c", script, user="nobody", cwd="/")
    held.wait(lambda news: news.get("line") == "up", "it is up")
    assert psutil.Process(pid).username() == "nobody"
    everything = below(held)
    held.order("withdraw")
    assert len(everything) == 2
    assert all(map(is_gone, everything))


def test_process_is_an_ordinary_one(held: Agent) -> None:
    """What lets the guard run first is not for what it starts."""
    pid = start(held, "ordinary", FOREVER_ALONE)
    assert os.sched_getscheduler(pid) == os.SCHED_OTHER
    score = Path(f"/proc/{pid}/oom_score_adj").read_text()
    assert score == Path(f"/proc/{held.pid}/oom_score_adj").read_text()
    ignored = Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0]
    assert not int(ignored, 16) & (1 << (signal.SIGTERM - 1))


def test_a_name_can_be_started_again_after_its_process_left_something(held: Agent) -> None:
    held.spawn("leaver", "sh", "-c", "trap '' TERM; sleep 1000 & exit 0")
    held.wait(lambda news: news.get("exited") == "leaver", "it left")
    left = below(held)
    assert left
    again = held.spawn("leaver", "sleep", "1000")
    assert all(map(is_gone, left))
    assert not is_gone(again)
    assert "running already" in held.order("spawn", name="leaver", argv=["true"])["refused"]


def test_nothing_guarded_starts_without_a_lease(agent: Agent) -> None:
    assert "lease" in agent.order("spawn", name="a", argv=["true"])["refused"]
    agent.order("extend", term=1, deadline=time.monotonic() - 1)
    assert "lease" in agent.order("spawn", name="a", argv=["true"])["refused"]


def test_term_that_is_over_stays_over(agent: Agent) -> None:
    agent.order("extend", term=1, deadline=time.monotonic() + 0.5)
    agent.spawn("a", "sleep", "1000")
    agent.wait(lambda news: "withdrawn" in news, "withdrawn")
    agent.order("extend", term=1, deadline=time.monotonic() + 60)
    assert "lease" in agent.order("spawn", name="a", argv=["true"])["refused"]
    agent.order("extend", term=2, deadline=time.monotonic() + 60)
    agent.spawn("a", "sleep", "1000")


def test_farewell_is_said_at_every_withdrawal(held: Agent, tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f"echo $REASON $EDGE_DUTY >> {said}"
    held.order(
        "hold_farewell", name="relay", argv=["sh", "-c", script], env={"REASON": "x"}, limit=5.0
    )
    held.signal(signal.SIGKILL)
    wait_until(lambda: is_gone(held.guard), "the guard is done")
    assert said.read_text().startswith("x ")


def test_farewell_that_was_dropped_is_not_said(held: Agent, tmp_path: Path) -> None:
    said = tmp_path / "said"
    argv = ["touch", str(said)]
    held.order("hold_farewell", name="relay", argv=argv, env={}, limit=5.0)
    held.order("drop_farewell", name="relay")
    held.order("withdraw")
    assert not said.exists()


def test_farewell_that_hangs_ends_at_its_limit(held: Agent) -> None:
    held.order("hold_farewell", name="relay", argv=["sleep", "1000"], env={}, limit=0.1)
    held.order("withdraw")
    assert not below(held)


def test_standby_agent_that_dies_leaves_no_farewell_behind(agent: Agent, tmp_path: Path) -> None:
    said = tmp_path / "said"
    argv = ["touch", str(said)]
    outcome = agent.order("hold_farewell", name="relay", argv=argv, env={}, limit=5.0)
    assert "lease" in outcome["refused"]
