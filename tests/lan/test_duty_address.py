"""Virtual addresses of real nodes that cannot be had, or whose interface goes and comes back."""

import json
import re
import socket
from dataclasses import replace

import pytest

from edge.duty.guard import packets
from edge.duty.guard.netlink import parse
from tests.lan.conftest import MakeGroup
from tests.lan.deadline import SCALE
from tests.lan.group import OUTSIDER, Group
from tests.lan.groupfile import GroupFile, Witness
from tests.lan.harness import Host

pytestmark = pytest.mark.lan

TABLE = """
[[duty.address]]
address = "{address}"
interface = "{interface}"
"""
FOUR, SIX = "10.77.1.200/24", "fd00:77::200/64"


def tables(interface: str, *addresses: str) -> str:
    return "".join(TABLE.format(address=each, interface=interface) for each in addresses)


def holds(host: Host, address: str) -> bool:
    listed = json.loads(host.namespace.ip("-j", "address", "show"))
    found = (each for link in listed for each in link.get("addr_info", ()))
    return address in {f"{each['local']}/{each['prefixlen']}" for each in found}


def mac(host: Host, interface: str) -> str:
    return str(json.loads(host.namespace.ip("-j", "link", "show", interface))[0]["address"])


def does_duty(group: Group, node: str) -> bool:
    state = group.own_state(node)
    return (state.get("role"), state.get("duty")) == ("hot", "on")


def alert(group: Group, node: str) -> str:
    return group.alerts(node).get("duty", "")


def start_pair(group: Group, white: str, black: str) -> None:
    group.start("witness")
    group.start_with("white", replace(group.file, more=white))
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")
    group.start_with("black", replace(group.file, more=black))
    group.wait_redundant("white", "black")


@pytest.fixture
def group(make_group: MakeGroup) -> Group:
    """The lease goes by the first network, the clients come by the second one."""
    group = make_group(GroupFile(anonymous="operate"), switch_count=2)
    group.file.locate({name: (host.address,) for name, host in group.lan.hosts.items()})
    return group


@pytest.mark.parametrize("address", [FOUR, SIX])
def test_an_address_that_is_somebody_elses_is_nobodys_here(group: Group, address: str) -> None:
    """Both say whose it is, take it in turns to try, and one of them has it when it is free."""
    outsider = group.lan.hosts[OUTSIDER]
    nodad = ("nodad",) if ":" in address else ()
    outsider.namespace.ip("address", "add", address, "dev", "eth1", *nodad)
    group.file.more = tables("eth1", address)
    group.start("witness", "white", "black")
    owner = f"another machine ({mac(outsider, 'eth1')}) answers for it."
    words = f"The duty could not be started: address {address} on eth1: {owner}"
    group.wait_for(
        lambda: {alert(group, "white"), alert(group, "black")} == {words}, "both say it", 60
    )
    for node in ("white", "black"):
        assert not holds(group.lan.hosts[node], address)
    outsider.namespace.ip("address", "del", address, "dev", "eth1")
    group.wait_for(
        lambda: does_duty(group, "white") or does_duty(group, "black"), "one does the duty", 60
    )
    hot = "white" if does_duty(group, "white") else "black"
    assert holds(group.lan.hosts[hot], address)
    group.wait_for(lambda: alert(group, hot) == "", "its alert is over")


def test_what_an_earlier_life_left_is_gone_before_anything_else_begins(group: Group) -> None:
    """As after a crash of the machine's own making: addresses that nobody looks after."""
    white = group.lan.hosts["white"]
    for address in (FOUR, SIX):
        white.namespace.ip("address", "add", address, "dev", "eth1")
    group.start("witness")
    group.start_with("white", replace(group.file, more=tables("eth1", FOUR, SIX)))
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")
    first, second, third = (group.folder / "white.log").read_text().splitlines()[:3]
    removed = "WARNING edge.duty: removed what an earlier life left behind: "
    assert first == f"{removed}{FOUR} on eth1"
    assert second == f"{removed}{SIX} on eth1"
    assert not third.startswith(removed)


def test_an_interface_that_does_not_exist_is_no_reason_to_hand_over_to(group: Group) -> None:
    """Black says so at once, and is not taken for a standby."""
    group.start("witness")
    group.start_with("white", replace(group.file, more=tables("eth1", FOUR)))
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")
    group.start_with("black", replace(group.file, more=tables("wlan7", FOUR)))
    group.wait_for(lambda: alert(group, "black") == "Interface wlan7 is not there.", "the alert")
    group.wait_for(lambda: group.role("black") == "crashed", "black is not ready")
    assert group.publish("white", "request/switchover", "") == 0
    group.wait_for(lambda: group.messages("white", "response/switchover"), "an answer")
    assert group.messages("white", "response/switchover")[0]["code"] == "not_ready"
    group.kill("white")
    missing = r"wlan7: there is no such interface; there is eth0, eth1, lo[.;]"
    group.wait_for(lambda: re.search(missing, alert(group, "black")), "it tries, and says why")


def test_a_cable_of_the_clients_network_moves_the_duty_to_who_has_one(group: Group) -> None:
    start_pair(group, *[tables("eth1", FOUR, SIX)] * 2)
    group.lan.unplug("white", switch=1)
    group.wait_for(lambda: does_duty(group, "black"), "black does the duty")
    words = "Interface eth1 has no carrier, the cable may be out."
    group.wait_for(lambda: alert(group, "white") == words, "the alert")
    assert group.role("white") == "crashed"
    group.lan.unplug("black", switch=1)
    group.wait_for(lambda: alert(group, "black") == words, "black's alert")
    assert does_duty(group, "black"), "nobody is better"
    group.lan.plug("white", switch=1)
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")
    group.lan.plug("black", switch=1)
    group.wait_redundant("white", "black")
    group.wait_for(lambda: not alert(group, "white") and not alert(group, "black"), "all is well")


def test_an_interface_that_disappears_and_comes_back(group: Group) -> None:
    """Alone, the node stays hot and says what is missing; what comes back gets its addresses."""
    group.start("witness")
    group.start_with("white", replace(group.file, more=tables("eth1", FOUR, SIX)))
    group.wait_for(lambda: does_duty(group, "white"), "white does the duty")
    white = group.lan.hosts["white"]
    white.namespace.ip("link", "del", "eth1")
    group.wait_for(lambda: alert(group, "white") == "Interface eth1 is not there.", "the alert")
    assert does_duty(group, "white")
    group.lan.connect(white, 1, white.addresses[1])
    group.wait_for(lambda: holds(white, FOUR) and holds(white, SIX), "the addresses are back")
    group.wait_for(lambda: not alert(group, "white"), "the alert is over")
    ping = ("ping", "-c", "1", "-W", "5", FOUR.partition("/")[0])
    assert group.lan.hosts[OUTSIDER].open_process(*ping).wait(20) == 0
    group.assert_undisturbed("white")


def hears_of(sniffer: socket.socket, address: str, owner: str) -> None:
    """Wait for an announcement that this address is there."""
    packed, _ = parse(address)
    while (said := packets.owner(sniffer.recv(2000), packed)) is None or said.hex(":") != owner:
        pass


@pytest.mark.parametrize("address", ["10.77.0.200/24", SIX])
def test_clients_hear_of_the_holder_when_a_partition_ends(
    make_group: MakeGroup, address: str
) -> None:
    """Those who were on the other side know the old one, and could not hear the new one."""
    group = make_group(GroupFile(witness=Witness.NONE, policy="availability"))
    group.two_hot_allowed = True
    group.file.more = tables("eth0", address)
    hot, standby = group.start_pair()
    owner = mac(group.lan.hosts[standby], "eth0")
    frames = 2 if "." in address else 1  # ARP says it in two ways
    with group.lan.hosts[OUTSIDER].namespace.entered():
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with sniffer:
        sniffer.bind(("eth0", 0x0003))
        sniffer.settimeout(20 * SCALE)
        with group.lan.cut(hot, standby):
            for _ in range(3 * frames):  # at once, after 1 s and after 5 s
                hears_of(sniffer, address, owner)
            group.wait_for(lambda: does_duty(group, hot), "both do the duty")
        hears_of(sniffer, address, owner)
    group.wait_redundant(standby, hot)
    assert not holds(group.lan.hosts[hot], address)
