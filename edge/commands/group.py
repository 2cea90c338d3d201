"""The commands that talk to a running group: what they wait for, print and return."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from getpass import getpass

import orjson
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from edge.adapters.operator import (
    ANSWER_TIMEOUT,
    GroupClient,
    Login,
    group_client,
    login_with_secret,
)
from edge.console.table import event_line, group_table, history_table
from edge.console.view import GroupView, hot_node, is_redundant, table, text
from edge.core.model import Phase, Role
from edge.errors import OperatorError, SettingsError, UnreachableError
from edge.ports import Message
from edge.settings import Settings
from edge.settings.file import find_node

RECONNECT_DELAY = 0.5
WHO_IS_HOT_TIMEOUT = 10.0
EVENT_TIMEOUT = 10.0
OWN_WORD_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Group:
    """What every command needs: the group, how to log on, which node to ask first."""

    settings: Settings
    login: Login
    first: str | None
    console: Console


def plain_console() -> Console:
    """What comes from the network is shown as it is: no markup, no guessed colours, no folding."""
    return Console(markup=False, highlight=False, soft_wrap=True)


def open_group(
    settings: Settings, node: str | None, user: str | None, target: str | None = None
) -> Group:
    """Decide how to log on; refuse names that are not in the file before anything is sent."""
    if target is not None and target not in {each.name for each in settings.nodes}:
        names = ", ".join(each.name for each in settings.nodes)
        raise SettingsError(f'there is no node "{target}" in the file; one of: {names}')
    first = find_node(settings, node) if node else None
    return Group(settings, _login(settings, first, user), first, plain_console())


def _login(settings: Settings, first: str | None, user: str | None) -> Login:
    if user is None:
        return login_with_secret(settings, first or _own_name(settings))
    password = os.environ.get("EDGE_PASSWORD")
    return Login(user, password if password is not None else getpass(f"Password of {user}: "))


def _own_name(settings: Settings) -> str:
    """This machine's member, or any: an operator's machine need not be one of the group."""
    try:
        return find_node(settings, None)
    except SettingsError:
        return settings.members[0]


async def status(group: Group, *, as_json: bool) -> int:
    """Print the group once. 0 redundant, 1 hot but degraded, 2 nobody hot."""
    async with group_client(group.settings, group.login, group.first) as client:
        await client.wait_for_state()
        if as_json:
            group.console.out(_as_json(client))
        else:
            group.console.print(_picture(group, client.view, client.asked))
        if hot_node(client.view) is None:
            return 2
        return 0 if is_redundant(client.view) else 1


async def watch(group: Group) -> int:
    """Keep the table up to date until Ctrl-C, from another node when the asked one is gone."""
    with Live(Text("connecting..."), console=group.console, refresh_per_second=10) as live:
        while True:
            try:
                await _follow(group, live)
            except UnreachableError as error:
                live.update(Text(f"{error}; trying again", "bold red"))
                await asyncio.sleep(RECONNECT_DELAY)


async def _follow(group: Group, live: Live) -> None:
    """Show what one node says, until it is gone."""
    async with group_client(group.settings, group.login, group.first) as client:
        while True:
            live.update(_picture(group, client.view, client.asked))
            await client.next_message()


async def history(group: Group, *, as_json: bool) -> int:
    async with group_client(group.settings, group.login, group.first) as client:
        await client.wait_for_state()
        if as_json:
            entries = orjson.dumps([dict(each) for each in client.view.history])
            group.console.out(entries.decode())
        else:
            group.console.print(history_table(client.view.history))
    return 0


async def order(group: Group, command: str, arguments: Mapping[str, object]) -> int:
    """Send a request, print what the group says until it is answered."""
    async with group_client(group.settings, group.login, group.first) as client:
        await client.wait_for_state()
        data = await _answer(group, client, command, arguments)
        group.console.print(f"{command}: ok{_details(data)}")
    return 0


async def move(group: Group, command: str, arguments: Mapping[str, object]) -> int:
    """An order that makes another node hot: also wait until that has happened, and time it."""
    async with group_client(group.settings, group.login, group.first) as client:
        await client.wait_for_state()
        before = hot_node(client.view)
        began = time.monotonic()
        data = await _answer(group, client, command, arguments)
        if "at" in arguments:
            group.console.print(f"{command}: ordered for {arguments['at']}{_details(data)}")
            return 0
        _show_steps(group, before, data)
        wanted = text(data, "hot") or text(arguments, "to")
        now_hot = await _until_hot(group, client, before, wanted)
        _show_steps(group, now_hot, await _until_told(group, client, command, now_hot))
        took = (time.monotonic() - began) * 1000
        group.console.print(f"{command}: {now_hot} is hot, {took:.0f} ms after the order")
    return 0


async def _answer(
    group: Group, client: GroupClient, command: str, arguments: Mapping[str, object]
) -> Mapping[str, object]:
    transaction = client.request(command, arguments)
    limit = ANSWER_TIMEOUT + group.settings.duty.switch_limit
    try:
        async with asyncio.timeout(limit):
            answer = None
            while answer is None:
                answer = client.answer_in(await _next(group, client), transaction)
            return _data_of(command, answer)
    except TimeoutError:
        raise OperatorError(
            f"{command}: no answer from {client.asked} within {limit:.0f} s; "
            f"may this user give orders? (access.anonymous, --user) {_who(group)}"
        ) from None


async def _until_hot(group: Group, client: GroupClient, before: str | None, wanted: str) -> str:
    """The new hot node's name, once somebody is hot who was not, or who was asked for."""
    try:
        async with asyncio.timeout(WHO_IS_HOT_TIMEOUT):
            while not _is_moved(client.view, before, wanted):
                await _next(group, client)
    except TimeoutError:
        raise OperatorError(
            f"the order was accepted, but after {WHO_IS_HOT_TIMEOUT:.0f} s "
            f"{hot_node(client.view) or 'nobody'} is hot; see: edge status, edge history"
        ) from None
    return wanted or hot_node(client.view) or ""


async def _until_told(
    group: Group, client: GroupClient, command: str, now_hot: str
) -> Mapping[str, object]:
    """The event with the measured times comes when the duty has started, however long that takes;
    without it nothing is wrong, as long as the node stays hot."""
    with suppress(TimeoutError):
        await _follow_start(group, client, now_hot)
    if hot_node(client.view) != now_hot:
        why = await _why_not_hot(group, client, now_hot)
        raise OperatorError(f"{command}: {now_hot} became hot and is so no longer: {why}")
    return _told_of(client.view, now_hot)


async def _follow_start(group: Group, client: GroupClient, node: str) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(EVENT_TIMEOUT) as patience:
        while not _told_of(client.view, node) and hot_node(client.view) == node:
            if _own_word(client.view, node, "phase") == Phase.STARTING_DUTY:
                patience.reschedule(loop.time() + EVENT_TIMEOUT)
            await _next(group, client)


async def _why_not_hot(group: Group, client: GroupClient, node: str) -> str:
    """In its own words, which come a moment after the change."""
    with suppress(TimeoutError):
        async with asyncio.timeout(OWN_WORD_TIMEOUT):
            while _own_word(client.view, node, "role") == Role.HOT:
                await _next(group, client)
    word = _own_word(client.view, node, "reason")
    return word or f"it has {_own_word(client.view, node, 'state') or 'gone'}"


def _own_word(view: GroupView, node: str, key: str) -> str:
    return text(view.node_states.get(node, {}), key)


def _told_of(view: GroupView, node: str) -> Mapping[str, object]:
    return next((each for each in view.events if each.get("to") == node), {})


def _show_steps(group: Group, node: str | None, told: Mapping[str, object]) -> None:
    """What ending or starting the duty was made of. From the network: whatever does not fit is
    not shown."""
    steps = told.get("steps")
    for each in steps if isinstance(steps, list) else []:
        if isinstance(each, dict) and isinstance(each.get("ms"), int | float):
            group.console.print(f"  {node}: {text(each, 'step')} {each['ms']:.0f} ms")


def _is_moved(view: GroupView, before: str | None, wanted: str) -> bool:
    """Who could not stay hot may be gone again when the answer comes."""
    return wanted in view.hot_words if wanted else hot_node(view) not in {None, before}


async def _next(group: Group, client: GroupClient) -> Message:
    """The next message; what people want to see of an order is printed as it passes."""
    message = await client.next_message()
    match client.place(message):
        case "event":
            group.console.print(event_line(client.view.events[-1]))
        case "hot":
            group.console.print(f"hot is {hot_node(client.view) or 'nobody'}")
    return message


def _data_of(command: str, answer: Mapping[str, object]) -> Mapping[str, object]:
    if answer.get("status") == "ok":
        return table(answer, "data")
    code, error = text(answer, "code"), text(answer, "error")
    raise OperatorError(f"{command}: refused: {error or 'no reason given'} ({code or 'no code'})")


def _details(data: Mapping[str, object]) -> str:
    words = [f"{key} {value}" for key, value in data.items() if key != "steps"]
    return f" ({', '.join(words)})" if words else ""


def _who(group: Group) -> str:
    return f"Logged on as {group.login.user}." if group.login.user else "Logged on anonymously."


def _as_json(client: GroupClient) -> str:
    view = client.view
    content = {**(view.state or {}), "alerts": dict(view.alerts), "asked": client.asked}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()


def _picture(group: Group, view: GroupView, asked: str) -> RenderableType:
    return group_table(group.settings.group, group.settings.members, view, asked)
