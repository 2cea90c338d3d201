"""Who may do what: users, roles and rules, the same on every engine."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from broker.client import ClientError, Message
from broker.settings import Action, BrokerSettings, Listener, Role, Rule, User
from tests.engines.tools import (
    EVERYTHING,
    HOST,
    Broker,
    connect,
    messages_until,
    next_message,
    running,
)

TOKEN = "0123456789abcdef0123456789abcdef"
NODE = {"user": "white", "password": TOKEN}

# The rules of a group: only nodes write under group/, everybody may ask; secret/ is theirs alone.
GUEST = Role(
    "guest",
    (
        Rule(Action.PUBLISH, "group/request/#", True),
        Rule(Action.PUBLISH, "group/#", False),
        Rule(Action.PUBLISH, "#", True),
        Rule(Action.SUBSCRIBE, "secret/#", False),
        Rule(Action.SUBSCRIBE, "#", True),
    ),
)


def guarded_settings(port: int) -> BrokerSettings:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    node = User("white", f"token:{digest}", EVERYTHING.name, secret=TOKEN)
    return BrokerSettings(
        (Listener(HOST, port),),
        roles=(EVERYTHING, GUEST),
        users=(node,),
        anonymous=GUEST.name,
    )


@pytest.fixture
async def guarded(engine: str, port: int) -> AsyncIterator[Broker]:
    async with running(engine, guarded_settings(port)) as it:
        yield it


async def test_who_is_refused(guarded: Broker) -> None:
    await connect(guarded, "guest")
    await connect(guarded, "node", **NODE)
    for user, password in (
        ("white", "wrong"),
        ("white", None),
        ("nobody", TOKEN),
        ("nobody", None),
    ):
        with pytest.raises(ClientError):
            await connect(guarded, "intruder", user=user, password=password)


async def test_anonymous_is_refused_without_a_role(engine: str, port: int) -> None:
    guarded = guarded_settings(port)
    settings = BrokerSettings(guarded.listeners, guarded.roles, guarded.users, anonymous=None)
    async with running(engine, settings) as broker:
        with pytest.raises(ClientError):
            await connect(broker, "guest")
        await connect(broker, "node", **NODE)


async def test_wrong_password_touches_nobody(guarded: Broker) -> None:
    node = await connect(guarded, "victim", will=Message("secret/will", b"lost"), **NODE)
    await node.subscribe("secret/#")
    with pytest.raises(ClientError):
        await connect(guarded, "victim", user="white", password="wrong")
    async with asyncio.timeout(5):
        await node.publish("secret/a", b"end")
        assert await messages_until(node, b"end") == []


async def test_rules_hold_for_publish(guarded: Broker) -> None:
    node = await connect(guarded, "node", **NODE)
    guest = await connect(guarded, "guest")
    await node.subscribe("#")
    await guest.publish("group/lease", b"forged", retain=True)
    await guest.publish("group/request/switchover", b"black")
    await guest.publish("other", b"end")
    seen = await messages_until(node, b"end")
    assert [message.topic for message in seen] == ["group/request/switchover"]


async def test_rules_hold_for_subscribe(guarded: Broker) -> None:
    node = await connect(guarded, "node", **NODE)
    guest = await connect(guarded, "guest")
    assert await guest.subscribe("secret/a") == 0x80
    assert await guest.subscribe("secret/#") == 0x80
    assert await guest.subscribe("group/#") == 1
    await node.publish("secret/a", b"hidden")
    await node.publish("group/lease", b"end")
    assert await messages_until(guest, b"end") == []


async def test_rules_hold_for_delivery(guarded: Broker) -> None:
    node = await connect(guarded, "node", **NODE)
    guest = await connect(guarded, "guest")
    await node.publish("secret/kept", b"hidden", retain=True)
    assert await guest.subscribe("#") == 1
    await node.publish("secret/live", b"hidden")
    await node.publish("group/lease", b"end")
    assert await messages_until(guest, b"end") == []


async def test_rules_hold_for_wills(guarded: Broker) -> None:
    node = await connect(guarded, "node", **NODE)
    await node.subscribe("#")
    forger = await connect(guarded, "forger", will=Message("group/lease", b"forged", retain=True))
    await forger.abort()
    honest = await connect(guarded, "honest", will=Message("other", b"end"))
    await honest.abort()
    assert await messages_until(node, b"end") == []


async def test_rules_hold_for_retained(guarded: Broker) -> None:
    guest = await connect(guarded, "guest")
    await guest.publish("group/lease", b"forged", retain=True)
    await guest.publish("other", b"kept", retain=True)
    node = await connect(guarded, "node", **NODE)
    await node.subscribe("#")
    assert (await next_message(node)).topic == "other"
    await node.publish("other", b"end")
    assert await messages_until(node, b"end") == []
