"""A group under test: its file, its `edge run` processes on the LAN, and what outsiders see.

Everything is asked from outside: over MQTT, from other machines of the LAN and from inside each
node's namespace (an isolated node must be heard too).
"""

import math
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import TimeoutExpired

from tests.lan.checker import (
    Claim,
    Ended,
    Mark,
    Overlap,
    Resumed,
    RoundTrips,
    Started,
    claims_of,
    overlaps,
    parse,
)
from tests.lan.deadline import SCALE, wait_until
from tests.lan.groupfile import GROUP, PORT, ROUTER, WITNESS, GroupFile, Witness
from tests.lan.harness import Host, Lan
from tests.lan.mqtt import ANONYMOUS, Login
from tests.lan.observer import Delivered, Lens, Observer
from tests.lan.processes import Process

OUTSIDER = "outsider"
OUTSIDE = "@out"
SYNCHRONISED = {"hot", "standby"}


@dataclass(frozen=True, slots=True)
class Event:
    """A message on the `event` topic of one broker."""

    at: float
    via: str
    body: dict[str, object]


@dataclass(slots=True)
class Group:
    """Members of one LAN. `start` and the faults keep the marks that the checker needs."""

    lan: Lan
    observer: Observer
    folder: Path
    file: GroupFile
    processes: dict[str, Process] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    login: Login = ANONYMOUS
    topic_filters: tuple[str, ...] = ("edge/#",)
    # Policy "availability" allows two hot nodes in one named situation, and only there.
    two_hot_allowed: bool = False

    def __post_init__(self) -> None:
        switches = range(self.lan.switch_count)
        for name in (*self.file.members, ROUTER, OUTSIDER):
            self.lan.add_host(name, switches)
        self.file.locate({name: host.addresses for name, host in self.lan.hosts.items()})
        (self.folder / "secret").write_text(secrets.token_hex(32))
        (self.folder / "secret").chmod(0o600)
        for name in self.file.members:
            self._watch(name)

    # Life and death of members.

    def start(self, *names: str) -> None:
        for name in names:
            self.start_with(name, self.file)

    def start_with(self, name: str, file: GroupFile, secret: str | None = None) -> None:
        """Start one node with a file, or a secret, of its own."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        secret_file = self.folder / "secret"
        if secret is not None:
            secret_file = home / "secret"
            secret_file.write_text(secret)
            secret_file.chmod(0o600)
        if name == WITNESS:
            self._wait_vacant(name)
        self.marks.append(Started(time.monotonic(), name))
        self.processes[name] = self._launch(name, file.text(home, secret_file))

    def stop(self, name: str) -> int:
        """A clean stop; returns the exit code."""
        return self.processes.pop(name).terminate()

    def kill(self, name: str) -> float:
        """SIGKILL the agent alone, as a crash would; returns when."""
        process = self.processes.pop(name)
        at = time.monotonic()
        process.popen.kill()
        self.marks.append(Ended(time.monotonic(), name))
        process.popen.wait()
        return at

    def power_off(self, name: str) -> float:
        """Silence, then death of everything on that machine; returns when the silence began."""
        at = time.monotonic()
        self.lan.power_off(name)
        self.marks.append(Ended(time.monotonic(), name))
        self.processes.pop(name).popen.wait()
        return at

    def freeze(self, name: str, *, whole_machine: bool = True) -> None:
        """Everything of that node stands still, or the agent alone while its broker goes on."""
        process = self.processes[name]
        if whole_machine:
            process.freeze()
        else:
            os.kill(process.pid, signal.SIGSTOP)
        self.marks.append(Ended(time.monotonic(), name))

    def thaw(self, name: str) -> None:
        self.marks.append(Resumed(time.monotonic(), name))
        self.processes[name].thaw()

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.processes.values():
            process.kill()

    def all_running(self) -> bool:
        return all(process.is_running() for process in self.processes.values())

    def start_redundant(self, hot: str = "white") -> None:
        """The witness and one node first, which makes that node the hot one, then the others."""
        if self.file.witness is not Witness.NONE:
            self.start(WITNESS)
        self.start(hot)
        self.wait_hot(hot)
        standbys = [name for name in self.file.nodes if name != hot]
        self.start(*standbys)
        self.wait_redundant(hot, *standbys)

    def start_pair(self) -> tuple[str, str]:
        """Both nodes of a group of two brokers; returns who is hot and who stands by."""
        one, other = self.file.nodes
        self.start(one, other)
        pairs = ((one, other), (other, one))
        self.wait_for(
            lambda: any(self.is_redundant(hot, [standby]) for hot, standby in pairs),
            "one of the pair hot, the other standby",
            40,
        )
        return next(pair for pair in pairs if self.role(pair[0]) == "hot")

    # What the world sees.

    def hot_seen_by(self, via: str) -> str | None:
        """The plain word on the `hot` topic at that broker."""
        value = self.observer.value(via, self.topic("hot"))
        return value.decode() if value else None

    def own_state(self, name: str) -> dict[str, object]:
        """What a node says about itself at its own broker."""
        return parse(self.observer.value(name, self.topic(f"node/{name}/state")) or b"")

    def role(self, name: str) -> object:
        """A node's own word for its role, or None if it does not say one."""
        state = self.own_state(name)
        return state.get("role") if state.get("state") == "online" else None

    def view(self, via: str) -> dict[str, object]:
        """The `state` topic at that broker."""
        return parse(self.observer.value(via, self.topic("state")) or b"")

    def is_redundant(self, hot: str, others: Iterable[str]) -> bool:
        """The named node is hot with every vote, the others stand by, and all of them agree.

        Without every vote, the loss of the next broker would end the lease: not yet a group
        whose failures a test may judge.
        """
        standbys = list(others)
        votes = self.view(hot).get("votes")
        return (
            self.role(hot) == "hot"
            and isinstance(votes, dict)
            and votes.get("held") == votes.get("of")
            and all(self.role(name) == "standby" for name in standbys)
            and all(self.hot_seen_by(name) == hot for name in (hot, *standbys))
            and all(self.view(name).get("redundant") is True for name in (hot, *standbys))
        )

    def wait_redundant(self, hot: str, *standbys: str, timeout: float = 30.0) -> None:
        what = f"{hot} hot, {' and '.join(standbys)} standby"
        self.wait_for(lambda: self.is_redundant(hot, standbys), what, timeout)

    def wait_hot(self, name: str, *, seen_by: Iterable[str] = (), timeout: float = 20.0) -> None:
        """The named node says it is hot, and the agents of the given nodes see it too."""
        viewers = (name, *seen_by)
        self.wait_for(
            lambda: self.role(name) == "hot" and all(self.hot_seen_by(v) == name for v in viewers),
            f"{name} is hot, seen at the brokers of {viewers}",
            timeout,
        )

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float = 20.0) -> None:
        """Wait for a condition; a member that ended by itself ends the wait as well."""
        wait_until(lambda: condition() or not self.all_running(), what, timeout, self.explain)
        ended = {name: each.popen.poll() for name, each in self.processes.items()}
        assert self.all_running(), f"a member ended by itself: {ended}\n{self.explain()}"

    def events(self, kind: str, via: str | None = None) -> list[Event]:
        """The events of one kind, at one broker or at all."""
        topic = self.topic("event")
        found = [
            Event(entry.at, entry.via, parse(entry.payload))
            for entry in list(self.observer.entries)
            if isinstance(entry, Delivered) and entry.topic == topic
        ]
        return [e for e in found if e.body.get("event") == kind and via in {None, e.via}]

    def messages(self, via: str, topic: str) -> list[dict[str, object]]:
        """Every JSON object delivered on that topic at one broker, in order."""
        return [
            parse(entry.payload)
            for entry in list(self.observer.entries)
            if isinstance(entry, Delivered) and (entry.via, entry.topic) == (via, self.topic(topic))
        ]

    def alerts(self, via: str) -> dict[str, str]:
        prefix = self.topic("alert/")
        return {
            topic.removeprefix(prefix): payload.decode()
            for (broker, topic), payload in dict(self.observer.latest).items()
            if broker == via and topic.startswith(prefix) and payload
        }

    # The verdict.

    def claims(self, name: str) -> list[Claim]:
        return claims_of(name, GROUP, list(self.observer.entries), self.marks)

    def overlaps(self) -> list[Overlap]:
        claims = [claim for name in self.file.nodes for claim in self.claims(name)]
        return overlaps(claims, self.round_trips())

    def assert_undisturbed(self, hot: str) -> None:
        """The named node has been hot all the time since it became hot first, and nobody else."""
        for name in self.file.nodes:
            claims = self.claims(name)
            expected = 1 if name == hot else 0
            assert len(claims) == expected, f"{name}: {claims}\n{self.explain()}"
            assert all(claim.end == math.inf for claim in claims), f"{claims}\n{self.explain()}"

    def explain_overlaps(self) -> str:
        return f"two hot at one time: {self.overlaps()}\n{self.explain()}"

    def round_trips(self) -> dict[str, RoundTrips]:
        return {via: list(feed.round_trips) for via, feed in self.observer.feeds.items()}

    # A plain client on another machine.

    def publish(
        self,
        at: str,
        topic: str,
        payload: str,
        *options: str,
        login: Login = ANONYMOUS,
        source: str = OUTSIDER,
    ) -> int:
        """mosquitto_pub from a machine of the LAN; returns its exit code."""
        command = ["mosquitto_pub", "-q", "1", "-h", self.lan.hosts[at].address, "-p", str(PORT)]
        if login.name is not None:
            command += ["-u", login.name, "-P", login.password]
        tool = self.lan.hosts[source].open_process(
            *command, "-t", self.topic(topic), "-m", payload, *options
        )
        try:
            return tool.wait(15 * SCALE)
        except TimeoutExpired:
            tool.kill()
            return tool.wait()

    def topic(self, rest: str) -> str:
        return f"edge/{GROUP}/{rest}"

    def explain(self) -> str:
        """What everybody saw last, and the end of each log: for a failing assertion."""
        seen = [
            f"{name}: own state {self.own_state(name)}, sees hot = {self.hot_seen_by(name)}, "
            f"view {self.view(name)}"
            for name in self.file.nodes
        ]
        logs = [self._tail(name) for name in self.file.members]
        return "\n".join([*seen, *logs])

    def _tail(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-40:] if log.exists() else []
        return "\n".join([f"--- {log.name}", *lines])

    def _wait_vacant(self, name: str) -> None:
        """Nothing of an earlier life is left; nodes wait for that themselves."""
        inside = self.lan.hosts[name].namespace
        wait_until(lambda: not inside.pids(), f"{name}'s earlier processes are gone")

    def _watch(self, name: str) -> None:
        host, outside = self.lan.hosts[name], self.lan.hosts[OUTSIDER]
        inside = Lens(name, host.namespace, "127.0.0.1", PORT, self.login, self.topic_filters)
        self.observer.watch(inside)
        self.observer.watch(
            replace(inside, via=name + OUTSIDE, namespace=outside.namespace, address=host.address)
        )

    def _launch(self, name: str, text: str) -> Process:
        home, log = self.folder / name, self.folder / f"{name}.log"
        host = self.lan.hosts[name]
        if name == WITNESS and self.file.witness is Witness.MOSQUITTO:
            return start_mosquitto(host, home, log)
        path = home / "edge.toml"
        path.write_text(text)
        command = [sys.executable, "-m", "edge", "run", "--config", str(path), "--node", name]
        return host.start(command, log, child_environment())


def start_mosquitto(host: Host, home: Path, log: Path) -> Process:
    """A broker as a distribution ships it, open to everybody, keeping retained messages."""
    home.mkdir(exist_ok=True)
    configuration = home / "mosquitto.conf"
    configuration.write_text(
        f"listener {PORT}\nallow_anonymous true\nuser root\n"
        f"persistence true\npersistence_location {home}/\n"
    )
    return host.start(["mosquitto", "-c", str(configuration)], log, child_environment())


def child_environment() -> dict[str, str]:
    """Without our own EDGE_ variables: the product refuses those that it does not know."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGE_")}
    return kept | {"PYTHONUNBUFFERED": "1"}
