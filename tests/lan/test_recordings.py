"""What real nodes recorded of themselves, put together: the strongest word on two hot nodes."""

from itertools import groupby, pairwise
from pathlib import Path

import pytest

from edge.recorder import HotInterval, Recording, hot_intervals, load
from tests.lan.conftest import MakeGroup
from tests.lan.group import Group
from tests.lan.groupfile import GROUP, GroupFile

pytestmark = pytest.mark.lan

ALWAYS = '[recording]\nwrite = "always"\ninputs = 100\nkeep = 1000\n'


def recordings(group: Group, name: str) -> list[Recording]:
    folder = Path(group.folder) / name / GROUP / name
    found = [load(path) for path in folder.glob("recording-*-always.jsonl")]
    return sorted(found, key=lambda each: each.begin.now)


def test_intervals_of_being_hot_never_meet_and_every_run_repeats_itself(
    make_group: MakeGroup,
) -> None:
    """A crash, a pulled cable and a clean stop; all namespaces have one monotonic clock."""
    group = make_group(GroupFile(profile="fast", more=ALWAYS))
    group.start_redundant()
    group.kill("white")
    group.wait_hot("black")
    group.start("white")
    group.wait_redundant("black", "white")
    group.lan.unplug("black")
    group.wait_hot("white")
    group.lan.plug("black")
    group.wait_redundant("white", "black")
    assert group.stop("white") == 0
    group.wait_hot("black")
    found: list[tuple[HotInterval, str]] = []
    for name in ("white", "black"):
        files = recordings(group, name)
        assert len(files) > 2, "the ring has turned"
        found += [(interval, name) for interval in hot_intervals(*files)]
    found.sort(key=lambda pair: pair[0].since)
    # On a busy machine a node of this quick profile may lose its lease and take it back.
    names = [name for name, _ in groupby(name for _, name in found)]
    assert names == ["white", "black", "white", "black"]
    terms = [interval.term for interval, _ in found]
    assert terms == sorted(set(terms))
    changes = list(pairwise(found))
    # The killed process did nothing to the end of its lease: that it was fenced is the other rule.
    kill = next((one, other) for one, other in changes if one[1] != other[1])
    for one, other in changes:
        assert (one, other) == kill or one[0].until <= other[0].since
