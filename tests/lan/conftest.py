"""Fixtures: a LAN per test, removed whatever happens; skipped where it cannot be made.

On CI a missing requirement is a failure: a suite that skips itself proves nothing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lan.group import Group
from tests.lan.groupfile import GroupFile
from tests.lan.harness import Lan
from tests.lan.namespaces import missing_requirement, sweep
from tests.lan.observer import Observer

MakeGroup = Callable[..., Group]


@pytest.fixture(scope="session")
def _swept() -> None:
    """Checks that namespaces work here, and removes what a killed run left behind."""
    missing = missing_requirement()
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must run the LAN tests, but: {missing}")
    if missing:
        pytest.skip(missing)
    sweep()


@pytest.fixture
def make_lan(_swept: None) -> Iterator[Callable[[int], Lan]]:
    with ExitStack() as stack:
        yield lambda switch_count: stack.enter_context(Lan(switch_count))


@pytest.fixture
def lan(make_lan: Callable[[int], Lan]) -> Lan:
    return make_lan(1)


@pytest.fixture
def observer() -> Iterator[Observer]:
    with Observer() as running:
        yield running


@pytest.fixture
def make_group(
    make_lan: Callable[[int], Lan], observer: Observer, tmp_path: Path
) -> Iterator[MakeGroup]:
    """A group on a new LAN, nothing started yet. Afterwards: nobody died, never two hot."""
    groups: list[Group] = []

    def make(file: GroupFile | None = None, switch_count: int = 1) -> Group:
        group = Group(make_lan(switch_count), observer, tmp_path, file or GroupFile())
        groups.append(group)
        return group

    yield make
    try:
        for group in groups:
            assert group.all_running(), f"a member ended by itself\n{group.explain()}"
            assert group.two_hot_allowed or not group.overlaps(), group.explain_overlaps()
    finally:
        for group in groups:
            group.close()
