"""The main scenarios with every engine of the nodes and both kinds of witness."""

import pytest

from tests.lan.conftest import MakeGroup
from tests.lan.group import Group
from tests.lan.groupfile import GroupFile, Witness

pytestmark = pytest.mark.lan

COMBINATIONS = [
    pytest.param(("embedded", Witness.EDGE), id="embedded with edge as witness"),
    pytest.param(("mosquitto", Witness.MOSQUITTO), id="mosquitto with mosquitto"),
    pytest.param(("mosquitto", Witness.EDGE), id="mosquitto with edge as witness"),
    pytest.param(("amqtt", Witness.MOSQUITTO), id="amqtt with mosquitto"),
]


@pytest.fixture(params=COMBINATIONS)
def group(make_group: MakeGroup, request: pytest.FixtureRequest) -> Group:
    engine, witness = request.param
    made = make_group(GroupFile(engine=engine, witness=witness, anonymous="operate"))
    made.start_redundant()
    return made


def test_crash_return_and_switchover_back(group: Group) -> None:
    """One life of a group: failover, no fail-back, then the order to go back."""
    group.kill("white")
    group.wait_hot("black")
    group.start("white")
    group.wait_redundant("black", "white")
    assert group.publish("black", "request/switchover", "white") == 0
    group.wait_redundant("white", "black")


def test_pulled_cable_and_return(group: Group) -> None:
    group.lan.unplug("white")
    group.wait_hot("black")
    group.wait_for(lambda: group.role("white") != "hot", "white knows that it is cut off")
    group.lan.plug("white")
    group.wait_redundant("black", "white")


def test_frozen_hot_node(group: Group) -> None:
    group.freeze("white")
    group.wait_hot("black")
    group.thaw("white")
    group.wait_redundant("black", "white")
