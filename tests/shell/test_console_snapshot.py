"""The snapshot behind /hot: whether this node may act is looked at when it is asked."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge.app.console import take_snapshot
from edge.core import lease
from edge.core.model import Phase, Role
from edge.settings import Settings
from edge.settings.file import load_settings
from tests.core.lab import CLAIM_AFTER, Lab, hot_lab
from tests.shell.conftest import BASE, WriteFile


class Desk:
    """What a snapshot is taken of: a core that is asked at any instant, in any state."""

    def __init__(self, settings: Settings, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.now = lab.now
        self._settings = settings
        loop = SimpleNamespace(time=lambda: self.now)
        monkeypatch.setattr("edge.app.console.asyncio.get_running_loop", lambda: loop)

    def is_acting(self) -> bool:
        agent = SimpleNamespace(state=self.lab.state)
        board = SimpleNamespace(hot_word=lambda: ("white", 1, ""), describe=lambda _: {})
        snapshot = take_snapshot(self._settings, cast("Any", agent), cast("Any", board))
        assert (snapshot.role, snapshot.node) == (self.lab.state.role, "white")
        return snapshot.is_acting


MakeDesk = Callable[[Lab], Desk]


@pytest.fixture
def make_desk(write_file: WriteFile, monkeypatch: pytest.MonkeyPatch) -> MakeDesk:
    settings = load_settings(write_file(BASE))
    return lambda lab: Desk(settings, lab, monkeypatch)


def test_a_hot_node_acts_until_its_lease_ends_though_no_step_has_said_so(
    make_desk: MakeDesk,
) -> None:
    desk = make_desk(hot_lab())
    until = lease.acts_until(desk.lab.state)
    assert desk.is_acting()
    desk.now = until - 0.001
    assert desk.is_acting()
    desk.now = until
    assert not desk.is_acting()
    assert desk.lab.state.role is Role.HOT, "its core has not been woken"


def test_a_hot_node_whose_duty_has_not_started_does_not_act(make_desk: MakeDesk) -> None:
    lab = Lab()
    lab.connect_all()
    lab.wait(CLAIM_AFTER + 0.01)
    desk = make_desk(lab)
    assert (lab.state.role, lab.state.phase) == (Role.HOT, Phase.STARTING_DUTY)
    assert desk.now < lease.acts_until(lab.state)
    assert not desk.is_acting()
