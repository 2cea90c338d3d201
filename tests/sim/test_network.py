"""What is between nodes and brokers in the simulator does what TCP and MQTT would do."""

import pytest

from edge.core.events import Event, HeartbeatSeen, LinkLost, RecordSeen, Subscribed, WillSeen
from edge.core.model import Kind, Link, Pause, Record, RecordId, Saved
from edge.core.step import start
from edge.sim.agenda import Agenda
from edge.sim.dice import Dice
from edge.sim.host import Host
from edge.sim.links import Connection, Loss
from edge.sim.network import Network
from edge.sim.plan import Plan, Wishes, draw_plan
from edge.sim.register import Register, Snapshot


class Line:
    """One host that runs, its connection to a foreign broker, and what it is told."""

    def __init__(self) -> None:
        self.plan: Plan = draw_plan(3, Wishes(nodes=2, witnesses=1, lease=1.0))
        self.agenda = Agenda()
        self.told: list[Event] = []
        self.network = Network(self.agenda, self.plan, Dice("line"), self._tell)
        self.host = Host("white", 1.0, 0.0)
        self.host.state = start("white", self.plan.group, "same", Saved(), 0.0, 0.5)
        self.network.attach([self.host])
        self.link = next(link for link in self.network.links["white"] if link.broker == "router")
        self.network.connect_all(self.host)
        self.pass_time(0.5)

    def _tell(self, _host: Host, event: Event) -> None:
        if event.link == self.link:  # type: ignore[union-attr]
            self.told.append(event)

    def pass_time(self, seconds: float) -> None:
        self.agenda.run_until(self.agenda.now + seconds)

    @property
    def connection(self) -> Connection:
        return self.host.connections[self.link]

    @property
    def register(self) -> Register:
        return self.network.registers["router"]

    def send(self, counter: int) -> None:
        self.network.send(self.connection, record(self.link, counter))

    def counters(self) -> list[int]:
        return [each.record.id.counter for each in self.told if isinstance(each, RecordSeen)]

    def keep_alive(self) -> None:
        beat = HeartbeatSeen(self.link, "white", "1-1", "1", 1, "same", Pause())
        self.network.send(self.connection, beat)


def record(link: Link, counter: int) -> RecordSeen:
    return RecordSeen(link, Record(RecordId("white", "1-1", counter), None, Kind.CLAIM, 1))


def is_known(connection: Connection) -> bool:
    """At the broker; asked anew each time."""
    return connection.is_open_at_register


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_connection_is_subscribed_and_echoes_in_order(line: Line) -> None:
    assert any(isinstance(each, Subscribed) for each in line.told)
    for counter in range(20):
        line.send(counter)
    line.pass_time(1.0)
    assert line.counters() == list(range(20))


def test_what_a_cut_stops_comes_later_and_in_order(line: Line) -> None:
    line.network.cut("white", line.link, 0, 0.5)
    for counter in range(5):
        line.send(counter)
    line.pass_time(0.45)
    assert line.counters() == []
    line.pass_time(0.5)
    assert line.counters() == list(range(5))


def test_a_one_way_cut_lets_the_other_way_through(line: Line) -> None:
    line.network.cut("white", line.link, 0, 5.0)
    line.register.publish(record(line.link, 7))
    line.pass_time(0.5)
    assert line.counters() == [7]


def test_a_longer_cut_is_not_mended_by_the_end_of_a_shorter_one(line: Line) -> None:
    line.network.cut("white", line.link, 0, 0.9)
    line.network.cut("white", line.link, 0, 0.1)
    line.send(1)
    line.pass_time(0.5)
    assert line.counters() == []


def test_silence_ends_both_sides_and_the_will_comes_after_the_keep_alive(line: Line) -> None:
    first = line.connection
    for way in (0, 1):
        line.network.cut("white", line.link, way, 100.0)
    ends_at = first.register_heard_at + 1.5 * line.plan.keepalive
    line.agenda.run_until(ends_at - 0.01)
    assert is_known(first)
    line.agenda.run_until(ends_at + 0.01)
    assert not is_known(first)
    line.pass_time(line.plan.silence_timeout)
    assert isinstance(line.told[-1], LinkLost)


def test_a_reset_reaches_both_sides_and_publishes_the_will(line: Line) -> None:
    first = line.connection
    line.network.reset(first, within=0.1)
    line.pass_time(0.6)
    assert not first.is_open
    assert line.connection is not first
    wills = [each for each in line.told if isinstance(each, WillSeen)]
    assert [(each.session, each.retained) for each in wills] == [(first.session, True)]


@pytest.mark.parametrize(
    ("loss", "echoes", "tail"),
    [(Loss.PUBLISH, [2], 2), (Loss.ECHO, [2], 2), (Loss.NONE, [1, 2], 2)],
)
def test_a_broker_loses_one_record(line: Line, loss: Loss, echoes: list[int], tail: int) -> None:
    line.connection.loses = loss
    line.send(1)
    line.send(2)
    line.pass_time(0.5)
    assert line.counters() == echoes
    assert line.register.record is not None
    assert line.register.record.record.id.counter == tail


def test_a_lost_publish_never_took_its_place_and_a_lost_echo_did(line: Line) -> None:
    for loss, expected in ((Loss.PUBLISH, 1), (Loss.ECHO, 3)):
        line.connection.loses = Loss.NONE
        line.send(1)
        line.pass_time(0.3)
        line.connection.loses = loss
        line.send(3)
        line.pass_time(0.3)
        assert line.register.record is not None
        assert line.register.record.record.id.counter == expected


@pytest.mark.parametrize(
    ("how", "handed_out"),
    [
        (Snapshot.USUAL, [(2, True)]),
        (Snapshot.LATE, [(1, True), (2, False)]),
        (Snapshot.TWICE, [(2, True), (2, False)]),
        (Snapshot.REVERSED, [(2, False), (1, True)]),
        (Snapshot.STALE, [(1, True)]),
    ],
)
def test_the_ways_of_a_snapshot(
    line: Line, how: Snapshot, handed_out: list[tuple[int, bool]]
) -> None:
    line.send(1)
    line.send(2)
    line.pass_time(0.5)
    line.told.clear()
    line.register.subscribe(line.connection, how)
    line.pass_time(0.5)
    records = [each for each in line.told if isinstance(each, RecordSeen)]
    assert [(each.record.id.counter, each.retained) for each in records] == handed_out


def test_a_broker_that_died_in_silence_answers_the_next_packet_with_a_reset(line: Line) -> None:
    line.network.stop_register("router", silently=True)
    line.register.is_up = True
    line.told.clear()
    line.keep_alive()
    line.pass_time(0.3)
    assert isinstance(line.told[0], LinkLost)
