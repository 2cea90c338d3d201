"""What the core was told, kept in memory, so that a run can be looked at and repeated afterwards.

The core is deterministic: its state at one moment and its inputs since then are the whole run
(docs/architecture.md). `load` reads what was written, `replay` runs it through the core again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Protocol, TypeVar

import orjson

from edge.core.effects import Effect
from edge.core.events import Event
from edge.core.lease import acts_until
from edge.core.state import State
from edge.core.step import step
from edge.errors import SettingsError
from edge.plain import MisfitError, from_plain, to_plain

Value = TypeVar("Value")

FORMAT = 1
# A ring of the largest size is far below; what is above was not written by us.
FILE_MAX = 1024 * 1024 * 1024

# now, jitter, event, effects, wakeup_at: what one step was given and what came out of it.
Kept = tuple[float, float, Event, Sequence[Effect], float]


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a file. `core` tells whether the same core is here to repeat the run."""

    recording: int
    edge: str
    core: str
    group: str
    node: str
    reason: str
    written_at: str


@dataclass(frozen=True, slots=True)
class Input:
    """One line of a file: what a step was given, and what came out: effects, when it wanted to be
    woken, now and then the whole state, or the error that ended it."""

    now: float
    jitter: float
    event: Event
    effects: tuple[Effect, ...] = ()
    wakeup_at: float = inf
    state: State | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Half:
    """Half of the ring: a state, what came after it, and the state to which that led."""

    begin: State
    inputs: Sequence[Kept]
    end: State


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ring at one moment."""

    reason: str
    halves: tuple[Half, ...]
    failure: Input | None = None

    @property
    def length(self) -> int:
        return sum(len(half.inputs) for half in self.halves) + (self.failure is not None)


class Stream(Protocol):
    """Where inputs go at once, if not only the ring keeps them."""

    def begin(self, state: State) -> None: ...

    def add(self, entry: Input) -> None: ...


class Recorder:
    """The ring: at most `capacity` inputs, of which the older half is forgotten as a whole, so
    that what is left always begins with a state. Texts in events are bounded by `edge.wire`, and
    with them the ring in bytes."""

    def __init__(
        self,
        state: State,
        capacity: int,
        save: Callable[[Snapshot], None],
        *,
        saves_role_changes: bool = False,
        stream: Stream | None = None,
    ) -> None:
        self._half = max(1, capacity // 2)
        self._save = save
        self._saves_role_changes = saves_role_changes
        self._stream = stream
        self._older: Half | None = None
        self._begin = self._state = state
        self._inputs: list[Kept] = []
        self._has_failed = False
        if stream is not None:
            stream.begin(state)

    def note(
        self, now: float, jitter: float, event: Event, effects: Sequence[Effect], state: State
    ) -> None:
        """One step of the core and the state after it. This is all that a step costs."""
        before, self._state = self._state, state
        self._inputs.append((now, jitter, event, effects, state.wakeup_at))
        is_full = len(self._inputs) >= self._half
        if self._stream is not None:
            self._stream.add(_entry(self._inputs[-1], state if is_full else None))
        if is_full:
            self._turn()
        if self._saves_role_changes and state.role is not before.role:
            self.save(f"became-{state.role}")

    def save(self, reason: str) -> None:
        self._save(Snapshot(reason, self._halves()))

    def note_failure(self, now: float, jitter: float, event: Event, error: Exception) -> None:
        """The core raised: ours to mend. What it does after that is of no use to anybody."""
        if self._has_failed:
            return
        self._has_failed = True
        entry = Input(now, jitter, event, error=_error_text(error))
        if self._stream is not None:
            self._stream.add(entry)
        self._save(Snapshot("failure", self._halves(), entry))

    def _halves(self) -> tuple[Half, ...]:
        newer = Half(self._begin, tuple(self._inputs), self._state)
        return (newer,) if self._older is None else (self._older, newer)

    def _turn(self) -> None:
        self._older = Half(self._begin, self._inputs, self._state)
        self._begin, self._inputs = self._state, []
        if self._stream is not None:
            self._stream.begin(self._state)


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _entry(kept: Kept, state: State | None = None) -> Input:
    now, jitter, event, effects, wakeup_at = kept
    return Input(now, jitter, event, tuple(effects), wakeup_at, state)


def line_of(value: object) -> bytes:
    return orjson.dumps(to_plain(type(value), value)) + b"\n"


def lines_of(header: Header, snapshot: Snapshot) -> Iterator[bytes]:
    """The file, line by line. The last input of each half carries the state that it led to."""
    yield line_of(header)
    yield line_of(snapshot.halves[0].begin)
    for half in snapshot.halves:
        last = len(half.inputs) - 1
        for index, kept in enumerate(half.inputs):
            yield line_of(_entry(kept, half.end if index == last else None))
    if snapshot.failure is not None:
        yield line_of(snapshot.failure)


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that was read. `is_complete` is False if it ends without a state: written at once,
    input by input, by a node that died."""

    header: Header
    begin: State
    inputs: tuple[Input, ...]
    is_complete: bool


def load(path: Path) -> Recording:
    """Raises SettingsError, one line, for what is not a recording."""
    try:
        if path.stat().st_size > FILE_MAX:
            raise SettingsError(f"{path}: is too large for a recording")
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except MisfitError as error:
        raise SettingsError(f"{path}: {error}") from None


def _read(lines: Iterable[bytes]) -> Recording:
    found = enumerate(lines, 1)
    header = _header(next(found, (1, b"")))
    begin = _value(State, next(found, (2, b"")))
    inputs = []
    for number, line in found:
        if not line.endswith(b"\n"):
            break  # the node died while it wrote this
        inputs.append(_value(Input, (number, line)))
    is_complete = not inputs or inputs[-1].state is not None or bool(inputs[-1].error)
    return Recording(header, begin, tuple(inputs), is_complete)


def _header(numbered: tuple[int, bytes]) -> Header:
    plain = _plain(numbered)
    if not isinstance(plain, dict) or "recording" not in plain:
        raise MisfitError("is not a recording of edge")
    if plain["recording"] != FORMAT:
        raise MisfitError("was written by a version of edge that this one does not understand")
    return _value(Header, numbered)


def _plain(numbered: tuple[int, bytes]) -> object:
    try:
        return orjson.loads(numbered[1])
    except orjson.JSONDecodeError:
        raise MisfitError(f"is not a recording of edge, line {numbered[0]} is not JSON") from None


def _value(kind: type[Value], numbered: tuple[int, bytes]) -> Value:
    try:
        return from_plain(kind, _plain(numbered))
    except MisfitError as error:
        raise MisfitError(f"line {numbered[0]}: {error}") from None


@dataclass(frozen=True, slots=True)
class Step:
    """One step, done again. `difference` says what did not come out as recorded; it is empty
    where all did. `error` is what the core raised instead of a new state."""

    number: int
    now: float
    event: Event
    before: State
    state: State
    effects: tuple[Effect, ...]
    difference: str = ""
    error: str = ""

    @property
    def changes_role(self) -> bool:
        return self.state.role is not self.before.role


def replay(recording: Recording) -> Iterator[Step]:
    """Every step of the recording, numbered from 1, until the core raises."""
    state = recording.begin
    for number, given in enumerate(recording.inputs, 1):
        done = _again(number, state, given)
        yield done
        if done.error:
            return
        state = done.state


def _again(number: int, before: State, given: Input) -> Step:
    done = Step(number, given.now, given.event, before, before, ())
    try:
        state, effects = step(before, given.event, given.now, given.jitter)
    except Exception as error:  # noqa: BLE001  a stranger's file may ask for anything
        text = _error_text(error)
        return replace(done, error=text, difference="" if text == given.error else text)
    done = replace(done, state=state, effects=tuple(effects))
    return replace(done, difference=_difference(done, given))


def _difference(done: Step, given: Input) -> str:
    if given.error:
        return f"recorded was {given.error}"
    if done.effects != given.effects:
        return "other effects"
    if given.state is not None and given.state != done.state:
        names = [each.name for each in fields(State)]
        other = [name for name in names if getattr(given.state, name) != getattr(done.state, name)]
        return f"another state ({', '.join(other)})"
    return "" if done.state.wakeup_at == given.wakeup_at else "another time to wake"


@dataclass(frozen=True, slots=True)
class HotInterval:
    """[since, until) of the node's own monotonic clock, during which it could act as hot."""

    term: int
    since: float
    until: float


def hot_intervals(*recordings: Recording) -> tuple[HotInterval, ...]:
    """When the node was hot, exactly: from each step to the end of the lease that it led to, or
    to the next step if that ended it. The last one ends with its lease, as nothing else is known.

    Several recordings are those of one node on one clock, the earlier first, none overlapping.
    Raises ValueError if a run does not repeat itself: then it proves nothing.
    """
    found: list[HotInterval] = []
    for recording in recordings:
        _count(found, recording.begin)
        for done in replay(recording):
            if done.difference:
                raise ValueError(f"step {done.number} is not as recorded: {done.difference}")
            _count(found, done.state)
    return tuple(found)


def _count(found: list[HotInterval], state: State) -> None:
    """The last interval goes on, or ends here at the latest; or a new one begins."""
    until = acts_until(state)
    term = state.tenure.term if state.tenure is not None else None
    last = found[-1] if found else None
    if last is not None and last.until >= state.now:
        goes_on = last.term == term and until > state.now
        found[-1] = replace(last, until=until if goes_on else state.now)
        if goes_on:
            return
    if term is not None and until > state.now:
        found.append(HotInterval(term, state.now, until))
