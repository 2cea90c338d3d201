"""Who is connected to which broker, over which path, as whom, and for what."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from edge.adapters.links import Handlers, LinkOptions, MqttLink
from edge.adapters.mqtt import Endpoint
from edge.agent import Agent
from edge.board import Board
from edge.core.model import Link
from edge.ports import Message
from edge.settings import Settings
from edge.wire import Topics, broker_token


@dataclass(frozen=True, slots=True)
class Caller:
    """As whom this life of this node connects."""

    name: str
    secret: bytes
    new_session: Callable[[], str]


class Connections:
    """Makes the links of one node: one for the lease and one for requests to every address."""

    def __init__(self, settings: Settings, caller: Caller) -> None:
        self._settings = settings
        self._caller = caller
        self._topics = Topics(settings.group)

    def lease_links(self, agent: Agent, board: Board) -> dict[Link, MqttLink]:
        handlers = Handlers(
            agent.link_up, agent.subscribed, agent.link_lost, agent.link_denied, agent.received
        )
        timing = self._settings.timing
        options = LinkOptions(
            purpose="lease",
            filters=((self._topics.lease,), (self._topics.states, self._topics.heartbeats)),
            keepalive=timing.keepalive,
            silence_timeout=max(3 * timing.lease, 1.0),
        )
        return {
            link: self._make_link(link, endpoint, options, handlers, board.will)
            for link, endpoint in self._endpoints()
        }

    def request_links(self, agent: Agent) -> dict[Link, MqttLink]:
        """They say nothing unless somebody asks, and have no will: nobody waits for them."""
        handlers = Handlers(_ignore, _ignore, _ignore, _ignore, agent.requested)
        options = LinkOptions(
            purpose="requests",
            # Twice: when the second is granted, what is retained has been handed out.
            filters=((self._topics.requests,), (self._topics.requests,)),
            keepalive=self._settings.timing.keepalive,
            silence_timeout=inf,
        )
        return {
            link: self._make_link(link, endpoint, options, handlers, _ignore)
            for link, endpoint in self._endpoints()
        }

    def health_link(
        self, topics: tuple[str, ...], received: Callable[[Message], None]
    ) -> MqttLink | None:
        """The application's topics whose change shows that a process works, on our own broker."""
        if not topics:
            return None
        handlers = Handlers(
            _ignore, _ignore, _ignore, _ignore, lambda _, message: received(message)
        )
        options = LinkOptions(
            purpose="health",
            filters=(topics,),
            keepalive=self._settings.timing.keepalive,
            silence_timeout=inf,
        )
        own = next(each for each in self._endpoints() if each[0].broker == self._caller.name)
        return self._make_link(*own, options, handlers, _ignore)

    def _make_link(
        self,
        link: Link,
        endpoint: Endpoint,
        options: LinkOptions,
        handlers: Handlers,
        will: Callable[[Link, str], Message | None],
    ) -> MqttLink:
        return MqttLink(
            link=link,
            endpoint=endpoint,
            options=options,
            handlers=handlers,
            new_session=self._caller.new_session,
            client_id=lambda session: f"edge-{self._settings.group}-{self._caller.name}-{session}",
            will=will,
        )

    def _endpoints(self) -> list[tuple[Link, Endpoint]]:
        """Every path to every broker; our own one is reached without leaving the machine."""
        found = []
        for broker in self._settings.members:
            ends = self._settings.endpoints(broker)
            if broker == self._caller.name:
                ends = ((_own_host(self._settings), ends[0][1]),)
            user, password = self._log_on(broker)
            found += [
                (Link(broker, path), Endpoint(host, port, user, password))
                for path, (host, port) in enumerate(ends)
            ]
        return found

    def _log_on(self, broker: str) -> tuple[str, str | None]:
        """A witness may want other credentials; everybody else knows us by the group's secret."""
        for witness in self._settings.witnesses:
            given = witness.credentials
            if witness.name == broker and given.user is not None:
                return given.user, given.password
        return self._caller.name, broker_token(
            self._caller.secret, self._settings.group, self._caller.name, broker
        )


def _ignore(*_: object) -> None:
    """For what needs no answer."""


def _own_host(settings: Settings) -> str:
    """Where our own broker is reached: by loopback, unless it listens on one address only."""
    host = settings.broker.host
    if host in {"0.0.0.0", ""}:  # noqa: S104  the settings' word for every address
        return "127.0.0.1"
    return "::1" if host == "::" else host
