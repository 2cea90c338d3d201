"""Against real nodes: the hot one is killed, frozen, or told to hand over while messages flow."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge.client import Follower, Group
from edge.commands.demo_group import GROUP, NODES, WITNESS, DemoGroup, demo_group
from tests.engines.tools import free_port
from tests.mqtt.certificates import Authority
from tests.shell.raw_broker import until
from tests.shell.running import ALONE, children_of, members

COUNT = 1000
# What is repeated and what is ahead of the receiver fits into a broker's queue of 1000.
LIMIT, AHEAD = 400, 200
DEADLINE = 120.0

Fault = Callable[[DemoGroup, str, Follower], Coroutine[None, None, None]]


@asynccontextmanager
async def real_group() -> AsyncIterator[tuple[DemoGroup, list[str]]]:
    """A running, redundant group and the addresses of its nodes."""
    with demo_group() as demo:
        for name in (*NODES, WITNESS):
            demo.start(name)
        addresses = [f"127.0.0.1:{demo.port(name)}" for name in NODES]
        yield demo, addresses


async def _redundant(group: Group, addresses: list[str], connection: Follower) -> None:
    """Both brokers take part, and the other node is ready to take over."""
    await connection.subscribe(f"edge/{GROUP}/state", "numbers/#")
    is_redundant = False
    while not is_redundant or group.hot is None:
        message = await anext(connection.messages)
        is_redundant = json.loads(message.payload)["redundant"]
    await until(lambda: connection.ready == frozenset(addresses))
    await connection.unsubscribe(f"edge/{GROUP}/state")


class Reader:
    """Receives until each number has come at least once."""

    def __init__(self, connection: Follower) -> None:
        self._connection = connection
        self.first_copies: dict[int, None] = {}  # in the order in which they came

    async def read(self, count: int) -> list[int]:
        async for message in self._connection.messages:
            if message.topic == "numbers/x":
                self.first_copies[int(message.payload)] = None
            if len(self.first_copies) == count:
                break
        return list(self.first_copies)


async def _publish(
    connection: Follower, count: int, reader: Reader, disturb: Coroutine[None, None, None]
) -> None:
    """Never further ahead than what a broker keeps for a slow receiver, and than is repeated."""
    for number in range(count):
        await connection.enqueue("numbers/x", str(number))
        if number == count // 3:
            await disturb
        await until(lambda number=number: number - len(reader.first_copies) < AHEAD)  # type: ignore[misc]
        await asyncio.sleep(0)
    await connection.drain()


async def _kill(demo: DemoGroup, hot: str, _sender: Follower) -> None:
    demo.kill(hot)


async def _freeze(demo: DemoGroup, hot: str, _sender: Follower) -> None:
    """The agent only: its broker goes on acknowledging and its last word still stands there."""
    demo.processes[hot].send_signal(signal.SIGSTOP)


async def _freeze_all(demo: DemoGroup, hot: str, _sender: Follower) -> None:
    """As a machine whose cable was pulled: nothing is closed, nothing answers."""
    for pid in (demo.processes[hot].pid, *children_of(demo.processes[hot].pid)):
        os.kill(pid, signal.SIGSTOP)


async def _hand_over(_demo: DemoGroup, _hot: str, sender: Follower) -> None:
    await sender.enqueue(f"edge/{GROUP}/request/switchover", b"")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("fault", "count"),
    [
        (_kill, COUNT),
        (_kill, 3 * COUNT),  # more than any queue on the way holds
        (_freeze, COUNT),
        (_freeze_all, COUNT),
        (_hand_over, COUNT),
    ],
)
async def test_no_message_is_lost_at(fault: Fault, count: int) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        real_group() as (demo, addresses),
        Group(addresses, timeout=DEADLINE) as sending,
        Group(addresses, timeout=DEADLINE) as receiving,
        sending.follow(limit=LIMIT, repeat=DEADLINE) as sender,  # however late a busy machine hears
        receiving.follow() as receiver,
    ):
        await _redundant(receiving, addresses, receiver)
        hot = await sending.wait_for_hot()
        await until(lambda: sender.node == hot.node)
        reader = Reader(receiver)
        reading = asyncio.create_task(reader.read(count))
        await _publish(sender, count, reader, fault(demo, hot.node, sender))
        assert await reading == list(range(count))
        await until(lambda: sending.hot is not None and sending.hot.term > hot.term)
        await until(lambda: sender.node not in {None, hot.node})
        demo.kill(hot.node)  # a frozen one does not stop by itself


async def test_a_nodes_own_broker_is_followed_over_tls(tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), free_port()
    files = authority.files()
    tls = f'[broker.tls]\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
    text = ALONE.replace("[access]", f"tls_port = {port}\n{tls}[access]")
    context, addresses = authority.client_context(), [f"127.0.0.1:{port}"]
    with members(tmp_path, text) as group:
        group.start("white")
        async with (
            asyncio.timeout(DEADLINE),
            Group(addresses, tls=context, timeout=DEADLINE) as outside,
            outside.follow() as connection,
        ):
            assert (await outside.wait_for_hot()).node == "white"
            await connection.subscribe("n/#")
            await connection.publish("n/x", "one")
            assert (await anext(connection.messages)).payload == b"one"
