"""Brokers that say about a group exactly what a test wants: the client's view from outside."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from broker.client import Client
from tests.engines.tools import DEADLINE, Broker, connect, free_port, open_settings, running

GROUP = "RPI"


@dataclass(slots=True)
class Speaker:
    """One running broker and a client that publishes what its node would."""

    name: str
    broker: Broker
    client: Client

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.broker.port}"

    async def say(self, place: str, content: object, *, group: str = GROUP) -> None:
        payload = content if isinstance(content, bytes) else _bytes(content)
        await self.client.publish(f"edge/{group}/{place}", payload, qos=1, retain=True)

    async def names(self, hot: str, term: int, *, reason: str = "died") -> None:
        """What a node publishes on its own broker when `hot` has become hot."""
        await self.say("broker", self.name)
        await self.say(f"node/{hot}/state", online(term, reason=reason))
        await self.say("hot", hot)


def online(term: object, *, reason: str = "died", role: str = "hot", session: str = "1-1") -> bytes:
    word = {"state": "online", "role": role, "term": term, "reason": reason, "session": session}
    return json.dumps(word).encode()


def gone(state: str = "lost", *, session: str = "1-1") -> bytes:
    return json.dumps({"state": state, "session": session}).encode()


@asynccontextmanager
async def speaker(name: str, port: int | None = None) -> AsyncIterator[Speaker]:
    async with running("embedded", open_settings(port or free_port())) as broker:
        yield Speaker(name, broker, await connect(broker, f"speaker-{name}"))


@asynccontextmanager
async def speakers(*names: str) -> AsyncIterator[list[Speaker]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(speaker(name)) for name in names]


def _bytes(content: object) -> bytes:
    return content.encode() if isinstance(content, str) else json.dumps(content).encode()


__all__ = ["DEADLINE", "GROUP", "Speaker", "gone", "online", "speaker", "speakers"]
