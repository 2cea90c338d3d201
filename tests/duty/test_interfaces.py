"""What the kernel says of an interface; cables are pulled in tests/lan/test_duty_address.py."""

import secrets

import pytest

from edge.duty.interfaces import problem_of
from tests.lan.namespaces import Namespace, missing_requirement, unique_name


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
            assert problem_of("lo") == ""
            assert problem_of("one") == "is switched off"
            assert problem_of("none") == "is not there"
            assert problem_of("x" * 100) == "is not there"
        machine.ip("link", "set", "one", "up")
        with machine.entered():
            assert problem_of("one") == "has no carrier, the cable may be out"
        machine.ip("link", "set", "other", "up")
        with machine.entered():
            assert problem_of("one") == ""
    finally:
        machine.delete()
