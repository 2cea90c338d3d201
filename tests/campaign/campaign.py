"""One run from beginning to end: the stage is set, episodes are played, the history judged."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.campaign import seen
from tests.campaign.checks import Finding, never_two_hot
from tests.campaign.client import Client
from tests.campaign.duty_watch import DutyWatch, watching
from tests.campaign.history import History, Rules
from tests.campaign.nemesis import Nemesis
from tests.campaign.plan import episodes
from tests.campaign.report import Title, page
from tests.campaign.stage import Stage, memory_disk
from tests.campaign.timeline import draw
from tests.campaign.verdict import figures, judge
from tests.lan.deadline import wait_until
from tests.lan.groupfile import GroupFile, Witness
from tests.lan.harness import Lan
from tests.lan.observer import Attached, Detached, Observer
from tests.lan.processes import Process

NODES = {"majority": ("white", "black", "grey")}
WITHOUT_WITNESS = {"majority", "availability", "safety"}
RECORDED_MAX = 3
WORK_SIZE = "1g"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked on the command line."""

    minutes: float
    seed: int
    policy: str
    engine: str
    witness: str
    profile: str
    out: Path
    duty: bool = False

    def group_file(self) -> GroupFile:
        alone = self.policy in WITHOUT_WITNESS
        return GroupFile(
            nodes=NODES.get(self.policy, ("white", "black")),
            witness=Witness.NONE if alone else Witness(self.witness),
            policy=None if self.policy == "majority" else self.policy,
            profile=self.profile,
            engine=self.engine,
            anonymous="operate",
        )


@dataclass(slots=True)
class Campaign:
    """The parts of a run; `play` may be interrupted, what was seen till then is judged."""

    wanted: Wanted
    stage: Stage
    client: Client
    nemesis: Nemesis
    rules: Rules
    watch: DutyWatch | None = None
    begun_at: float = field(default_factory=time.monotonic)
    played: int = 0
    recorded: int = 0

    def play(self) -> None:
        """Whole episodes, until the minutes are over."""
        nodes = self.stage.file.nodes
        has_witness = self.stage.file.witness is not Witness.NONE
        end = self.begun_at + self.wanted.minutes * 60
        for episode in episodes(self.wanted.seed, nodes, has_witness=has_witness):
            if time.monotonic() > end:
                return
            began_at = time.monotonic()
            calm = self.nemesis.play(episode)
            self.played += 1
            self._tell(episode.number, calm.ended_at)
            self._look_for_two_hot(began_at)

    def history(self) -> History:
        entries = list(self.stage.observer.entries)
        for ledger in self.stage.ledgers.values():
            ledger.read_on()
        return History(
            rules=self.rules,
            notes={name: ledger.notes for name, ledger in self.stage.ledgers.items()},
            suffered=list(self.nemesis.suffered),
            deaths=list(self.stage.deaths),
            calms=list(self.nemesis.calms),
            requests=list(self.client.requests),
            responses=seen.responses(entries),
            words=seen.words(entries),
            told=seen.told(entries),
            late=seen.late(self.stage.folder / "machine.txt"),
        )

    def conclude(self) -> list[Finding]:
        """Judge, and write the page and the drawing."""
        history, out = self.history(), self.wanted.out
        found = [*judge(history), *self._two_duties(history)]
        (out / "report.md").write_text(page(self._title(), history, figures(history), found))
        if self.watch is not None:
            with (out / "report.md").open("a") as report:
                lines = self.watch.lines(self.nemesis.suffered, self.begun_at)
                report.write("\n" + "\n".join(lines) + "\n")
        (out / "timeline.svg").write_text(draw(history, found, self._broker_spans()))
        (out / "history.jsonl").write_text("".join(told(history)))
        violations = [each for each in found if not each.excuse]
        if violations:
            self.keep_recordings()
        return violations

    def _two_duties(self, history: History) -> list[Finding]:
        """Policy availability may have two hot nodes; their duties come and go with them."""
        if self.watch is None or history.rules.policy == "availability":
            return []
        return [
            Finding("never two duties", each.began_at, f"{each.nodes} had the address")
            for each in self.watch.overlaps()
        ]

    def _title(self) -> Title:
        wanted = self.wanted
        return Title(
            seed=wanted.seed,
            commit=commit(),
            minutes=wanted.minutes,
            policy=wanted.policy,
            engine=wanted.engine,
            witness=wanted.witness if wanted.policy not in WITHOUT_WITNESS else "none",
            profile=wanted.profile,
            episodes=self.played,
            seconds=time.monotonic() - self.begun_at,
            begun_at=self.begun_at,
        )

    def keep_recordings(self) -> None:
        """Let each node write what its core was told lately (SIGUSR1), and keep it."""
        if importlib.util.find_spec("edge.recorder") is None:
            return
        for name in self.stage.file.nodes:
            if name in self.stage.processes and self.stage.processes[name].is_running():
                os.kill(self.stage.processes[name].pid, signal.SIGUSR1)
        time.sleep(1.0)
        for name in self.stage.file.nodes:
            for path in self.stage.disk(name).rglob("recording-*"):
                (self.wanted.out / f"{name}-{path.name}").write_bytes(path.read_bytes())

    def _look_for_two_hot(self, since: float) -> None:
        """At once, because the recordings reach only so far back."""
        found = [each for each in never_two_hot(self.history()) if each.at > since]
        if any(not each.excuse for each in found) and self.recorded < RECORDED_MAX:
            self.recorded += 1
            print("two nodes were hot at one time, see the report at the end", flush=True)
            self.keep_recordings()

    def _tell(self, number: int, ended_at: float) -> None:
        done = sum(each.ended_at <= ended_at for each in self.nemesis.suffered)
        passed = ended_at - self.begun_at
        print(f"{passed:6.1f} s: {number} episodes, {done} faults", flush=True)

    def _broker_spans(self) -> dict[str, list[tuple[float, float]]]:
        spans: dict[str, list[tuple[float, float]]] = {n: [] for n in self.stage.file.members}
        opened: dict[str, float] = {}
        for entry in list(self.stage.observer.entries):
            if isinstance(entry, Attached):
                opened[entry.via] = entry.at
            elif isinstance(entry, Detached) and entry.via in opened:
                spans.setdefault(entry.via, []).append((opened.pop(entry.via), entry.at))
        for via, at in opened.items():
            spans.setdefault(via, []).append((at, time.monotonic()))
        return {name: spans[name] for name in self.stage.file.members}


@contextmanager
def on_stage(wanted: Wanted) -> Iterator[Campaign]:
    """The group is up and redundant; afterwards nothing of it is left but `out`."""
    with ExitStack() as stack:
        lan = stack.enter_context(Lan())
        observer = stack.enter_context(Observer())
        folder = stack.enter_context(_work_folder(wanted.out))
        stage = Stage(lan, observer, folder, wanted.group_file(), topic_filters=seen.TOPICS)
        stack.callback(stage.close)
        stage.prepare()
        watch = stack.enter_context(_duty(stage)) if wanted.duty else None
        stack.enter_context(_sentinel(folder))
        _start(stage)
        client = Client(lan.hosts)
        stack.callback(client.close)
        rules = rules_of(wanted.policy, stage.file)
        yield Campaign(wanted, stage, client, Nemesis(stage, client), rules, watch)


@contextmanager
def _duty(stage: Stage) -> Iterator[DutyWatch]:
    """A virtual address for the hot node; who dies leaves its guard to end it."""
    hosts = stage.lan.hosts
    address = hosts[stage.file.nodes[0]].address.rpartition(".")[0] + ".200"
    stage.file.more = f'[[duty.address]]\naddress = "{address}/24"\ninterface = "eth0"\n'
    stage.leaves_guards = True
    with watching(address, {name: hosts[name].namespace for name in stage.file.nodes}) as watch:
        yield watch


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """In memory, so that no node waits for this machine's disk; its files are kept in `out`."""
    with memory_disk(out / "work", WORK_SIZE) as folder:
        try:
            yield folder
        finally:
            files = [each for each in folder.iterdir() if each.is_file() and each.name != "secret"]
            for path in files:
                shutil.copy(path, out)
    (out / "work").rmdir()


def rules_of(policy: str, file: GroupFile) -> Rules:
    """The constants of docs/protocol.md for the profile that is played."""
    own = {"fast": (0.25, 0.05, 0.05), "safe": (5.0, 0.1, 0.5)}
    lease, fence_delay, stagger = own.get(file.profile, (1.0, 0.1, 0.15))
    return Rules(
        policy=policy,
        nodes=file.nodes,
        brokers=file.members,
        lease=lease,
        claim_after=1.1 * lease + 0.02,
        fence_delay=fence_delay,
        stagger=stagger,
    )


def _start(stage: Stage) -> None:
    if stage.file.witness is Witness.NONE:
        stage.start(*stage.file.nodes)
        wait_until(stage.is_whole, "a redundant group", 40, stage.explain)
    else:
        stage.start_redundant()


@contextmanager
def _sentinel(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.campaign.sentinel", str(folder / "machine.txt")]
    process = Process.start(command, folder / "sentinel.log", None)
    try:
        yield
    finally:
        process.kill()


def told(history: History) -> Iterator[str]:
    """Everything but the ledgers, one JSON object a line, in order of time."""
    kinds = (history.suffered, history.deaths, history.calms, history.requests, history.responses)
    values = [each for kind in kinds for each in kind]
    for value in sorted(values, key=lambda each: float(next(iter(instants(each))))):
        yield json.dumps({"kind": type(value).__name__, **asdict(value)}) + "\n"


def instants(value: object) -> Iterator[float]:
    """The moments in one of the history's values, the first one first."""
    for name in ("struck_at", "began_at", "sent_at", "at"):
        if hasattr(value, name):
            yield getattr(value, name)


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
