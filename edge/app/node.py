"""The composition root: settings become a running node. One TaskGroup; whatever dies ends it."""

import asyncio
import itertools
import logging
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from broker.engines.choice import create_engine
from broker.engines.engine import Engine, supervise
from broker.errors import EngineError
from broker.server.ports import wait_for_free_ports
from broker.settings import BrokerSettings
from broker.systemd import Notifier
from edge.access import broker_settings
from edge.adapters.history import History
from edge.adapters.links import MqttLink
from edge.adapters.netcheck import NetworkCheck
from edge.adapters.recordings import make_recorder
from edge.adapters.state_folder import lock_folder
from edge.adapters.term_file import Memory, TermFile
from edge.agent import Agent, Tools
from edge.app.certificate import require_certificate, watch_certificate
from edge.app.connections import Caller, Connections
from edge.app.console import run_console
from edge.app.duty import Pulse, make_duty
from edge.app.group import make_group
from edge.app.log import LogHandler
from edge.board import Board, Identity
from edge.core.events import NetworkChecked, Ordered, StopOrder
from edge.core.model import Kind, Link, Record, RecordId, Saved
from edge.core.state import State
from edge.core.step import start
from edge.duty.ports import GuardError
from edge.errors import OperatorError
from edge.recorder import Recorder
from edge.settings import Settings
from edge.settings.file import read_secret
from edge.wire import (
    Decoder,
    Topics,
    mac_key,
    record_payload,
    seal,
    secret_digest,
)

log = logging.getLogger("edge")

# How long a clean stop may take besides the duty's end before the process ends anyway, seconds.
STOP_TIMEOUT = 5.0
GOOD_BYE_TIMEOUT = 0.5
# How long a broker of this node's last life may still be ending, seconds.
PORT_PATIENCE = 2.0


def run(settings: Settings, node: str) -> int:
    """Run one node until SIGTERM, SIGINT or SIGHUP. OperatorError for what only people can mend."""
    logging.basicConfig(
        level=logging.INFO, handlers=[LogHandler()], format="%(levelname)s %(name)s: %(message)s"
    )
    # Whoever asks too early for a recording gets none, and the node lives.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for sentence in settings.not_yet():
        log.warning("%s", sentence)
    try:
        asyncio.run(_Node(settings, node).run())
    except BaseExceptionGroup as group:
        # Not `except*`: what is raised inside one is wrapped in a group again.
        raise _explained(group) from None
    return 0


def _explained(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The operator's one line, if one of the tasks ended with such a line; else what went wrong,
    all of it if it was more than one thing."""
    leaves = tuple(_leaves(group))
    for error in leaves:
        if isinstance(error, OperatorError):
            return error
        if isinstance(error, EngineError):
            return OperatorError(str(error))
        if isinstance(error, BrokenPipeError):
            return _named(error)
    return leaves[0] if len(leaves) == 1 else group


def _named(error: BrokenPipeError) -> RuntimeError:
    """Click takes this one for the end of our own standard output, and says nothing at all."""
    named = RuntimeError(f"{type(error).__name__}: {error}")
    named.__cause__ = error
    return named


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a node is made of, for the time that its loop runs."""

    agent: Agent
    board: Board
    recorder: Recorder
    links: dict[Link, MqttLink]
    request_links: dict[Link, MqttLink]
    health_link: MqttLink | None

    @property
    def all_links(self) -> tuple[MqttLink, ...]:
        health = () if self.health_link is None else (self.health_link,)
        return (*self.links.values(), *self.request_links.values(), *health)


class _Node:
    """Everything that belongs to one life of one node."""

    def __init__(self, settings: Settings, node: str) -> None:
        self._settings = settings
        self._name = node
        self._secret = read_secret(settings)
        require_certificate(settings)
        self._topics = Topics(settings.group)
        self._key = mac_key(self._secret, settings.group)
        self._path = settings.state_path(node)
        self._lock = lock_folder(self._path)
        self._file = TermFile(self._path)
        self._memory = self._file.open(secret_digest(self._secret))
        self._saved = self._memory.saved
        boot = f"{self._memory.boots:x}{secrets.token_hex(3)}"
        self._boot = boot
        self._numbers = itertools.count(1)
        self._pulse = Pulse()
        self._duty = make_duty(settings, node, boot, self._pulse.changed_at)
        self._notifier = Notifier()
        caller = Caller(node, self._secret, self._new_session)
        self._connections = Connections(settings, caller)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history")

    async def run(self) -> None:
        parts = self._make_parts()
        loop = asyncio.get_running_loop()
        self._stop_on_signals(parts, loop)
        broken: asyncio.Future[None] = loop.create_future()
        loop.set_exception_handler(partial(_break, broken))
        await self._open_duty()
        try:
            await self._run_tasks(parts, broken)
        finally:
            await self._duty.close()

    async def _open_duty(self) -> None:
        """The guard comes before everything else, and first removes what an earlier life left."""
        try:
            await self._duty.open()
        except GuardError as error:
            raise OperatorError(f"the duty cannot be guarded: {error}") from error

    async def _run_tasks(self, parts: _Parts, broken: asyncio.Future[None]) -> None:
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._duty.run(), name="duty"),
                group.create_task(self._tell_systemd(parts), name="systemd"),
                group.create_task(self._run_broker(parts, started), name="broker"),
                group.create_task(self._run_links(parts, started, group), name="links"),
                group.create_task(self._check_network(parts), name="netcheck"),
                group.create_task(
                    watch_certificate(self._settings, parts.agent.alert), name="certificate"
                ),
                group.create_task(
                    run_console(self._settings, parts.agent, parts.board), name="console"
                ),
            ]
            watcher = group.create_task(_raise_from(broken), name="watcher")
            await parts.agent.left
            await self._say_good_bye(parts)
            for task in (*tasks, watcher, *self._link_tasks):
                task.cancel()

    def _make_parts(self) -> _Parts:
        links: dict[Link, MqttLink] = {}
        request_links: dict[Link, MqttLink] = {}
        history = History(self._path, self._writer.submit)
        identity = Identity(
            self._name, self._boot, version("edge-redundancy"), has_duty=self._duty.is_real
        )
        foreign = frozenset(each.name for each in self._settings.witnesses) - {self._name}
        board = Board(
            identity, self._key, self._topics, links, foreign, history.read, self._duty.on_alert
        )
        members = frozenset(self._settings.members)
        state = self._first_state()
        recorder = make_recorder(state, self._settings.recording, self._path)
        tools = Tools(
            boot=self._boot,
            key=self._key,
            topics=self._topics,
            decoder=Decoder(self._key, self._settings.group, members),
            board=board,
            history=history.read,
            remember=history.add,
            save=self._save,
            members=frozenset(each.name for each in self._settings.nodes),
            recorder=recorder,
            duty=self._duty,
        )
        agent = Agent(state, tools, links, request_links)
        self._duty.attach(agent.tell, agent.alert)
        links.update(self._connections.lease_links(agent, board))
        request_links.update(self._connections.request_links(agent))
        health_link = self._connections.health_link(
            self._settings.duty.health_topics, self._pulse.received
        )
        self._link_tasks: list[asyncio.Task[None]] = []
        return _Parts(agent, board, recorder, links, request_links, health_link)

    def _first_state(self) -> State:
        group, config = make_group(self._settings), self._settings.config_hash()
        now = asyncio.get_running_loop().time()
        asks = any(each.may_switch for each in self._settings.duty.hook)
        return start(self._name, group, config, self._saved, now, 0.0, asks_before_switch=asks)

    def _new_session(self) -> str:
        return f"{self._boot}-{next(self._numbers)}"

    def _save(self, saved: Saved) -> None:
        self._file.write(Memory(saved, self._memory.boots, self._memory.secret_digest))
        self._saved = saved

    async def _run_broker(self, parts: _Parts, started: asyncio.Future[None]) -> None:
        reasons: set[str] = set()

        def on_started() -> None:
            parts.agent.alert("broker", None)
            reasons.clear()
            if not started.done():
                started.set_result(None)

        def on_failed(reason: str) -> None:
            if reason not in reasons:
                reasons.add(reason)
                log.warning("the broker ended: %s", reason)
            parts.agent.alert("broker", f"The broker of {self._name} ended: {reason}")

        def make_engine() -> Engine:
            return create_engine(self._settings.broker.engine, self._broker_settings())

        # After a SIGKILL the old broker needs a moment to see that its parent is gone.
        await wait_for_free_ports(self._broker_settings().listeners, PORT_PATIENCE)
        await supervise(make_engine, on_started=on_started, on_failed=on_failed)

    def _broker_settings(self) -> BrokerSettings:
        """Made anew for each start of the broker: the seed carries the highest term known."""
        session = self._new_session()
        record = Record(RecordId(self._name, session, 1), None, Kind.RELEASE, self._saved.term)
        lease = self._topics.lease
        seed = seal(self._key, self._name, lease, record_payload(record))
        return broker_settings(self._settings, self._name, self._secret, ((lease, seed.decode()),))

    async def _run_links(
        self, parts: _Parts, started: asyncio.Future[None], group: asyncio.TaskGroup
    ) -> None:
        await started
        parts.agent.begin()
        self._notifier.ready(_status(parts.agent.state))
        parts.agent.alert("not_yet", "; ".join(self._settings.not_yet()) or None)
        for path in parts.all_links:
            name = f"link {path.link.broker}/{path.link.path} {path.options.purpose}"
            self._link_tasks.append(group.create_task(path.run(), name=name))

    async def _tell_systemd(self, parts: _Parts) -> None:
        """That the loop turns is what WatchdogSec= asks for; the rest is for `systemctl status`."""
        while self._notifier.interval is not None:
            await asyncio.sleep(self._notifier.interval)
            self._notifier.alive(_status(parts.agent.state))

    async def _check_network(self, parts: _Parts) -> None:
        netcheck = self._settings.netcheck
        check = NetworkCheck(netcheck.ping, netcheck.endpoints, netcheck.interval)
        await check.run(lambda answers: parts.agent.tell(NetworkChecked(answers)))

    def _stop_on_signals(self, parts: _Parts, loop: asyncio.AbstractEventLoop) -> None:
        """The first signal is an order to hand over and leave, the second one ends it at once."""

        def stop() -> None:
            self._notifier.stopping("handing over and leaving")
            if parts.agent.state.is_leaving:
                _finish(parts.agent)
                return
            parts.agent.tell(Ordered(StopOrder(), 0))
            limit = STOP_TIMEOUT + self._settings.duty.stop_limit
            loop.call_later(limit, _finish, parts.agent)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            loop.add_signal_handler(signal.SIGHUP, stop)  # the terminal has gone
        loop.add_signal_handler(signal.SIGUSR1, parts.recorder.save, "asked")

    async def _say_good_bye(self, parts: _Parts) -> None:
        """Our own broker ends next: wait until it has passed the good-bye on. And until the others
        have taken what came last, the release: Mosquitto may leave unread what it has of a
        connection that is closed."""
        parts.board.say_good_bye()
        taken: list[asyncio.Event] = []
        for path in parts.links.values():
            if path.is_subscribed:
                taken.append(asyncio.Event())
                path.ask_again(self._topics.lease, taken[-1].set)
        with suppress(TimeoutError):
            async with asyncio.timeout(GOOD_BYE_TIMEOUT):
                for each in taken:
                    await each.wait()
        for link in parts.all_links:
            link.close()


def _status(state: State) -> str:
    return f"{state.role}, term {state.term}: {state.reason}"


def _finish(agent: Agent) -> None:
    if not agent.left.done():
        agent.left.set_result(None)


async def _raise_from(broken: asyncio.Future[None]) -> None:
    await broken


def _break(
    broken: asyncio.Future[None], loop: asyncio.AbstractEventLoop, context: dict[str, object]
) -> None:
    """An exception in a callback is our mistake: end the process, the lease makes that safe."""
    error = context.get("exception")
    if isinstance(error, Exception) and not broken.done():
        broken.set_exception(error)
    else:
        loop.default_exception_handler(context)
