"""The agent with everything around it recorded: what a full disk and strangers make it do."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

import pytest

from edge.adapters.netcheck import NetworkCheck, connects, ping
from edge.agent import Agent, Tools
from edge.board import Board, Identity
from edge.core.events import DutyStopped, HeartbeatSeen
from edge.core.model import Group, Kind, Link, Member, Pause, Policy, Record, RecordId, Saved
from edge.core.step import start
from edge.duty.idle import IdleDuty
from edge.errors import OperatorError
from edge.ports import Message
from edge.recorder import Recorder, Snapshot
from edge.twin import NOBODY, Sign, Twin, must_leave, with_sign
from edge.wire import (
    Decoder,
    Payload,
    Topics,
    decode_response,
    heartbeat_payload,
    mac_key,
    record_payload,
    seal,
)
from tests.engines.tools import free_port
from tests.shell.raw_broker import raw_broker, until

KEY = mac_key(b"0123456789abcdef", "RPI")
TOPICS = Topics("RPI")
NAMES = frozenset({"white", "black", "router"})
LINKS = tuple(Link(name) for name in sorted(NAMES))
GROUP = Group(
    name="RPI",
    members=(Member("white", 3), Member("black", 2), Member("router", 0, can_be_hot=False)),
    brokers=("white", "black", "router"),
    policy=Policy.WITNESS,
)


@dataclass(slots=True, eq=False)
class FakePath:
    """A path that keeps what is sent; `echoes` hands records back as a broker does."""

    link: Link
    session: str | None = None
    is_subscribed: bool = False
    sent: list[Message] = field(default_factory=list)
    echo: Callable[[Link, Message], None] | None = None
    gave_up: list[str] = field(default_factory=list)

    def publish(self, message: Message) -> None:
        self.sent.append(message)
        if self.echo is not None:
            asyncio.get_running_loop().call_soon(
                self.echo, self.link, replace(message, retained=False)
            )

    def give_up(self, reason: str) -> None:
        self.gave_up.append(reason)

    def ask_again(self, topic_filter: str, then: Callable[[], None]) -> None:
        assert topic_filter == TOPICS.requests
        then()

    def kinds(self) -> list[str]:
        records = [
            decode_response(each.payload) for each in self.sent if each.topic == TOPICS.lease
        ]
        return [each["kind"] for each in records if each is not None]

    def last(self, topic: str) -> bytes:
        return next((each.payload for each in reversed(self.sent) if each.topic == topic), b"")


class Node:
    """One agent, hand-fed."""

    def __init__(self) -> None:
        self.paths = {link: FakePath(link) for link in LINKS}
        self.requests = {link: FakePath(link) for link in LINKS}
        self.disk_is_full = False
        self.saved: list[Saved] = []
        self.recordings: list[Snapshot] = []
        self.alerted: list[tuple[str, str | None]] = []
        self.duty = IdleDuty()
        now = asyncio.get_running_loop().time()
        state = start("white", GROUP, "config", Saved(), now, 0.0)
        identity = Identity("white", "1abc", "1.0")
        board = Board(identity, KEY, TOPICS, self.paths, frozenset({"router"}), list, self._alerted)
        tools = Tools(
            boot="1abc",
            key=KEY,
            topics=TOPICS,
            decoder=Decoder(KEY, "RPI", NAMES),
            board=board,
            history=list,
            remember=self._remember,
            save=self._save,
            members=frozenset({"white", "black"}),
            recorder=Recorder(state, 1000, self.recordings.append),
            duty=self.duty,
        )
        self.agent = Agent(state, tools, self.paths, self.requests)
        self.duty.attach(self.agent.tell)

    def connect(self) -> None:
        self.agent.begin()
        for number, (link, path) in enumerate(self.paths.items()):
            path.session = f"1abc-{number}"
            path.echo = self.agent.received
            self.agent.link_up(link, path.session)
            path.is_subscribed = True
            self.agent.subscribed(link)

    def leave(self) -> None:
        """No callback of a forgotten agent may act on."""
        if not self.agent.left.done():
            self.agent.left.set_result(None)

    def _alerted(self, name: str, sentence: str | None) -> None:
        self.alerted.append((name, sentence))

    def _save(self, saved: Saved) -> None:
        if self.disk_is_full:
            raise OSError(28, "No space left on device")
        self.saved.append(saved)

    def _remember(self, _entry: Payload) -> bool:
        return True


def record_of(name: str, counter: int, link: Link, kind: Kind = Kind.CLAIM) -> Message:
    record = Record(RecordId(name, "9fff-1", counter), None, kind, 1)
    payload = seal(KEY, link.broker, TOPICS.lease, record_payload(record))
    return Message(TOPICS.lease, payload)


async def test_without_its_disk_it_sends_no_record_that_others_would_wait_for() -> None:
    node = Node()
    node.connect()
    node.disk_is_full = True
    path = node.paths[Link("white")]
    await until(lambda: path.last(TOPICS.alert("disk")) != b"")
    attempts = node.agent.state.term
    await until(lambda: node.agent.state.term > attempts)
    for each in node.paths.values():
        assert Kind.CLAIM not in each.kinds()
        assert each.kinds() in ([], [Kind.RELEASE]), "at most the seed of an empty register"
        assert each.gave_up == []
    word = decode_response(path.last(TOPICS.node_state("white"))) or {}
    assert word["service_level"] < 200, "nobody counts on this node"
    node.disk_is_full = False
    await until(lambda: node.agent.state.is_hot)
    await until(lambda: path.last(TOPICS.alert("disk")) == b"")
    assert node.saved[-1].term == node.agent.state.term
    node.leave()


async def test_the_alert_about_bad_messages_ends_when_they_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge.agent.REJECTED_ALERT_LASTS", 0.0)
    node = Node()
    node.connect()
    path = node.paths[Link("white")]
    node.agent.received(Link("router"), Message(TOPICS.lease, b"noise"))
    assert path.last(TOPICS.alert("bad_messages")) != b""
    await until(lambda: path.last(TOPICS.alert("bad_messages")) == b"")
    node.leave()


async def test_a_forged_record_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    node.connect()
    link = Link("router")
    for _ in range(5):
        node.agent.received(link, Message(TOPICS.lease, b'{"mac": "ab", "kind": "claim"}'))
        node.agent.received(link, Message(TOPICS.lease, b"[" * 100_000, retained=True))
    warnings = [each for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) == 2
    alert = node.paths[Link("white")].last(TOPICS.alert("bad_messages"))
    assert b"bad_mac on router" in alert
    node.leave()


async def test_an_agent_that_has_left_says_nothing_more() -> None:
    node = Node()
    node.connect()
    node.leave()
    counts = {link: len(path.sent) for link, path in node.paths.items()}
    will = seal(KEY, "white", TOPICS.node_state("white"), {"state": "lost", "session": "1abc-0"})
    node.agent.received(Link("white"), Message(TOPICS.node_state("white"), will))
    node.agent.requested(Link("white"), Message(TOPICS.request("ping"), b""))
    node.agent.begin()
    assert counts == {link: len(path.sent) for link, path in node.paths.items()}


async def test_a_node_that_stood_still_does_not_say_that_it_was_hot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Frozen in the step in which it became hot; when it goes on somebody else may be."""
    node = Node()
    stalls: list[int] = []

    def stall(term: int, _reason: str) -> None:
        stalls.append(term)
        time.sleep(1.1 * GROUP.timing.lease)

    monkeypatch.setattr(node.duty, "start", stall)
    node.connect()
    await until(lambda: bool(stalls) and node.agent.state.tenure is None)
    sent = [each for path in node.paths.values() for each in path.sent]
    words = [each.payload for each in sent if each.topic == TOPICS.node_state("white")]
    assert words
    assert not [each for each in words if b'"role":"hot"' in each]
    assert b"white" not in {each.payload for each in sent if each.topic == TOPICS.hot}
    node.leave()


async def test_it_is_no_longer_said_hot_before_the_lease_is_given_up() -> None:
    """Who hears the release may be hot while this process waits for the processor."""
    node = Node()
    node.connect()
    await until(lambda: node.agent.state.tenure is not None)
    tenure = node.agent.state.tenure
    assert tenure is not None
    for path in node.paths.values():
        path.sent.clear()
    node.agent.tell(DutyStopped(tenure.term))
    released = [path for path in node.paths.values() if path.kinds() == ["release"]]
    assert len(released) >= 2
    for path in released:
        topics = [each.topic for each in path.sent]
        assert topics.index(TOPICS.node_state("white")) < topics.index(TOPICS.lease)
        word = decode_response(path.sent[topics.index(TOPICS.node_state("white"))].payload)
        assert word is not None
        assert word["role"] == "standby"
    own = [each.topic for each in node.paths[Link("white")].sent]
    own_views = {TOPICS.hot, TOPICS.node_role("white"), TOPICS.state}
    assert own_views <= set(own[: own.index(TOPICS.lease)])
    node.leave()


async def test_our_own_old_will_is_overwritten() -> None:
    node = Node()
    node.connect()
    path = node.paths[Link("black")]
    topic = TOPICS.node_state("white")
    will = seal(KEY, "black", topic, {"state": "lost", "session": "1old-7"})
    node.agent.received(Link("black"), Message(topic, will, retained=True))
    assert b'"state":"online"' in path.last(topic)
    node.leave()


def beat_of(boot: str, sequence: int, link: Link, other_boot: str = "") -> Message:
    """A heartbeat of another life of white."""
    beat = HeartbeatSeen(
        link, "white", f"{boot}-1", boot, sequence, "config", Pause(), other_boot=other_boot
    )
    topic = TOPICS.node_heartbeat("white")
    return Message(topic, seal(KEY, link.broker, topic, heartbeat_payload(beat, 0)))


async def test_a_hot_twin_ends_a_node_that_is_not_hot() -> None:
    """Both hear the other, and say so."""
    node = Node()
    node.connect()
    link = Link("router")
    heartbeats = TOPICS.node_heartbeat("white")
    node.agent.received(link, beat_of("9fff", 1, link))
    node.agent.received(link, record_of("white", 1, link, Kind.RENEW))
    await until(lambda: b'"other_boot":"9fff"' in node.paths[link].last(heartbeats))
    assert not node.agent.left.done()
    node.agent.received(link, beat_of("9fff", 2, link, other_boot="1abc"))
    with pytest.raises(OperatorError, match="runs under the name white"):
        node.agent.left.result()


async def test_what_an_earlier_life_said_ends_nobody_however_it_is_said_again() -> None:
    node = Node()
    node.connect()
    link = Link("router")
    heartbeats = TOPICS.node_heartbeat("white")

    def number_of_beats() -> int:
        return sum(each.topic == heartbeats for each in node.paths[link].sent)

    for sequence in range(1, 4):
        node.agent.received(link, beat_of("0old", sequence, link, other_boot="0older"))
        node.agent.received(link, record_of("white", sequence, link, Kind.RENEW))
        await until(lambda: number_of_beats() > sequence)  # noqa: B023 - at once
    assert not node.agent.left.done()
    assert not [each for each in node.alerted if each[0] == "same_name" and each[1]]
    node.leave()


def test_which_of_two_twins_goes() -> None:
    older = Twin("b", 1.0, beats=100)
    assert must_leave(older, is_hot=False, boot="a", beats=3)
    assert not must_leave(older, is_hot=False, boot="c", beats=300)
    assert not must_leave(older, is_hot=True, boot="c", beats=3)
    for mine, other in (("a", "b"), ("b", "a")):
        twin = Twin(other, 1.0, beats=10, claims=True)
        assert must_leave(twin, is_hot=True, boot=mine, beats=9) is (mine > other)


def test_only_an_answer_to_this_life_proves_a_twin_and_not_for_long() -> None:
    timing, twin = GROUP.timing, NOBODY
    for now in (5.0, 5.0, 5.5, 6.0):
        twin = with_sign(twin, Sign("other", answers="older"), "mine", now, timing)
        assert twin.is_heard(now, timing)
        assert not twin.is_proven(now, timing)
    twin = with_sign(twin, Sign("other", answers="mine"), "mine", 6.0, timing)
    assert twin.is_proven(6.0, timing)
    assert with_sign(twin, Sign("other"), "mine", 6.1, timing).is_proven(6.1, timing)
    assert not with_sign(twin, Sign("other"), "mine", 50.0, timing).is_proven(50.0, timing)
    assert not with_sign(twin, Sign("third"), "mine", 6.1, timing).is_proven(6.1, timing)
    assert NOBODY.last_at == -inf


async def test_a_reference_answers_by_accepting() -> None:
    async def script(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        """Accepting is enough."""

    async with raw_broker(script) as reference:
        assert await connects("127.0.0.1", reference.port, 30.0)
        check = NetworkCheck((), (("127.0.0.1", free_port()), ("127.0.0.1", reference.port)), 30.0)
        heard: list[bool] = []
        async with asyncio.TaskGroup() as group:
            task = group.create_task(check.run(heard.append))
            await until(lambda: bool(heard))
            task.cancel()
    assert heard == [True]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 80, "bad..name", "\u2603" * 70, ""])
async def test_a_reference_with_an_odd_name_is_one_that_does_not_answer(host: str) -> None:
    assert not await connects(host, 1, 5.0)
    assert not await ping(host, 0.2)
