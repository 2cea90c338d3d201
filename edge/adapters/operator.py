"""How the commands reach a running group: as one MQTT client of the first node that answers.

They read the retained topics and publish requests, exactly as any other program may.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from edge.adapters.mqtt import (
    Connected,
    Connection,
    ConnectionEvent,
    Disconnected,
    Endpoint,
    Received,
    Refused,
    SubscribedTo,
)
from edge.console.view import FILTERS, LAST_FILTER, GroupView, absorb, mapping
from edge.errors import OperatorError, SettingsError, UnreachableError
from edge.ports import Message
from edge.settings import Settings
from edge.settings.file import read_secret
from edge.wire import Topics, broker_token

ANSWER_TIMEOUT = 15.0
CONNECT_TIMEOUT = 3.0
RETAINED_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class Login:
    """Who a command logs on as: a user, a member by the group's secret, or nobody in particular."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    secret: bytes | None = field(default=None, repr=False)

    def password_at(self, group: str, broker: str) -> str | None:
        """A member has another password at every broker, see `broker_token`."""
        if self.secret is None or self.user is None:
            return self.password
        return broker_token(self.secret, group, self.user, broker)


def login_with_secret(settings: Settings, member: str) -> Login:
    """A member's own log-on where the group's secret can be read, else anonymous."""
    try:
        return Login(member, secret=read_secret(settings))
    except SettingsError:
        return Login()


class GroupClient:
    """A connection to one node's broker, and the view that its topics give."""

    def __init__(self, group: str, asked: str) -> None:
        self.asked = asked
        self.view = GroupView()
        self._topics = Topics(group)
        self._news: asyncio.Queue[ConnectionEvent] = asyncio.Queue()
        self._connection: Connection | None = None

    async def open(self, endpoint: Endpoint) -> None:
        """Log on and subscribe; UnreachableError with the reason if that fails."""
        self._connection = Connection(
            endpoint, f"edge-operator-{secrets.token_hex(6)}", self._news.put_nowait
        )
        self._connection.open()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._until(Connected)
                await self._subscribe(*FILTERS, "response/+")
                await self._subscribe(LAST_FILTER)
        except TimeoutError:
            raise UnreachableError("no answer") from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def next_message(self) -> Message:
        """Wait for any message of the group; the view has it already when this returns."""
        while True:
            message = self._take(await self._news.get())
            if message is not None:
                return message

    async def wait_for_state(self) -> None:
        """Return when the node's view of the group is here; OperatorError if it publishes none."""
        try:
            async with asyncio.timeout(RETAINED_TIMEOUT):
                while self.view.state is None:
                    await self.next_message()
        except TimeoutError:
            raise OperatorError(
                f"the broker of {self.asked} answers but its node says nothing about the group; "
                "look at the log of: edge run"
            ) from None

    def place(self, message: Message) -> str:
        """A message's topic below edge/<group>/."""
        return message.topic.removeprefix(f"{self._topics.root}/")

    def request(self, command: str, arguments: Mapping[str, object]) -> str:
        """Send a request; returns its transaction, which the response will carry."""
        assert self._connection is not None
        transaction = secrets.token_hex(8)
        payload = orjson.dumps({**arguments, "transaction": transaction})
        self._connection.publish(Message(self._topics.request(command), payload))
        return transaction

    def answer_in(self, message: Message, transaction: str) -> Mapping[str, object] | None:
        """The response's content if this message is the response to our transaction."""
        if not self.place(message).startswith("response/"):
            return None
        content = mapping(message.payload)
        return content if content.get("transaction") == transaction else None

    async def _subscribe(self, *places: str) -> None:
        assert self._connection is not None
        self._connection.subscribe(*(f"{self._topics.root}/{each}" for each in places))
        await self._until(SubscribedTo)

    async def _until(self, wanted: type[Connected | SubscribedTo]) -> None:
        while True:
            event = await self._news.get()
            self._take(event)
            if isinstance(event, wanted):
                return

    def _take(self, event: ConnectionEvent) -> Message | None:
        match event:
            case Received(message):
                self.view = absorb(self.view, self.place(message), message.payload)
                return message
            case Refused(reason) | Disconnected(reason):
                raise UnreachableError(reason)
            case Connected() | SubscribedTo():
                return None


@asynccontextmanager
async def group_client(
    settings: Settings, login: Login, first: str | None = None
) -> AsyncIterator[GroupClient]:
    """A client at the first node that answers, `first` being asked before the others."""
    client = await _first_that_answers(settings, login, first)
    try:
        yield client
    finally:
        client.close()


async def _first_that_answers(settings: Settings, login: Login, first: str | None) -> GroupClient:
    refusals = []
    for name, host, port in _paths(settings, first):
        client = GroupClient(settings.group, name)
        try:
            await client.open(login_endpoint(login, settings.group, name, (host, port)))
        except UnreachableError as error:
            client.close()
            refusals.append(f"{name} at {host}:{port}: {error}")
        else:
            return client
    who = f"as {login.user}" if login.user else "without a user name (the secret is not readable)"
    raise UnreachableError(
        f"no broker of group {settings.group} lets us in {who}; {'; '.join(refusals)}"
    )


def login_endpoint(login: Login, group: str, broker: str, path: tuple[str, int]) -> Endpoint:
    """Where to connect and what to say there."""
    return Endpoint(*path, login.user, login.password_at(group, broker))


def _paths(settings: Settings, first: str | None) -> list[tuple[str, str, int]]:
    names = sorted((each.name for each in settings.nodes), key=lambda name: name != first)
    return [(name, host, port) for name in names for host, port in settings.node_endpoints(name)]
