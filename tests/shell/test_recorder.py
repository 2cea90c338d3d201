"""What a node was told, written and read again: the run repeats itself; bad files are refused."""

import random
import signal
import stat
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from edge.adapters.recordings import Folder, RecordingStream, RecordingWriter, core_digest
from edge.core.effects import Beat, Effect, Publish
from edge.core.events import (
    DutyStarted,
    DutyStopped,
    Event,
    FitnessChanged,
    HeartbeatSeen,
    LinkDenied,
    LinkLost,
    LinkUp,
    NetworkChecked,
    Ordered,
    PauseOrder,
    PeerSeen,
    PromoteOrder,
    RecordSeen,
    StopOrder,
    StrangerSeen,
    Subscribed,
    SwitchJudged,
    SwitchoverOrder,
    WillSeen,
    Woke,
)
from edge.core.lease import acts_until
from edge.core.model import (
    Group,
    Kind,
    Link,
    Member,
    Pause,
    Policy,
    Record,
    RecordId,
    Role,
    Saved,
)
from edge.core.state import State
from edge.core.step import start, step
from edge.errors import SettingsError
from edge.plain import codec
from edge.recorder import (
    HotInterval,
    Input,
    Recorder,
    Recording,
    Snapshot,
    hot_intervals,
    line_of,
    load,
    replay,
)
from tests.shell.fake_group import edge
from tests.shell.raw_broker import until
from tests.shell.running import ALONE, members
from tests.shell.test_agent import Node

GROUP = Group("RPI", (Member("white", 1),), ("white",), Policy.MAJORITY)
LINK = Link("white", 1)
RECORD = Record(RecordId("white", "1a-1", 2), RecordId("white", "1a-1", 1), Kind.CLAIM, 3, "black")
EVENTS: tuple[Event, ...] = (
    Woke(),
    LinkUp(LINK, "1a-1"),
    Subscribed(LINK),
    LinkLost(LINK),
    LinkDenied(LINK),
    RecordSeen(LINK, RECORD, retained=True),
    RecordSeen(LINK, replace(RECORD, basis=None, to=None)),
    StrangerSeen(LINK),
    PeerSeen(LINK, "black", "1a-1", "1a", 7, Role.HOT, 5, is_synchronised=True, service_level=255),
    HeartbeatSeen(LINK, "black", "1a-1", "1a", 7, "c0ffee", Pause(2, is_on=True)),
    WillSeen(LINK, "black", "1a-1", is_clean=True),
    NetworkChecked(is_reachable=True),
    DutyStarted(5),
    DutyStopped(5),
    FitnessChanged("nodered keeps ending"),
    SwitchJudged(5, "the tank is filling"),
    Ordered(SwitchoverOrder("black"), 1),
    Ordered(PromoteOrder(force=True), 2),
    Ordered(PauseOrder(is_on=True), 3),
    Ordered(StopOrder(), 4),
)


class Driven:
    """The core of a node that is a group of its own, with a register that echoes at once."""

    def __init__(self, recorder_of: Callable[[State], Recorder]) -> None:
        self.now = 100.0
        self.state = start("white", GROUP, "config", Saved(), self.now, 0.0)
        self.recorder = recorder_of(self.state)
        self.steps = 0
        for event in (Woke(), LinkUp(Link("white"), "1a-1"), Subscribed(Link("white"))):
            self.feed(event)

    def feed(self, event: Event) -> None:
        jitter = self.steps % 7 / 7
        self.state, effects = step(self.state, event, self.now, jitter)
        self.recorder.note(self.now, jitter, event, effects, self.state)
        self.steps += 1
        for effect in effects:
            if isinstance(effect, Publish):
                self.feed(RecordSeen(Link("white"), effect.record))

    def live(self, seconds: float) -> None:
        """Its own heartbeats come back, so the session is not deaf."""
        ends_at = self.now + seconds
        while self.now < ends_at:
            self.now = max(self.now + 0.001, min(self.state.wakeup_at, ends_at))
            self.feed(HeartbeatSeen(Link("white"), "white", "1a-1", "1a", 1, "config", Pause()))


class Disk:
    """A folder for recordings, written at once."""

    def __init__(self, path: Path, keep: int = 10) -> None:
        self.folder = Folder(path, keep, "RPI", "white", core_digest())
        self.writer = RecordingWriter(self.folder, lambda write: write())

    def files(self) -> list[Path]:
        return sorted(self.folder.path.glob("recording-*.jsonl"))

    def recorder(self, state: State) -> Recorder:
        return Recorder(state, 40, self.writer.save)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def recorded(disk: Disk) -> Recording:
    """A node that has become hot within this recording."""
    driven = Driven(lambda state: Recorder(state, 1000, disk.writer.save))
    driven.live(3.0)
    assert driven.state.is_hot
    driven.recorder.save("asked")
    return load(disk.files()[0])


def test_every_kind_of_event_is_read_as_it_was_written() -> None:
    assert {type(each) for each in EVENTS} == set(get_args(Event))
    for event in EVENTS:
        entry = Input(1.5, 0.25, event, (Beat(), Publish(LINK, RECORD)), float("inf"))
        assert codec(Input).from_plain(orjson.loads(line_of(entry))) == entry


def test_every_field_of_the_core_can_be_written() -> None:
    for kind in (State, Event, Effect, Input):
        codec(kind)


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (Event, {"is": "Exec", "link": "white"}),
        (Event, {"link": {"broker": "white"}}),
        (Event, {"is": "Woke", "now": 1}),
        (Event, {"is": "LinkUp", "link": {"broker": "white"}}),
        (Event, {"is": "LinkUp", "link": {"broker": 7}, "session": "1a-1"}),
        (Event, {"is": "LinkUp", "link": {"broker": "a", "path": True}, "session": "1a-1"}),
        (Event, {"is": "NetworkChecked", "is_reachable": 1}),
        (Event, ["Woke"]),
        (Role, "king"),
        (float, None),
        (float, "nan"),
        (tuple[tuple[str, float], ...], [["white", 1.0, 2.0]]),
        (frozenset[str], "white"),
    ],
)
def test_nothing_but_the_annotated_types_comes_out(kind: object, plain: object) -> None:
    with pytest.raises(ValueError, match=r"is not|is none of|has no|lacks"):
        codec(kind).from_plain(plain)


def test_a_run_repeats_itself(recorded: Recording) -> None:
    steps = list(replay(recorded))
    assert recorded.is_complete
    assert {each.difference for each in steps} == {""}
    changes = [(each.before.role, each.state.role) for each in steps if each.changes_role]
    assert changes == [(Role.STARTING, Role.HOT)]
    assert steps[-1].state == recorded.inputs[-1].state


def test_the_ring_forgets_the_oldest_and_still_begins_with_a_state(disk: Disk) -> None:
    driven = Driven(disk.recorder)
    driven.live(60.0)
    assert driven.steps > 100
    driven.recorder.save("asked")
    recording = load(disk.files()[0])
    assert 20 <= len(recording.inputs) < 40
    steps = list(replay(recording))
    assert {each.difference for each in steps} == {""}
    assert steps[-1].state == driven.state
    assert sum(each.state is not None for each in recording.inputs) == 2


def test_hot_intervals_are_the_lease_and_not_a_moment_more(recorded: Recording) -> None:
    steps = list(replay(recorded))
    became = next(each for each in steps if each.changes_role)
    last = steps[-1].state
    assert hot_intervals(recorded) == (HotInterval(1, became.now, acts_until(last)),)
    cut = replace(recorded, inputs=recorded.inputs[: became.number])
    until = acts_until(became.state)
    assert hot_intervals(cut) == (HotInterval(1, became.now, until),)
    late = Input(until + 5.0, 0.0, Woke())
    with pytest.raises(ValueError, match="not as recorded"):
        hot_intervals(replace(cut, inputs=(*cut.inputs, late)))
    state, effects = step(became.state, late.event, late.now, late.jitter)
    late = replace(late, effects=tuple(effects), wakeup_at=state.wakeup_at)
    told = replace(cut, inputs=(*cut.inputs, late))
    assert hot_intervals(told) == (HotInterval(1, became.now, until),)


def test_a_recording_that_begins_while_hot_counts_from_its_beginning(recorded: Recording) -> None:
    last = list(replay(recorded))[-1].state
    found = hot_intervals(replace(recorded, begin=last, inputs=()))
    assert found == (HotInterval(1, last.now, acts_until(last)),)


def test_another_outcome_is_told_with_the_number_of_its_step(recorded: Recording) -> None:
    inputs = list(recorded.inputs)
    inputs[11] = replace(inputs[11], wakeup_at=inputs[11].wakeup_at + 0.5)
    inputs[13] = replace(inputs[13], effects=(*inputs[13].effects, Beat()))
    found = [each for each in replay(replace(recorded, inputs=tuple(inputs))) if each.difference]
    assert [(each.number, each.difference) for each in found] == [
        (12, "another time to wake"),
        (14, "other effects"),
    ]


def test_another_state_is_told_by_its_fields(recorded: Recording) -> None:
    given = recorded.inputs[-1]
    assert given.state is not None
    changed = replace(given, state=replace(given.state, config="other"))
    steps = list(replay(replace(recorded, inputs=(*recorded.inputs[:-1], changed))))
    assert steps[-1].difference == "another state (config)"


async def test_a_broken_invariant_leaves_a_recording_that_ends_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("hot without a lease")

    node = Node()
    node.connect()
    monkeypatch.setattr("edge.agent.step", broken)
    for _ in range(2):
        with pytest.raises(AssertionError):
            node.agent.tell(NetworkChecked(is_reachable=True))
    node.leave()
    (snapshot,) = node.recordings
    assert snapshot.reason == "failure"
    assert snapshot.failure is not None
    assert snapshot.failure.event == NetworkChecked(is_reachable=True)
    assert snapshot.failure.error == "AssertionError: hot without a lease"


def test_an_error_that_does_not_come_again_is_a_difference(disk: Disk) -> None:
    driven = Driven(disk.recorder)
    driven.recorder.note_failure(driven.now, 0.5, Woke(), AssertionError("hot without a lease"))
    steps = list(replay(load(disk.files()[0])))
    assert steps[-1].difference == "recorded was AssertionError: hot without a lease"


def test_role_changes_are_written_if_asked() -> None:
    found: list[Snapshot] = []
    for wanted in (False, True):
        Driven(lambda state: Recorder(state, 100, found.append, saves_role_changes=wanted)).live(3)  # noqa: B023
    assert [each.reason for each in found] == ["became-hot"]


def test_a_full_ring_of_the_longest_texts_is_bounded_in_memory() -> None:
    driven = Driven(lambda state: Recorder(state, 1000, lambda _: None))
    tracemalloc.start()
    try:
        for number in range(2000):
            text = f"{number:0200}"
            record = RecordId(text, text[1:], number)
            seen = RecordSeen(Link("router"), Record(record, record, Kind.RENEW, number, text[2:]))
            driven.recorder.note(float(number), 0.5, seen, [], driven.state)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 1000 * 2500


def test_only_so_many_files_are_kept_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    disk = Disk(tmp_path, keep=3)
    old = [tmp_path / f"recording-2001010{day}T000000.000Z-asked.jsonl" for day in range(1, 6)]
    for path in old:
        path.touch()
    Driven(disk.recorder).recorder.save("asked")
    assert disk.files()[:2] == old[-2:]
    assert len(disk.files()) == 3
    assert stat.S_IMODE(disk.files()[-1].stat().st_mode) == 0o600


def test_a_clock_that_was_set_back_does_not_cost_the_newest(tmp_path: Path) -> None:
    disk = Disk(tmp_path, keep=1)
    future = tmp_path / "recording-29990101T000000.000Z-asked.jsonl"
    future.touch()
    Driven(disk.recorder).recorder.save("asked")
    assert len(disk.files()) == 1
    assert not future.exists()


def test_a_folder_that_cannot_be_written_costs_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    disk = Disk(tmp_path / "file")
    driven = Driven(disk.recorder)
    driven.recorder.save("asked")
    driven.live(1.0)
    (line,) = caplog.messages
    assert line.endswith("Not a directory; this recording is lost")


def test_who_asks_faster_than_the_disk_writes_is_told_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waiting: list[Callable[[], None]] = []
    disk = Disk(tmp_path)
    disk.writer = RecordingWriter(disk.folder, waiting.append)
    driven = Driven(disk.recorder)
    for reason in ("one", "two", "three"):
        driven.recorder.save(reason)
    assert caplog.messages == ["no recording (three): others are still being written"]
    for write in waiting:
        write()
    driven.recorder.save("four")
    waiting[-1]()
    assert [each.stem.rpartition("-")[2] for each in disk.files()] == ["one", "two", "four"]


def test_always_leaves_every_input_also_of_a_process_that_was_killed(tmp_path: Path) -> None:
    disk = Disk(tmp_path, keep=100)
    stream = RecordingStream(disk.folder)
    driven = Driven(lambda state: Recorder(state, 40, disk.writer.save, stream=stream))
    driven.live(30.0)
    recordings = [load(path) for path in disk.files()]
    assert sum(len(each.inputs) for each in recordings) == driven.steps
    assert [each.is_complete for each in recordings[:-1]] == [True] * (len(recordings) - 1)
    for one, following in pairwise(recordings):
        assert one.inputs[-1].state == following.begin
    assert {each.difference for one in recordings for each in replay(one)} == {""}
    (interval,) = hot_intervals(*recordings)
    assert interval.until == acts_until(driven.state)
    last = disk.files()[-2]
    last.write_bytes(last.read_bytes()[:-10])
    torn = load(last)
    assert not torn.is_complete
    assert torn.inputs == recordings[-2].inputs[:-1]


def test_always_on_a_full_disk_goes_on_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Folder(tmp_path / "none", 10, "RPI", "white", "core")
    stream = RecordingStream(folder)
    Driven(lambda state: Recorder(state, 1000, lambda _: None, stream=stream)).live(1.0)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("No such file or directory; nothing is recorded there")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not a recording of edge, line 1 is not JSON"),
        (b"\x7fELF\n", "is not a recording of edge, line 1 is not JSON"),
        (b"[1]\n", "is not a recording of edge"),
        (b'{"recording": 2}\n', "was written by a version of edge"),
        (b'{"recording": 1}\n', "line 1: Header lacks its field core"),
        (b"[" * 100_000, "is not a recording of edge, line 1 is not JSON"),
    ],
)
async def test_what_is_no_recording_is_one_line(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", [1, 2, 5])
def test_a_damaged_line_is_named(disk: Disk, recorded: Recording, line: int) -> None:
    path = disk.files()[0]
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == len(recorded.inputs) + 2
    lines[line - 1] = b'{"is": "Nonsense", "recording": 1}\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(SettingsError, match=f"line {line}: "):
        load(path)


async def test_replay_of_a_missing_file_and_of_a_step_that_is_none(
    tmp_path: Path, disk: Disk, recorded: Recording
) -> None:
    assert recorded.inputs
    for arguments in ([str(tmp_path / "none")], [str(tmp_path)], [str(disk.files()[0]), "--to=0"]):
        found = await edge("replay", *arguments)
        assert found.code == 2
        assert found.err.startswith("edge: ")
        assert found.err.count("\n") == 1


async def test_a_stranger_s_file_neither_steers_the_terminal_nor_ends_in_a_traceback(
    tmp_path: Path, recorded: Recording
) -> None:
    path = tmp_path / "strange.jsonl"
    header = replace(recorded.header, node="white\x1b[2J", core="other")
    group = replace(GROUP, brokers=())
    lines = (header, replace(recorded.begin, group=group), *recorded.inputs)
    path.write_bytes(b"".join(map(line_of, lines)))
    found = await edge("replay", str(path))
    assert found.code == 1
    assert "\x1b[2J" not in found.out
    assert "NOT as recorded from step 1 on" in found.out
    assert "it was another core" in found.out
    assert "Traceback" not in found.err


async def test_a_running_node_writes_on_a_signal_and_the_run_repeats_itself(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state" / "RPI" / "white"
    with members(tmp_path, ALONE) as group:
        group.start("white")
        await until(lambda: "-> white" in group.log("white"))
        for _ in range(2):
            group.send("white", signal.SIGUSR1)
        await until(lambda: bool(list(folder.glob("recording-*-asked.jsonl"))))
        group.send("white", signal.SIGTERM)
        assert await group.end_of("white") == 0
        assert "wrote the recording" in group.log("white")
    path = min(folder.glob("recording-*-asked.jsonl"))
    found = await edge("replay", str(path), "--changes")
    assert found.code == 0, found.out
    assert "1 role changes: the same as recorded" in found.out
    assert "*** starting -> hot" in found.out
    found = await edge("replay", str(path), "--from=-3", "--json")
    steps = [orjson.loads(line) for line in found.out.splitlines()]
    assert [each["step"] for each in steps] == [steps[-1]["step"] - 2 + index for index in range(3)]
    assert steps[-1]["role"] == "hot"
    (interval,) = hot_intervals(load(path))
    assert interval.until >= steps[-1]["now"]


BROKEN = """
import edge.agent
from edge.cli import main
step = edge.agent.step
def broken(state, event, now, jitter):
    assert not state.is_hot, "hot without a lease"
    return step(state, event, now, jitter)
edge.agent.step = broken
main()
"""


async def test_a_node_that_ends_by_a_fault_of_ours_leaves_its_recording(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "RPI" / "white"
    with members(tmp_path, ALONE) as group:
        group.start("white", program=("-c", BROKEN))
        assert await group.end_of("white") == 1
        assert "internal error, AssertionError: hot without a lease" in group.log("white")
    (path,) = folder.glob("recording-*-failure.jsonl")
    recording = load(path)
    assert recording.is_complete
    assert recording.inputs[-1].error == "AssertionError: hot without a lease"
    found = await edge("replay", str(path), "--changes")
    assert found.code == 1
    assert "recorded was AssertionError: hot without a lease" in found.out


ODD: tuple[object, ...] = (
    None,
    -1,
    1e308,
    "inf",
    "",
    [],
    {},
    True,
    2**62,
    "hot",
    [[]],
    {"is": "Woke"},
)


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield place
    inner = value.items() if isinstance(value, dict) else ()
    for key, each in enumerate(value) if isinstance(value, list) else inner:
        yield from places(each, (*place, key))


def with_value(value: Any, place: tuple[str | int, ...], odd: object) -> Any:
    if not place:
        return odd
    copy = value.copy()
    copy[place[0]] = with_value(copy[place[0]], place[1:], odd)
    return copy


@pytest.mark.parametrize("seed", range(5))
def test_no_file_does_more_than_be_refused_or_differ(disk: Disk, seed: int) -> None:
    """Odd values at random places: in the header, in the state, in an input."""
    Driven(disk.recorder).recorder.save("asked")
    path = disk.files()[0]
    lines = path.read_bytes().splitlines(keepends=True)
    chance = random.Random(seed)
    refusals = []
    for _ in range(60):
        index = chance.choice((0, 1, 1, chance.randrange(len(lines))))
        value = orjson.loads(lines[index])
        place = chance.choice(list(places(value)))
        damaged = orjson.dumps(with_value(value, place, chance.choice(ODD))) + b"\n"
        path.write_bytes(b"".join((*lines[:index], damaged, *lines[index + 1 :])))
        try:
            for each in replay(load(path)):
                assert each.number > 0
        except SettingsError as error:
            refusals.append(str(error))
    assert refusals
    assert not any("\n" in each for each in refusals)
