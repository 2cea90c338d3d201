"""Virtual addresses on real interfaces: who may have one, who hears of it, when it goes."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edge.duty.guard import packets
from edge.duty.guard.addresses import Addresses
from edge.duty.guard.loop import Loop
from edge.duty.guard.netlink import Address, Changes, parse
from edge.duty.guard.probe import Manner
from tests.duty.stage import Agent, Machine, is_gone
from tests.lan.deadline import SCALE, holds_for, wait_until

ADDRESSES = ["10.9.0.50/24", "10.9.0.51/32", "fd00:9::50/64", "fd00:9::51/128"]
Machines = tuple[Machine, Machine, Machine]


@contextmanager
def listening(machine: Machine) -> Iterator[socket.socket]:
    """Every frame that reaches this machine."""
    with machine.socket(socket.AF_PACKET, socket.SOCK_RAW) as sniffer:
        sniffer.bind(("lan", 0x0003))
        sniffer.settimeout(20 * SCALE)
        yield sniffer


def hears(sniffer: socket.socket, address: str) -> bytes:
    """The owner that the next announcement of this address names."""
    packed, _ = parse(address)
    while True:
        owner = packets.owner(sniffer.recv(2000), packed)
        if owner is not None:
            return owner


def asks(sniffer: socket.socket, address: str) -> None:
    """Wait until somebody asks who has this address."""
    packed, _ = parse(address)
    question = packets.probe(bytes(6), packed)
    place = len(question) - len(packed)
    while True:
        frame = sniffer.recv(2000)
        if frame[12:14] == question[12:14] and frame[place : len(question)] == packed:
            return


def hot(machine: Machine, *, wrapper: tuple[str, ...] = (), **settings: object) -> Agent:
    agent = machine.agent(wrapper=wrapper, **settings)
    agent.order("keep", term=1)
    return agent


def nodad(address: str) -> tuple[str, ...]:
    return ("nodad",) if ":" in address else ()


def stop_both(agent: Agent, number: signal.Signals) -> None:
    """The agent is frozen first, so that it cannot sweep after its guard."""
    agent.signal(signal.SIGSTOP)
    os.kill(agent.guard, number)
    agent.signal(number)


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_is_there_at_once_and_gone_at_once(machines: Machines, address: str) -> None:
    white, black, _ = machines
    agent = hot(white)
    with listening(black) as sniffer:
        assert "done" in agent.hold(address)
        assert address in white.addresses()
        assert hears(sniffer, address).hex(":") == white.mac()
    agent.order("drop_address", address=address, interface="lan")
    assert address not in white.addresses()


def test_several_addresses_go_together(machines: Machines) -> None:
    white, *_ = machines
    before = white.addresses()
    agent = hot(white)
    for address in ADDRESSES:
        agent.hold(address)
    assert white.addresses() >= set(ADDRESSES)
    agent.order("withdraw")
    assert white.addresses() == before


@pytest.mark.parametrize("address", ["10.9.0.50/24", "fd00:9::50/64"])
def test_address_is_announced_at_once_and_after_1_and_5_seconds(
    machines: Machines, address: str
) -> None:
    """The gaps, less what a busy listener may have been late for the earlier one."""
    white, black, _ = machines
    agent = hot(white)
    heard_at = []
    with listening(black) as sniffer:
        agent.hold(address)
        for _ in range(3):
            for _ in range(2 if "." in address else 1):  # ARP says it in two ways
                assert hears(sniffer, address).hex(":") == white.mac()
            heard_at.append(time.monotonic())
    first, second, third = heard_at
    assert second - first > 0.5
    assert third - second > 3.5


def test_new_address_answers_from_outside(machines: Machines) -> None:
    white, black, _ = machines
    hot(white).hold("10.9.0.50/24")
    with black.socket() as client:
        client.settimeout(20 * SCALE)
        with pytest.raises(ConnectionRefusedError):
            client.connect(("10.9.0.50", 7))


@pytest.mark.parametrize("address", ["10.9.0.50/24", "fd00:9::50/64"])
def test_address_of_another_machine_is_refused_with_its_name(
    machines: Machines, address: str
) -> None:
    white, black, _ = machines
    black.namespace.ip("address", "add", address, "dev", "lan", *nodad(address))
    refused = hot(white).hold(address)["refused"]
    assert black.mac() in refused
    assert address not in white.addresses()


@pytest.mark.parametrize("address", ["10.9.0.50/24", "fd00:9::50/64"])
def test_dying_holder_is_waited_for(machines: Machines, address: str) -> None:
    """Its agent and guard were killed together: the kernel takes the address away."""
    white, black, _ = machines
    old = hot(black)
    old.hold(address)
    stop_both(old, signal.SIGKILL)
    outcome = hot(white).hold(address)
    assert "done" in outcome
    assert address not in black.addresses(), "never on both"


def test_addresses_go_before_a_process_is_told_to_end(machines: Machines, tmp_path: Path) -> None:
    """Whoever does the duty by halves should not be reached any more."""
    white, *_ = machines
    agent, seen = hot(white), tmp_path / "seen"
    script = f"trap 'ip -o address show dev lan > {seen}; exit' TERM; echo up; sleep 1000 & wait"
    for address in ADDRESSES:
        agent.hold(address)
    agent.spawn("pump", "sh", "-c", script, grace=60.0)
    agent.wait(lambda news: news.get("line") == "up", "it is up")
    agent.signal(signal.SIGSTOP)
    wait_until(seen.exists, "it was told")
    wait_until(lambda: "10.9.0.1/24" in seen.read_text(), "it has looked")
    assert not [each for each in ADDRESSES if each in seen.read_text()]


def test_missing_interface_is_refused_in_words(machines: Machines) -> None:
    refused = hot(machines[0]).hold("10.9.0.50/24", "wlan7")["refused"]
    assert refused == "there is no such interface; there is lan, lo"


def test_missing_right_is_refused_in_words(machines: Machines) -> None:
    white, *_ = machines
    agent = hot(white, wrapper=("setpriv", "--bounding-set", "-net_admin,-net_raw"))
    assert "the right is missing" in agent.hold("10.9.0.50/24")["refused"]


def test_removed_address_is_put_back_and_announced(machines: Machines) -> None:
    """At once: the lease is so long that no new deadline brings it back."""
    white, black, _ = machines
    agent = hot(white, lease=60.0)
    for address in ADDRESSES:
        agent.hold(address)
    with listening(black) as sniffer:
        for address in ADDRESSES:
            white.namespace.ip("address", "del", address, "dev", "lan")
        for address in ADDRESSES:
            wait_until(lambda: address in white.addresses(), f"{address} is back")  # noqa: B023
        assert hears(sniffer, ADDRESSES[0]).hex(":") == white.mac()
    agent.order("withdraw")
    assert not white.addresses() & set(ADDRESSES)


def test_interface_that_comes_back_gets_its_addresses_back(machines: Machines) -> None:
    white, *_ = machines
    agent = hot(white, lease=60.0)
    for address in ADDRESSES:
        agent.hold(address)
    white.namespace.ip("link", "del", "lan")
    wait_until(lambda: not white.addresses(), "unplugged")
    white.plug_in()
    wait_until(lambda: white.addresses() >= set(ADDRESSES), "all back")
    agent.order("withdraw")
    assert not white.addresses() & set(ADDRESSES)


def test_interface_that_goes_down_and_up_keeps_its_addresses(machines: Machines) -> None:
    white, black, _ = machines
    agent = hot(white, lease=60.0)
    for address in ADDRESSES:
        agent.hold(address)
    white.namespace.ip("link", "set", "lan", "down")
    with listening(black) as sniffer:
        white.namespace.ip("link", "set", "lan", "up")
        assert hears(sniffer, ADDRESSES[0]).hex(":") == white.mac()
        wait_until(lambda: white.addresses() >= set(ADDRESSES), "all there")


@pytest.mark.parametrize(
    ("address", "other"),
    [("10.9.0.50/24", "10.9.0.50/32"), ("fd00:9::50/64", "fd00:9::50/128")],
)
def test_the_address_with_another_prefix_goes_too(
    machines: Machines, address: str, other: str
) -> None:
    """An operator has put it there: when ours goes, nobody may be left who answers for it."""
    white, *_ = machines
    agent = hot(white)
    white.namespace.ip("address", "add", other, "dev", "lan", *nodad(other))
    assert "done" in agent.hold(address)
    assert white.addresses() & {address, other} == {address}
    agent.order("drop_address", address=address, interface="lan")
    assert not white.addresses() & {address, other}


def test_machines_own_address_survives(machines: Machines) -> None:
    """Even if ours came first and is the primary one of the subnet."""
    white, *_ = machines
    agent = hot(white)
    white.namespace.ip("address", "del", "10.9.0.1/24", "dev", "lan")
    agent.hold("10.9.0.50/24")
    white.namespace.ip("address", "add", "10.9.0.1/24", "dev", "lan")
    agent.order("withdraw")
    assert "10.9.0.1/24" in white.addresses()
    assert "10.9.0.50/24" not in white.addresses()


def test_addresses_stay_while_the_lease_is_renewed(machines: Machines) -> None:
    """Longer than the kernel's lifetime of one second, without a gap."""
    white, *_ = machines
    agent = hot(white)
    for address in ADDRESSES:
        agent.hold(address)
    holds_for(3.0, lambda: white.addresses() >= set(ADDRESSES), "all there", agent.explain)


def test_leftover_address_is_swept_before_the_start(machines: Machines) -> None:
    white, *_ = machines
    for address in ("10.9.0.50/16", "fd00:9::50/64"):
        white.namespace.ip("address", "add", address, "dev", "lan")
    held = [("10.9.0.50/24", "lan"), ("fd00:9::50/64", "lan"), ("10.9.0.52/24", "wlan7")]
    swept = white.agent(addresses=held).news[0]["swept"]
    assert swept == ["10.9.0.50/24 on lan", "fd00:9::50/64 on lan"]
    assert not {"10.9.0.50/16", "fd00:9::50/64"} & white.addresses()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_dead_or_frozen_agent_leaves_no_address(machines: Machines, number: signal.Signals) -> None:
    white, *_ = machines
    agent = hot(white)
    for address in ADDRESSES:
        agent.hold(address)
    agent.signal(number)
    wait_until(lambda: not white.addresses() & set(ADDRESSES), "all gone", timeout=10)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_dead_or_frozen_guard_leaves_no_address(machines: Machines, number: signal.Signals) -> None:
    white, *_ = machines
    agent = hot(white, addresses=[(each, "lan") for each in ADDRESSES], lease=5.0)
    for address in ADDRESSES:
        agent.hold(address)
    os.kill(agent.guard, number)
    agent.wait(lambda news: "lost" in news, "the guard is lost")
    assert not white.addresses() & set(ADDRESSES), "swept before anybody is told"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_both_dead_or_frozen_the_kernel_removes_the_addresses(
    machines: Machines, number: signal.Signals
) -> None:
    white, *_ = machines
    agent = hot(white)
    for address in ADDRESSES:
        agent.hold(address)
    stop_both(agent, number)
    wait_until(lambda: not white.addresses() & set(ADDRESSES), "all gone", timeout=10)


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.02, 0.04, 0.06])
@pytest.mark.parametrize("fault", ["agent killed", "agent frozen", "guard killed", "both killed"])
def test_fault_in_the_middle_of_a_promotion(machines: Machines, fault: str, moment: float) -> None:
    """Probing takes 40 ms, so the moments fall before, into and after it."""
    white, *_ = machines
    agent = hot(white, addresses=[(each, "lan") for each in ADDRESSES])
    for address in ADDRESSES:
        agent.send("hold_address", address=address, interface="lan")
    time.sleep(moment)
    match fault:
        case "agent killed":
            agent.signal(signal.SIGKILL)
        case "agent frozen":
            agent.signal(signal.SIGSTOP)
        case "guard killed":
            os.kill(agent.guard, signal.SIGKILL)
            agent.wait(lambda news: "lost" in news, "lost")
        case "both killed":
            stop_both(agent, signal.SIGKILL)
    if fault in {"agent killed", "guard killed"}:
        wait_until(lambda: is_gone(agent.guard), "the guard is gone")
        assert not white.addresses() & set(ADDRESSES)
        return
    lease_over_at = time.monotonic() + 1.0  # until then the guard may go on
    wait_until(lambda: time.monotonic() > lease_over_at, "the lease is over")
    wait_until(lambda: not white.addresses() & set(ADDRESSES), "all gone", timeout=10)
    holds_for(0.5, lambda: not white.addresses() & set(ADDRESSES), "none comes back")


@pytest.mark.parametrize("address", ["10.9.0.50/24", "fd00:9::50/64"])
def test_guard_that_wakes_after_its_lease_takes_nothing(machines: Machines, address: str) -> None:
    """It froze while it asked the network; nobody answered, and somebody else has it by now."""
    white, black, _ = machines
    agent = hot(white, probe_wait=0.2)
    with white.namespace.entered():
        changes = Changes()
    with closing(changes), listening(black) as sniffer:
        agent.send("hold_address", address=address, interface="lan")
        asks(sniffer, address)
        agent.signal(signal.SIGSTOP)
        os.kill(agent.guard, signal.SIGSTOP)
        holds_for(1.5, lambda: address not in white.addresses(), "not there")  # the lease is over
        os.kill(agent.guard, signal.SIGCONT)
        agent.signal(signal.SIGCONT)
        agent.wait(lambda news: "refused" in news, "refused")
        was_there = any(isinstance(each, Address) for each in changes.read())
    assert not was_there


@contextmanager
def addresses_of(machine: Machine) -> Iterator[Addresses]:
    """Without a guard, and without asking the network."""
    with machine.namespace.entered():
        addresses = Addresses(Loop(), 1, Manner(probes=0, wait=0.0, patience=0.0))
        with closing(addresses._kernel), closing(addresses._changes):
            yield addresses
            for wire in addresses._wires.values():
                wire.close()


def test_what_is_held_is_announced_again_when_asked(machines: Machines) -> None:
    white, black, _ = machines
    with listening(black) as sniffer, addresses_of(white) as addresses:
        addresses.hold("fd00:9::50/64", "lan", lambda: time.monotonic() + 1000, lambda _: None)
        assert hears(sniffer, "fd00:9::50/64").hex(":") == white.mac()
        addresses.announce_all()
        assert hears(sniffer, "fd00:9::50/64").hex(":") == white.mac()


def test_an_announcement_does_not_forget_what_is_about_to_be_put_back(machines: Machines) -> None:
    with addresses_of(machines[0]) as addresses:
        addresses.hold(ADDRESSES[0], "lan", lambda: time.monotonic() + 1000, lambda _: None)
        (held,) = addresses._held.values()
        addresses._put_back([held])
        (coming_back,) = held.timers
        addresses.announce_all()
        assert coming_back.call is not None
        assert coming_back in held.timers


def test_nothing_is_added_past_the_deadline(machines: Machines) -> None:
    """The guard may have been frozen between the answer of the network and the kernel's."""
    white, *_ = machines
    said: list[str] = []
    with addresses_of(white) as addresses:
        addresses.hold(ADDRESSES[0], "lan", lambda: time.monotonic() - 0.001, said.append)
    assert said == ["the lease is over"]
    assert not addresses.is_any_held()
    assert ADDRESSES[0] not in white.addresses()


@pytest.mark.parametrize("address", ADDRESSES)
def test_changed_hardware_address_is_announced(machines: Machines, address: str) -> None:
    white, black, _ = machines
    hot(white).hold(address)
    with listening(black) as sniffer:
        white.namespace.ip("link", "set", "lan", "address", "02:00:00:00:00:77")
        wait_until(lambda: packets.readable(hears(sniffer, address)) == white.mac(), "announced")
    assert white.mac() == "02:00:00:00:00:77"


@pytest.mark.parametrize("address", ["10.9.0.50/24", "fd00:9::50/64"])
def test_open_connection_is_reset_by_the_new_holder(machines: Machines, address: str) -> None:
    """The client is told at once instead of waiting for hours."""
    white, black, outside = machines
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    outside.namespace.ip("address", "add", "fd00:9::3/64", "dev", "lan", "nodad")
    old = hot(white)
    old.hold(address)
    with white.socket(family) as listener, outside.socket(family) as client:
        listener.bind(("", 7007))
        listener.listen()
        client.settimeout(20 * SCALE)
        client.connect((address.partition("/")[0], 7007))
        old.signal(signal.SIGKILL)
        wait_until(lambda: address not in white.addresses(), "gone")
        assert "done" in hot(black).hold(address)
        with pytest.raises(ConnectionResetError):
            talk(client)


def talk(client: socket.socket) -> None:
    """The first words may be on their way when the reset comes."""
    while True:
        client.sendall(b"are you there?")
        client.recv(100)
