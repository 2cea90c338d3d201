"""What the kernel says of an interface; cables are pulled in tests/lan/test_duty_address.py."""

import asyncio
import secrets

import pytest

from edge.duty import interfaces
from edge.duty.interfaces import Interfaces, problem_of
from edge.duty.tasks import cancel
from edge.duty.troubles import Troubles
from edge.settings.duty import DutyAddress
from tests.duty.keeping import until
from tests.lan.deadline import wait_until
from tests.lan.namespaces import Namespace, missing_requirement, run, unique_name


@pytest.fixture
def machine() -> Namespace:
    missing = missing_requirement()
    if missing:
        pytest.skip(missing)
    return Namespace(unique_name(secrets.token_hex(2), "interfaces"))


def wait_for(machine: Namespace, words: str, *, needs_six: bool = False) -> None:
    """The kernel looks at the state of links now and then, at some of them once a second."""

    def is_so() -> bool:
        with machine.entered():
            return problem_of("one", needs_six=needs_six) == words

    wait_until(is_so, words or "all is well")


def test_each_state_of_an_interface_in_words(machine: Namespace) -> None:
    machine.create()
    try:
        machine.ip("link", "add", "one", "type", "veth", "peer", "name", "other")
        with machine.entered():
            assert problem_of("lo", needs_six=False) == ""
            assert problem_of("one", needs_six=False) == "is switched off"
            assert problem_of("none", needs_six=False) == "is not there"
            assert problem_of("x" * 100, needs_six=False) == "is not there"
        machine.ip("link", "set", "one", "up")
        wait_for(machine, "has no carrier, the cable may be out")
        machine.ip("link", "set", "other", "up")
        wait_for(machine, "")
        with machine.entered():
            assert problem_of("one", needs_six=True) == ""
    finally:
        machine.delete()


def test_an_interface_without_ipv6_is_of_no_use_for_such_an_address(machine: Namespace) -> None:
    """Switched off, or with an MTU below 1280: the kernel takes the address away, and is silent."""
    machine.create()
    try:
        machine.ip("link", "add", "one", "type", "veth", "peer", "name", "other")
        for each in ("one", "other"):
            machine.ip("link", "set", each, "up")
        wait_for(machine, "", needs_six=True)
        machine.ip("link", "set", "one", "mtu", "1279")
        wait_for(machine, "has IPv6 switched off", needs_six=True)
        wait_for(machine, "")
        machine.ip("link", "set", "one", "mtu", "1500")
        wait_for(machine, "", needs_six=True)
        run(machine.command("sysctl", "-qw", "net.ipv6.conf.one.disable_ipv6=1"))
        wait_for(machine, "has IPv6 switched off", needs_six=True)
    finally:
        machine.delete()


async def test_a_look_that_cannot_be_made_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file can be opened any more, say; nobody hands over for that, and the looks go on."""
    looks: list[str] = []

    def look(name: str, *, needs_six: bool) -> str:
        assert not needs_six
        looks.append(name)
        if len(looks) < 4:
            raise OSError(24, "Too many open files")
        return "is not there"

    monkeypatch.setattr(interfaces, "problem_of", look)
    monkeypatch.setattr(interfaces, "LOOK_INTERVAL", 0.0)
    told: list[tuple[int, str]] = []
    troubles = Troubles(lambda why: told.append((len(looks), why)), lambda *_: None)
    plan = DutyAddress(address="192.0.2.1/24", interface="one")
    watching = asyncio.create_task(Interfaces((plan,), 0.0, troubles).watch())
    await until(lambda: bool(told))
    await cancel(watching)
    assert told[0][0] > 4
    assert "one is not there" in told[0][1]
