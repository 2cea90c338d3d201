"""What docs/duty.md promises of order, variables, limits and fitness, on real nodes."""

import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lan.conftest import MakeGroup
from tests.lan.deadline import SCALE, wait_until
from tests.lan.group import OUTSIDER, Group, child_environment
from tests.lan.groupfile import GROUP, GroupFile, Witness

pytestmark = pytest.mark.lan

# A part of the duty notes what it is, what comes, and what it was told by its environment.
PART = """#!/bin/sh
name=$1
role=$EDGE_ROLE
note() {
    echo "$name $1 $role term=$EDGE_TERM why=$EDGE_REASON $EDGE_GROUP/$EDGE_NODE$2" >> $FOLDER/said
}
FOLDER=$(dirname "$0")
case $name in
    on_* | may_*) note runs " alert=$EDGE_ALERT to=$EDGE_TARGET"; exit 0 ;;
    driver) note starts; while read -r line; do note "$line"; done ;;
esac
trap 'note ends; exit 0' TERM
note starts
while :; do sleep 1000 & wait $!; done
"""
TABLES = """
[[duty.process]]
name = "first"
command = ["{part}", "first"]

[[duty.process]]
name = "second"
command = ["{part}", "second"]

[[duty.process]]
name = "warmer"
command = ["{part}", "warmer"]
run_on = "standby"

[[duty.process]]
name = "helper"
command = ["{part}", "helper"]
run_on = "always"

[[duty.process]]
name = "driver"
command = ["{part}", "driver"]
run_on = "always"
instance = true

[[duty.process]]
name = "stranger"
command = ["/bin/sh", "-c", "echo $(id -un) in $PWD likes $COLOUR at $HOME; exec sleep 1000"]
user = "nobody"
directory = "/usr"
environment = {{ COLOUR = "green" }}

[[duty.hook]]
on_hot = ["{part}", "on_hot"]
on_standby = ["{part}", "on_standby"]
on_alert = ["{part}", "on_alert"]
may_switch = ["{part}", "may_switch"]
timeout = 20
"""


class Diary:
    """What the parts of one node's duty said."""

    def __init__(self, folder: Path, node: str) -> None:
        self._path = folder / f"parts-{node}" / "said"
        self._seen = 0

    def lines(self) -> list[str]:
        text = self._path.read_text() if self._path.exists() else ""
        return [each.replace(GROUP, "G") for each in text.splitlines()]

    def has(self, *wanted: str) -> Callable[[], bool]:
        """As beginnings, in this order, with anything between them."""

        def is_there() -> bool:
            said = iter(self.lines())
            return all(any(line.startswith(each) for line in said) for each in wanted)

        return is_there


def start(group: Group, node: str, tables: str = TABLES) -> None:
    """A node whose parts write into a folder of its own."""
    folder = group.folder / f"parts-{node}"
    folder.mkdir(exist_ok=True)
    part = folder / "part"
    part.write_text(PART)
    part.chmod(0o755)
    more = tables.format(part=part, folder=folder)
    group.start_with(node, replace(group.file, more=more))


def does_duty(group: Group, node: str) -> bool:
    state = group.own_state(node)
    return (state.get("role"), state.get("duty")) == ("hot", "on")


def start_pair(group: Group, tables: str = TABLES) -> None:
    if group.file.witness is not Witness.NONE:
        group.start("witness")
    start(group, "white", tables)
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")
    start(group, "black", tables)
    group.wait_redundant("white", "black")


def edge(group: Group, node: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command of the operator's, on that node's machine."""
    config = str(group.folder / node / "edge.toml")
    command = [sys.executable, "-m", "edge", *words, "--config", config]
    return subprocess.run(
        group.lan.hosts[node].namespace.command(*command),
        capture_output=True,
        text=True,
        timeout=60 * SCALE,
        env=child_environment(),
        check=False,
    )


def check_diary(diary: Diary, *wanted: str) -> None:
    explain = lambda: "\n".join(diary.lines())  # noqa: E731
    wait_until(diary.has(*wanted), f"{wanted}", 20, explain)


@pytest.fixture
def group(make_group: MakeGroup) -> Group:
    return make_group(GroupFile(anonymous="operate"))


def test_order_and_variables_of_a_whole_duty(group: Group) -> None:
    """Start in the file's order, stop in the reverse, each told what the contract says."""
    start_pair(group)
    white, black = (Diary(group.folder, each) for each in ("white", "black"))
    check_diary(
        white,
        "on_standby runs standby term=0 why= G/white alert= to=",
        "first starts hot term=1 why=cold_start G/white",
        "second starts hot term=1 why=cold_start G/white",
        "on_hot runs hot term=1 why=cold_start G/white alert= to=",
    )
    check_diary(white, "warmer starts starting", "warmer ends", "first starts")
    check_diary(white, "driver starts starting", 'driver {"role":"hot","term":1} ')
    assert edge(group, "white", "switchover", "black").returncode == 0
    check_diary(
        white,
        "may_switch runs hot term=1 why=cold_start G/white alert= to=black",
        "on_standby runs standby term=1 why=switchover G/white alert= to=",
        'driver {"role":"standby","term":1} ',
        "warmer starts standby",
    )
    check_diary(white, "on_standby runs standby term=1", "second ends", "first ends", "warm")
    check_diary(black, "warmer ends", "first starts hot term=2 why=switchover G/black")
    check_diary(black, 'driver {"role":"hot","term":2} ')
    for diary in (white, black):
        starts = [each.split()[0] for each in diary.lines() if " starts " in each]
        assert (starts.count("helper"), starts.count("driver")) == (1, 1), "left alone"
    group.kill("black")
    check_diary(black, "on_standby runs standby term=2 why=withdrawn G/black")
    # By its wills or, where those of two brokers come too far apart, by its silence.
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")
    reason = group.own_state("white")["reason"]
    assert reason in {"died", "silent"}
    check_diary(white, f"first starts hot term=3 why={reason}", "on_hot runs hot term=3")
    check_diary(white, "on_alert runs hot term=3 why=No standby is ready", "")
    log = (group.folder / "white.log").read_text()
    assert "edge.duty: stranger: nobody in /usr likes green at /nonexistent\n" in log


def test_a_switchover_by_command_shows_each_step_on_both_sides(group: Group) -> None:
    """Asked at the broker of the old hot node, which hears of the new one's steps."""
    start_pair(group)
    for old, new in (("white", "black"), ("black", "white")):
        group.wait_redundant(old, new)
        done = edge(group, old, "switchover", new, "--node", old)
        assert done.returncode == 0, done.stderr
        steps = re.findall(r"^  (\w+): (.+) \d+ ms$", done.stdout, re.MULTILINE)
        assert [step for node, step in steps if node == old] == [
            "hooks on_standby",
            "stop stranger",
            "stop driver",
            "stop second",
            "stop first",
            "farewells",
            "leftovers",
        ]
        begun = [step for node, step in steps if node == new]
        assert begun == ["stop warmer", "start first", "start second", *begun[3:]]
        assert begun[3:] == ["start driver", "start stranger", "hooks on_hot"]
        assert re.search(
            rf"^switchover: {new} is hot, \d+ ms after the order$", done.stdout, re.MULTILINE
        )
    for via in ("white", "black"):
        told = [each.body.get("to") for each in group.events("switchover", via)]
        assert told == ["black", "white"], "each broker tells of both"


SLOW = """
[[duty.process]]
name = "slow"
command = ["/usr/bin/python3", "{folder}/slow.py"]
stop_timeout = 60
"""
# Ends when its gate is opened, not when it is told to.
SLOW_CODE = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
signal.sigwait({{signal.SIGTERM}})
open("{gate}").read()
"""


def test_the_lease_is_kept_until_the_last_process_has_ended(group: Group) -> None:
    gate = group.folder / "gate"
    os.mkfifo(gate)
    for node in ("white", "black"):
        folder = group.folder / f"parts-{node}"
        folder.mkdir()
        (folder / "slow.py").write_text(SLOW_CODE.format(gate=gate))
    start_pair(group, SLOW)
    assert group.publish("white", "request/switchover", "") == 0
    group.wait_for(lambda: group.own_state("white").get("duty") == "stopping", "it is stopping")
    records = group.messages("white", "lease")

    def renewed() -> bool:
        fresh = group.messages("white", "lease")[len(records) :]
        assert {each["kind"] for each in fresh} <= {"renew"}, fresh
        return len(fresh) > 5

    group.wait_for(renewed, "the lease is renewed although the duty is half over")
    assert group.role("white") == "hot"
    gate.write_text("now\n")
    group.wait_for(lambda: does_duty(group, "black"), "black does the duty")
    gate.unlink()


FITNESS = """
[[duty.process]]
name = "meter"
command = ["/usr/bin/python3", "-c", "import time, os; time.sleep(1000)", "{folder}"]
restart_delay = 0.05
restart_delay_max = 0.1
max_restarts = 2
restart_window = 120
"""


def meters(group: Group, node: str) -> list[int]:
    found = []
    for pid in group.lan.hosts[node].namespace.pids():
        with_words = Path(f"/proc/{pid}/cmdline")
        try:
            words = with_words.read_bytes()
        except OSError:
            continue
        if f"parts-{node}".encode() in words and b"edge.toml" not in words:
            found.append(pid)
    return found


def test_a_node_whose_process_keeps_failing_hands_over_only_to_a_better_one(group: Group) -> None:
    if group.file.witness is not Witness.NONE:
        group.start("witness")
    start(group, "white", FITNESS)
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")

    def is_unfit() -> bool:
        for pid in meters(group, "white"):
            os.kill(pid, signal.SIGKILL)
        return "duty" in group.alerts("white")

    group.wait_for(is_unfit, "white says that it is unfit", 40)
    group.wait_for(lambda: meters(group, "white"), "it goes on trying")
    assert "Process meter failed 3 times within 120 s" in group.alerts("white")["duty"]
    state = group.own_state("white")
    assert state["role"] == "hot", "nobody is better"
    group.wait_for(
        lambda: int(str(group.own_state("white")["service_level"])) < 200, "its level is low"
    )
    start(group, "black", FITNESS)
    group.wait_for(lambda: does_duty(group, "black"), "black takes over", 40)
    group.wait_for(lambda: group.role("white") == "crashed", "white says why it is no standby")
    assert "process meter failed 3 times" in str(group.own_state("white")["reason"])
    assert not meters(group, "white")


TOO_LATE = """
[timing]
starting_to_hot = 2.0

[[duty.process]]
name = "quick"
command = ["sleep", "1000"]
start_timeout = 2.0

[[duty.process]]
name = "late"
command = ["sleep", "1000"]
start_timeout = 2.0
health = {{ command = ["/bin/sh", "-c", "{late}"], interval = 0.1 }}

[[duty.hook]]
on_hot = ["true"]
timeout = 2.0
"""


def test_a_duty_that_starts_too_late_goes_to_the_next_node(group: Group) -> None:
    """It is the sum that is too long here: each part keeps within its own limit."""
    slower = TOO_LATE.replace('["sleep", "1000"]\nstart', '["sleep", "1000"]\n{health}start', 1)
    health = 'health = {{ command = ["/bin/sleep", "1.5"] }}\n'
    group.start("witness")
    start(group, "white", slower.replace("{health}", health).replace("{late}", "false"))
    group.wait_for(lambda: "duty" in group.alerts("white"), "white says why", 40)
    start(group, "black", TOO_LATE.replace("{late}", "true"))
    group.wait_for(lambda: does_duty(group, "black"), "black does the duty", 60)
    group.wait_redundant("black", "white", timeout=60)
    words = "The duty could not be started: it took longer than timing.starting_to_hot, at last: "
    assert group.alerts("white")["duty"] == words + "start late."
    assert all(claim.end < math.inf for claim in group.claims("white"))


NEIGHBOURS = """
[[duty.address]]
address = "{four}/24"
interface = "eth0"

[[duty.address]]
address = "{six}/64"
interface = "eth0"
"""


def test_neighbours_learn_the_new_holder_although_they_ask_nobody(group: Group) -> None:
    """Gratuitous ARP and unsolicited neighbour advertisements, for both of two addresses."""
    four = group.lan.hosts["white"].address.rsplit(".", 1)[0] + ".200"
    addresses = (four, "fd00:77::200")
    outsider = group.lan.hosts[OUTSIDER]
    outsider.namespace.ip("address", "add", "fd00:77::5/64", "dev", "eth0", "nodad")
    group.file.more = NEIGHBOURS.format(four=addresses[0], six=addresses[1])
    group.start_redundant("white")
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")

    def known(node: str) -> bool:
        link = group.lan.hosts[node].namespace.ip("link", "show", "eth0")
        mac = re.findall(r"link/ether (\S+)", link)[0]
        table = outsider.namespace.ip("neighbour", "show")
        return all(re.search(rf"^{each} .*lladdr {mac}", table, re.MULTILINE) for each in addresses)

    for each in addresses:
        assert outsider.open_process("ping", "-c", "1", "-W", "5", each).wait(20) == 0
    assert known("white")
    group.kill("white")
    group.wait_for(lambda: known("black"), "the outsider knows black by both addresses")
