"""What the kernel says of an interface; cables are pulled in tests/lan/test_duty_address.py."""

import secrets

import pytest

from edge.duty.interfaces import problem_of
from tests.lan.namespaces import Namespace, missing_requirement, run, unique_name


@pytest.fixture
def machine() -> Namespace:
    missing = missing_requirement()
    if missing:
        pytest.skip(missing)
    return Namespace(unique_name(secrets.token_hex(2), "interfaces"))


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
        with machine.entered():
            assert problem_of("one", needs_six=False) == "has no carrier, the cable may be out"
        machine.ip("link", "set", "other", "up")
        with machine.entered():
            assert problem_of("one", needs_six=False) == ""
            assert problem_of("one", needs_six=True) == ""
    finally:
        machine.delete()


@pytest.mark.parametrize("mtu", [1280, 1279])
def test_an_interface_without_ipv6_is_of_no_use_for_such_an_address(
    machine: Namespace, mtu: int
) -> None:
    """The kernel takes the address away, and says nothing."""
    machine.create()
    try:
        machine.ip("link", "add", "one", "type", "veth", "peer", "name", "other")
        for each in ("one", "other"):
            machine.ip("link", "set", each, "up", "mtu", str(mtu))
        with machine.entered():
            is_off = mtu < 1280
            assert problem_of("one", needs_six=True) == ("has IPv6 switched off" if is_off else "")
            if not is_off:
                run(["sysctl", "-qw", "net.ipv6.conf.one.disable_ipv6=1"])
            assert problem_of("one", needs_six=True) == "has IPv6 switched off"
            assert problem_of("one", needs_six=False) == ""
    finally:
        machine.delete()
