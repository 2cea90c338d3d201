"""What being hot means outside: an address, a process and hooks follow the role, and never two
nodes do the duty at one time, whatever is killed or frozen."""

import itertools
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.lan.conftest import MakeGroup
from tests.lan.deadline import SCALE, wait_until
from tests.lan.group import OUTSIDER, Group
from tests.lan.groupfile import WITNESS, GroupFile
from tests.lan.harness import Host

pytestmark = pytest.mark.lan

DUTY = """
[[duty.address]]
address = "{address}/24"
interface = "eth0"

[[duty.process]]
name = "pump"
command = ["{python}", "-c", "import time; time.sleep(3600)", "duty-pump"]

[[duty.hook]]
on_hot = ["/bin/sh", "-c", "echo $EDGE_TERM $EDGE_ROLE >> {folder}/$EDGE_NODE.hook"]
on_standby = ["/bin/sh", "-c", "echo $EDGE_TERM $EDGE_ROLE >> {folder}/$EDGE_NODE.hook"]
may_switch = ["/bin/sh", "-c", "test ! -e {folder}/veto || {{ echo the tank is filling; exit 1; }}"]
"""


@pytest.fixture
def group(make_group: MakeGroup, tmp_path: Path) -> Group:
    group = make_group(GroupFile(anonymous="operate"))
    network = group.lan.hosts["white"].address.rsplit(".", 1)[0]
    group.file.more = DUTY.format(
        address=f"{network}.200", python="/usr/bin/python3", folder=tmp_path
    )
    return group


def address_of(group: Group) -> str:
    return group.lan.hosts["white"].address.rsplit(".", 1)[0] + ".200"


def holds_address(group: Group, node: str) -> bool:
    return address_of(group) in group.lan.hosts[node].namespace.ip("-4", "address", "show")


def pumps(host: Host) -> list[int]:
    """The processes of the duty on that machine."""
    found = []
    for pid in host.namespace.pids():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"duty-pump" in line:
            found.append(pid)
    return found


def does_duty(group: Group, node: str) -> bool:
    return holds_address(group, node) and len(pumps(group.lan.hosts[node])) == 1


def does_nothing(group: Group, node: str) -> bool:
    return not holds_address(group, node) and not pumps(group.lan.hosts[node])


def start(group: Group) -> None:
    group.start_redundant("white")
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")
    assert does_nothing(group, "black")
    assert group.own_state("white")["duty"] == "on"
    assert group.own_state("black")["duty"] == "off"


def guard_of(group: Group, node: str) -> int:
    """The guard's process id: the agent's child that runs nothing but the guard."""
    pattern = re.compile(rb"edge\.duty\.guard\.main")
    for pid in group.lan.hosts[node].namespace.pids():
        if pattern.search(Path(f"/proc/{pid}/cmdline").read_bytes()):
            return pid
    raise AssertionError(f"no guard runs on {node}")


def taken_over(group: Group) -> Callable[[], bool]:
    return lambda: does_duty(group, "black") and does_nothing(group, "white")


def hook_lines(tmp_path: Path, node: str) -> list[str]:
    path = tmp_path / f"{node}.hook"
    return path.read_text().splitlines() if path.exists() else []


def test_the_duty_follows_a_planned_switchover(group: Group, tmp_path: Path) -> None:
    start(group)
    terms = [line.split()[0] for line in hook_lines(tmp_path, "white") if line.endswith("hot")]
    assert group.publish("black", "request/switchover", '{"transaction":"1"}') == 0
    group.wait_for(taken_over(group), "black does the duty")
    (response,) = group.messages("black", "response/switchover")
    assert response["status"] == "ok"
    steps = [each["step"] for each in response["data"]["steps"]]  # type: ignore[index]
    assert steps.index("stop pump") < steps.index(f"drop {address_of(group)}/24")
    group.wait_for(lambda: hook_lines(tmp_path, "black")[-1].endswith("hot"), "black's on_hot")
    assert int(hook_lines(tmp_path, "black")[-1].split()[0]) > int(terms[-1])
    assert hook_lines(tmp_path, "white")[-1].endswith("standby")


def test_a_veto_refuses_a_planned_switchover(group: Group, tmp_path: Path) -> None:
    start(group)
    (tmp_path / "veto").touch()
    assert group.publish("black", "request/switchover", '{"transaction":"1"}') == 0
    group.wait_for(lambda: group.messages("black", "response/switchover"), "an answer")
    (response,) = group.messages("black", "response/switchover")
    assert (response["code"], response["error"]) == ("vetoed", "the tank is filling")
    group.assert_undisturbed("white")
    assert does_duty(group, "white")


def test_a_killed_agent_leaves_nothing_behind(group: Group) -> None:
    start(group)
    group.kill("white")
    group.wait_for(taken_over(group), "black does the duty, white nothing")


def test_a_frozen_agent_does_no_duty(group: Group) -> None:
    start(group)
    group.freeze("white", whole_machine=False)
    group.wait_for(taken_over(group), "black does the duty, white nothing")
    group.thaw("white")
    group.wait_redundant("black", "white")
    assert does_nothing(group, "white")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_lost_guard_ends_the_duty_and_the_role(group: Group, how: signal.Signals) -> None:
    start(group)
    os.kill(guard_of(group, "white"), how)
    group.wait_for(taken_over(group), "black does the duty, white nothing")
    group.wait_redundant("black", "white")
    assert guard_of(group, "white") != 0


def test_agent_and_guard_killed_together_leave_nothing_for_long(group: Group) -> None:
    """Processes die with their parent; the kernel lets the address go."""
    start(group)
    guard = guard_of(group, "white")
    os.kill(guard, signal.SIGSTOP)
    group.kill("white")
    os.kill(guard, signal.SIGKILL)
    group.wait_for(taken_over(group), "black does the duty, white nothing")


def test_an_isolated_hot_node_ends_its_duty_before_the_other_begins(group: Group) -> None:
    start(group)
    group.lan.unplug("white")
    seen = []

    def over() -> bool:
        white, black = not does_nothing(group, "white"), not does_nothing(group, "black")
        seen.append((white, black))
        return black and not white

    wait_until(over, "black does the duty, white nothing", 20, group.explain)
    assert (True, True) not in seen
    group.lan.plug("white")
    group.wait_redundant("black", "white")


def test_a_process_that_keeps_ending_moves_the_duty(group: Group) -> None:
    start(group)
    deadline = time.monotonic() + 60
    while not taken_over(group)() and time.monotonic() < deadline:
        for pid in pumps(group.lan.hosts["white"]):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    group.wait_for(taken_over(group), "black does the duty")
    assert group.role("white") in {"crashed", "standby"}


def test_the_address_answers_from_outside(group: Group) -> None:
    start(group)
    ping = ["ping", "-c", "1", "-W", "1", address_of(group)]
    assert group.lan.hosts[OUTSIDER].open_process(*ping).wait(20) == 0
    group.kill("white")
    group.wait_for(taken_over(group), "black does the duty")
    assert group.lan.hosts[OUTSIDER].open_process(*ping).wait(20) == 0


BOTH_FAMILIES = """
[[duty.address]]
address = "{four}/24"
interface = "eth0"

[[duty.address]]
address = "{six}/64"
interface = "eth0"
"""
SIX = "fd00:77::200"


def socket_in(host: Host, address: str) -> socket.socket:
    with host.namespace.entered():
        return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)


@contextmanager
def connected(group: Group, node: str, address: str) -> Iterator[socket.socket]:
    """A client of the virtual address, served by that node."""
    client, listener = (socket_in(group.lan.hosts[each], address) for each in (OUTSIDER, node))
    with client, listener:
        listener.bind((address, 7007))
        listener.listen()
        client.settimeout(20 * SCALE)
        client.connect((address, 7007))
        yield client


def talk(client: socket.socket) -> None:
    """The first words may be on their way when the reset comes."""
    while True:
        client.sendall(b"are you there?")
        client.recv(100)


def test_connected_clients_are_reset_at_a_failover(make_group: MakeGroup) -> None:
    """Not left hanging: the new holder's kernel knows no such connection and says so."""
    group = make_group(GroupFile(anonymous="operate"))
    outsider = group.lan.hosts[OUTSIDER].namespace
    outsider.ip("address", "add", "fd00:77::5/64", "dev", "eth0", "nodad")
    group.file.more = BOTH_FAMILIES.format(four=address_of(group), six=SIX)
    group.start_redundant("white")
    group.wait_for(lambda: group.own_state("white").get("duty") == "on", "white does the duty")
    with ExitStack() as stack:
        addresses = (address_of(group), SIX)
        clients = [stack.enter_context(connected(group, "white", each)) for each in addresses]
        group.kill("white")
        group.wait_for(lambda: group.own_state("black").get("duty") == "on", "black does the duty")
        for client in clients:
            with pytest.raises(ConnectionResetError):
                talk(client)


def test_a_clean_stop_ends_the_duty(group: Group) -> None:
    start(group)
    assert group.stop("white") == 0
    group.wait_for(taken_over(group), "black does the duty")


TOPIC_CHECK = """
[[duty.process]]
name = "meter"
command = ["{python}", "-c", "import time; time.sleep(3600)", "duty-pump"]
max_restarts = 0
health = {{ topic = "plant/level", max_age = 2.0, interval = 0.5, failures = 1 }}
"""


def test_a_topic_that_stops_changing_moves_the_duty(make_group: MakeGroup) -> None:
    group = make_group(GroupFile(anonymous="operate"))
    group.file.more = TOPIC_CHECK.format(python="/usr/bin/python3")
    levels = itertools.count()

    def publish(*nodes: str) -> None:
        """The application of these nodes goes on, each on its own broker."""
        for name in nodes:
            level = ("-t", "plant/level", "-m", str(next(levels)))
            command = ("mosquitto_pub", "-h", group.lan.hosts[name].address, *level)
            group.lan.hosts[OUTSIDER].open_process(*command).wait(20)

    def is_redundant() -> bool:
        publish("white", "black")
        return group.is_redundant("white", ["black"])

    def black_is_hot() -> bool:
        publish("black")
        return group.role("black") == "hot"

    def white_is_hot() -> bool:
        publish("white")
        return group.role("white") == "hot"

    group.start(WITNESS, "white")
    group.wait_for(white_is_hot, "white is hot", 40)
    group.start("black")
    group.wait_for(is_redundant, "white hot, black standby", 60)
    group.wait_for(black_is_hot, "black takes over from a node whose meter stands still", 60)
    assert "process meter" in str(group.own_state("white")["reason"])
