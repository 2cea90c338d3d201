"""The harness itself, on plain Mosquitto brokers: each fault does what its name says, no more."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lan import mqtt
from tests.lan.deadline import wait_until
from tests.lan.group import start_mosquitto
from tests.lan.harness import Host, Lan
from tests.lan.namespaces import NAMED, Namespace, sweep
from tests.lan.observer import Delivered, Lens, Observer
from tests.lan.processes import Process
from tests.lan.raw import dial, garbage, mute_broker

pytestmark = pytest.mark.lan


@pytest.fixture
def hosts(lan: Lan) -> tuple[Host, Host, Host]:
    return lan.add_host("white"), lan.add_host("black"), lan.add_host("router")


@pytest.fixture
def broker(hosts: tuple[Host, ...], tmp_path: Path) -> Iterator[Process]:
    """A plain Mosquitto on white."""
    process = start_mosquitto(hosts[0], tmp_path / "white", tmp_path / "white.log")
    yield process
    process.kill()


def pings(source: Host, target: str) -> bool:
    """One ICMP request, answered within a second."""
    return source.open_process("ping", "-n", "-q", "-c1", "-W1", target).wait() == 0


def is_sent(source: Host, target: Host, payload: str = "x", *options: str) -> bool:
    """mosquitto_pub with QoS 1 ends well only if the broker acknowledged."""
    command = ["mosquitto_pub", "-q", "1", "-h", target.address, "-t", "edge/t", "-m", payload]
    return source.open_process("timeout", "3", *command, *options).wait() == 0


def payloads(observer: Observer, via: str) -> list[bytes]:
    return [e.payload for e in observer.entries if isinstance(e, Delivered) and e.via == via]


def test_cut_separates_two_hosts_and_no_others(lan: Lan, hosts: tuple[Host, ...]) -> None:
    white, black, router = hosts
    assert pings(white, black.address)
    with lan.cut("white", "black"):
        assert not pings(white, black.address)
        assert not pings(black, white.address)
        assert pings(white, router.address)
        assert pings(black, router.address)
    wait_until(lambda: pings(white, black.address), "the cut is healed")


def test_one_way_cut_stops_one_direction(
    lan: Lan, hosts: tuple[Host, ...], broker: Process, observer: Observer
) -> None:
    """A published message still arrives, its acknowledgement does not come back."""
    white, black, _ = hosts
    observer.watch(Lens("white", white.namespace, "127.0.0.1", 1883))
    wait_until(lambda: observer.is_attached("white"), "observer attached", explain=broker.tail)
    with lan.cut_one_way("white", "black"):
        assert not is_sent(black, white)
    # The hardware address may have to be learnt anew.
    wait_until(lambda: is_sent(black, white), "the way back is open")


def test_reject_answers_at_once(lan: Lan, hosts: tuple[Host, ...], broker: Process) -> None:
    white, black, router = hosts
    wait_until(lambda: is_sent(black, white), "the broker is up", explain=broker.tail)
    with lan.cut("white", "black", "reject"):
        refused = black.open_process("mosquitto_pub", "-h", white.address, "-t", "t", "-m", "x")
        assert refused.wait() != 0
        assert is_sent(router, white)


def test_loss_takes_a_share_in_each_direction(lan: Lan, hosts: tuple[Host, ...]) -> None:
    """Half of the requests and half of the answers: a quarter comes back, within wide limits."""
    white, black, _ = hosts
    assert pings(black, white.address)  # the hardware addresses are known from here on
    ping = black.namespace.command("ping", "-q", "-c100", "-i0.002", "-W1", white.address)
    with lan.lossy("white", 50):
        output = subprocess.run(ping, capture_output=True, text=True, check=False).stdout
    received = re.search(r"(\d+) received", output)
    assert received
    assert 5 < int(received[1]) < 60


def test_unplugged_host_loses_its_carrier_and_a_silenced_one_does_not(
    lan: Lan, hosts: tuple[Host, ...]
) -> None:
    white, black, _ = hosts
    lan.unplug("white")
    wait_until(lambda: "LOWER_UP" not in white.namespace.ip("link", "show", "eth0"), "no carrier")
    assert not pings(black, white.address)
    lan.plug("white")
    wait_until(lambda: pings(black, white.address), "plugged in again")
    with lan.silenced("white"):
        assert "LOWER_UP" in white.namespace.ip("link", "show", "eth0")
        assert not pings(black, white.address)


def test_two_paths_are_independent(make_lan: Callable[[int], Lan]) -> None:
    lan = make_lan(2)
    white, black = lan.add_host("white", (0, 1)), lan.add_host("black", (0, 1))
    lan.unplug("white", 0)
    assert not pings(black, white.addresses[0])
    assert pings(black, white.addresses[1])


def test_power_off_is_silent(
    lan: Lan, hosts: tuple[Host, ...], broker: Process, observer: Observer
) -> None:
    """The observer outside hears no end of its connection, only nothing more."""
    white, black, _ = hosts
    observer.watch(Lens("far", black.namespace, white.address, 1883))
    wait_until(lambda: observer.is_attached("far"), "observer attached", explain=broker.tail)
    lan.power_off("white")
    assert broker.popen.wait() != 0
    assert observer.is_attached("far")
    wait_until(lambda: not observer.is_attached("far"), "the observer gives up by itself")


def test_observer_hears_retained_and_live_messages_and_comes_back(
    hosts: tuple[Host, ...], broker: Process, observer: Observer, tmp_path: Path
) -> None:
    white, black, _ = hosts
    wait_until(lambda: is_sent(black, white, "before", "-r"), "up", explain=broker.tail)
    observer.watch(Lens("white", white.namespace, "127.0.0.1", 1883))
    wait_until(lambda: payloads(observer, "white") == [b"before"], "retained message")
    assert is_sent(black, white, "live")
    wait_until(lambda: payloads(observer, "white") == [b"before", b"live"], "live message")
    broker.kill()
    wait_until(lambda: not observer.is_attached("white"), "the loss is noticed")
    assert observer.value("white", "edge/t") is None
    again = start_mosquitto(white, tmp_path / "again", tmp_path / "again.log")
    wait_until(lambda: observer.is_attached("white"), "attached again", explain=again.tail)
    again.kill()


def test_frozen_process_answers_nothing_until_it_goes_on(
    hosts: tuple[Host, ...], broker: Process
) -> None:
    white, black, _ = hosts
    wait_until(lambda: is_sent(black, white), "the broker is up", explain=broker.tail)
    broker.freeze()
    assert not is_sent(black, white)
    broker.thaw()
    assert is_sent(black, white)


def test_garbage_is_sent_and_a_good_broker_survives_it(
    hosts: tuple[Host, ...], broker: Process
) -> None:
    white, black, router = hosts
    wait_until(lambda: is_sent(black, white), "the broker is up", explain=broker.tail)
    with garbage(router, white, 50):
        assert is_sent(black, white)
    assert "protocol error" in broker.log.read_text()


def test_mute_broker_accepts_and_says_nothing(hosts: tuple[Host, ...]) -> None:
    white, black, _ = hosts
    with mute_broker(white), dial(black, white) as connection:
        connection.sendall(mqtt.connect("patient"))
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_sweep_removes_what_a_dead_owner_left_and_nothing_else(lan: Lan) -> None:
    mine = lan.add_host("white").namespace
    no_such_process = 2**22 + 1  # above the kernel's largest process id
    left_behind = Namespace(f"edgelan-{no_such_process}-0000-white")
    left_behind.create()
    sweep()
    assert not (NAMED / left_behind.name).exists()
    assert (NAMED / mine.name).exists()
