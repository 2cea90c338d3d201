"""Power cuts at any point of anything: what was acknowledged arrives, at QoS 2 once, in order.

The clients here are correct ones that repeat what was not acknowledged, so in the end every message
must have arrived where it was subscribed to, whatever happened on the way.
"""

import random
from dataclasses import dataclass, field

import pytest

from broker.protocol import packets
from broker.protocol.packets import (
    MQTT_3_1_1,
    MQTT_5,
    Acknowledge,
    Connack,
    Connect,
    Packet,
    Properties,
    Publish,
    Subscribe,
)
from tests.mqtt.disk import DiskHub
from tests.mqtt.tools import Peer

# One QoS for each topic: what is repeated at QoS 1 may come after what was sent later at QoS 2.
TOPICS = {"a/x": 2, "a/y": 1, "b/x": 1}
READERS = {"exact": ("a/#", 2), "often": ("+/x", 1)}
WRITER = "writer"


@dataclass
class Machine:
    """A client with a session that is kept, and a memory of its own that survives."""

    client_id: str
    version: int
    peer: Peer | None = None
    was_confirmed: bool = False
    is_greeted: bool = False
    next_id: int = 0
    unanswered: dict[int, Packet] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)  # QoS 2 ids that the broker is to release
    got: list[tuple[str, bytes]] = field(default_factory=list)

    def connect(self, hub: DiskHub) -> None:
        self.peer = Peer(hub)
        self.is_greeted = False
        properties = packets.NONE
        if self.version == MQTT_5:
            properties = Properties(session_expiry=0xFFFFFFFF)
        connect = Connect(
            self.client_id, clean_session=False, version=self.version, properties=properties
        )
        self.peer.send(connect)

    def ask(self, packet: Packet, packet_id: int) -> None:
        """Now, or after what is to be repeated."""
        self.unanswered[packet_id] = packet
        if self.peer and self.is_greeted:
            self.peer.send(packet)

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def read(self) -> bool:
        """Whether anything came."""
        assert self.peer
        arrived = self.peer.got()
        for packet in arrived:
            self._take(self.peer, packet)
        return bool(arrived)

    def _take(self, peer: Peer, packet: Packet) -> None:
        match packet:
            case Connack(present):
                assert present or not self.was_confirmed, "a session that was confirmed is gone"
                self.was_confirmed = self.is_greeted = True
                for each in tuple(self.unanswered.values()):
                    peer.send(each)
            case Publish(topic, payload, qos, packet_id=packet_id):
                assert self.is_greeted
                if qos != 2 or packet_id not in self.held:
                    self.got.append((topic, payload))
                if qos == 2:
                    self.held.add(packet_id)
                    peer.send(Acknowledge(packets.PUBREC, packet_id))
                elif qos:
                    peer.send(Acknowledge(packets.PUBACK, packet_id))
            case Acknowledge(packets.PUBREL, packet_id):
                self.held.discard(packet_id)
                peer.send(Acknowledge(packets.PUBCOMP, packet_id))
            case Acknowledge(packets.PUBREC, packet_id):
                self.ask(Acknowledge(packets.PUBREL, packet_id), packet_id)
            case packets.Suback() | packets.Unsuback() | Acknowledge():
                self.unanswered.pop(packet.packet_id, None)


class World:
    def __init__(self) -> None:
        self.hub = DiskHub()
        self.sent: dict[str, list[bytes]] = {topic: [] for topic in TOPICS}
        self.retained: dict[str, bytes] = {}
        self.count = 0
        self.machines = {
            "exact": Machine("exact", MQTT_5),
            "often": Machine("often", MQTT_3_1_1),
            WRITER: Machine(WRITER, MQTT_5),
        }
        for machine in self.machines.values():
            machine.connect(self.hub)
        for name, wish in READERS.items():
            machine = self.machines[name]
            packet_id = machine.new_id()
            machine.ask(Subscribe(packet_id, (wish,)), packet_id)
        self.finish()

    def publish(self, topic: str, retain: bool) -> None:
        qos = TOPICS[topic]
        payload = b"%d" % self.count
        self.count += 1
        self.sent[topic].append(payload)
        if retain:
            self.retained[topic] = payload
        writer = self.machines[WRITER]
        packet_id = writer.new_id()
        writer.ask(Publish(topic, payload, qos, retain, packet_id=packet_id), packet_id)

    def toggle(self, name: str) -> None:
        machine = self.machines[name]
        if machine.peer:
            machine.peer.vanish()
            machine.peer = None
        else:
            machine.connect(self.hub)

    def read(self, name: str) -> None:
        if self.machines[name].peer:
            self.machines[name].read()

    def cut(self, luck: int) -> None:
        self.hub = self.hub.after_power_cut(luck=luck)
        for machine in self.machines.values():
            machine.peer = None

    def finish(self) -> None:
        """Everybody is there, and nothing is left to do."""
        for machine in self.machines.values():
            if machine.peer is None:
                machine.connect(self.hub)
        is_busy = True
        while is_busy:
            self.hub.sync()
            is_busy = sum(each.read() for each in self.machines.values()) > 0

    def check(self) -> None:
        exact, often, writer = (self.machines[each].got for each in (*READERS, WRITER))
        assert not writer
        assert not any(each.unanswered for each in self.machines.values())
        for topic, sent in self.sent.items():
            seen = [payload for name, payload in exact if name == topic]
            first_seen = list(dict.fromkeys(seen))
            assert first_seen == (sent if topic.startswith("a/") else [])
            assert TOPICS[topic] != 2 or len(seen) == len(first_seen)
            seen = [payload for name, payload in often if name == topic]
            assert list(dict.fromkeys(seen)) == (sent if topic.endswith("x") else [])
        memory = self.hub.disk.memory()
        kept = {each.topic.decode(): each.payload for each in memory.retained.values()}
        assert kept == self.retained
        assert not any(each.deliveries or each.received for each in memory.sessions.values())


# What is published and read between two syncs is what a power cut takes away: much of both.
WEIGHTS = {"publish": 6, "read": 8, "toggle": 1, "sync": 1, "restate": 1, "cut": 2}


def draw(seed: int) -> list[tuple[object, ...]]:
    drawn = random.Random(seed)

    def arguments(name: str) -> tuple[object, ...]:
        match name:
            case "publish":
                return drawn.choice(tuple(TOPICS)), drawn.random() < 0.5
            case "read" | "toggle":
                return (drawn.choice((*READERS, WRITER)),)
            case "restate":
                return (drawn.randint(1, 4),)
            case "cut":
                return (drawn.choice((0, 0, 0, 1, 2, 5)),)
        return ()

    names = drawn.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()), k=drawn.randint(5, 80))
    return [(name, *arguments(name)) for name in names]


def play(run: list[tuple[object, ...]]) -> World:
    world = World()
    for _ in range(3):  # so that packet ids begin anew at the first restart
        world.publish("a/x", retain=False)
    world.finish()
    for name, *arguments in run:
        target = world.hub if name in {"sync", "restate"} else world
        getattr(target, str(name))(*arguments)
    return world


@pytest.mark.parametrize("part", range(8))
def test_nothing_is_lost_doubled_or_invented(part: int) -> None:
    for seed in range(50 * part, 50 * (part + 1)):
        world = play(draw(seed))
        world.finish()
        world.check()


@pytest.mark.parametrize("seed", range(100))
def test_a_restart_finds_what_was_there(seed: int) -> None:
    """What the journal told gives the same picture as what the router says about itself."""
    world = play(draw(seed))
    world.hub.sync()
    before = world.hub.disk.memory()
    after = world.hub.after_power_cut()
    after.restate(10_000)
    after.sync()
    again = after.disk.memory()
    assert {each.topic: each.payload for each in before.retained.values()} == {
        each.topic: each.payload for each in again.retained.values()
    }
    assert before.sessions.keys() == again.sessions.keys()
    for number, session in before.sessions.items():
        other = again.sessions[number]
        assert session.subscriptions == other.subscriptions
        assert session.received == other.received
        assert session.deliveries.keys() == other.deliveries.keys()
