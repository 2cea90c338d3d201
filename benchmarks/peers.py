"""edge and keepalived side by side: the same LAN, the same probe, the same faults, in turns.

Run as root: python -m benchmarks.peers [--runs 10] [--only NAME ...] [--faults kill ...]
[--results FILE] [--write-docs]. In each round every contender has its turn, so that the
machine's moods fall on all of them alike.
"""

import random
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contenders import NAMES, NODES, Contender, EdgeBy, holder, started
from benchmarks.peers_costs import idle_costs
from benchmarks.peers_report import Results, Run, Split, read, show, write, write_docs
from benchmarks.peers_stress import stress
from benchmarks.probe import Probe, longest_pause, longest_silence, takeover_at, time_with_two
from tests.lan.deadline import wait_until
from tests.lan.group import OUTSIDER
from tests.lan.namespaces import missing_requirement, sweep

FAULTS: dict[str, Callable[[Contender, str], float]] = {
    "kill": lambda contender, hot: contender.kill(hot),
    "SIGTERM": lambda contender, hot: contender.terminate(hot),
    "cable": lambda contender, hot: contender.cable(hot),
    "power": lambda contender, hot: contender.power(hot),
    "kill all": lambda contender, hot: contender.kill_all(hot),
}
USUAL_FAULTS = ("kill", "SIGTERM", "cable", "power")
# A fault may fall anywhere in the longest interval between two advertisements.
PHASE = 1.0
# How long the client asks on, to see whether two hold the role.
WATCHED = 1.0
SPLIT_LASTS = 6.0


def other(name: str) -> str:
    return next(each for each in NODES if each != name)


def one_run(name: str, contender: Contender, probe: Probe, fault: str) -> Run:
    hot = holder(probe)
    survivor = other(hot)
    time.sleep(random.uniform(0, PHASE))
    probe.forget()
    wait_until(lambda: probe.holders() == {hot}, f"{hot} answers")
    after = FAULTS[fault](contender, hot)

    def taken_at() -> float | None:
        return takeover_at(list(probe.answers), OUTSIDER, survivor, after)

    wait_until(taken_at, f"{name}: {survivor} answers after {fault} of {hot}")
    at = taken_at() or after
    time.sleep(WATCHED)
    answers, asked_at = list(probe.answers), dict(probe.asked_at)
    contender.repair(hot)
    contender.wait_ready(survivor, hot)
    silence = longest_silence(answers, OUTSIDER, after, at)
    two, noise = time_with_two(answers, asked_at), longest_pause(asked_at)
    return Run(name, fault, at - after, silence, two, noise)


def one_split(name: str, contender: Contender, probe: Probe) -> Split:
    """The two nodes do not hear each other, the client and the witness hear both."""
    holder(probe)
    probe.forget()
    with contender.lan.cut(*NODES):
        time.sleep(SPLIT_LASTS)
        answers, asked_at = list(probe.answers), dict(probe.asked_at)
    holder(probe)
    return Split(name, SPLIT_LASTS, time_with_two(answers, asked_at))


@contextmanager
def on_its_own(name: str, by: EdgeBy) -> Iterator[tuple[Contender, Probe]]:
    with tempfile.TemporaryDirectory() as folder, started(name, Path(folder), by) as pair:
        yield pair


def one_turn(name: str, wanted: Namespace, *, is_split: bool) -> tuple[list[Run], list[Split]]:
    """All faults once."""
    with on_its_own(name, wanted.edge_by) as (contender, probe):
        runs = [one_run(name, contender, probe, fault) for fault in wanted.faults]
        return runs, [one_split(name, contender, probe)] if is_split else []


@contextmanager
def noted(results: Results, name: str) -> Iterator[None]:
    """What did not come to its end is a result as well, and does not cost the others theirs."""
    try:
        yield
    except AssertionError as error:
        print(f"FAILED {name}: {error}", flush=True)
        results.failures.append(f"{name}: {str(error).splitlines()[0]}")


def measure(wanted: Namespace) -> Results:
    results = Results(wanted.edge_by, [], [], [], [], [])
    for number in range(wanted.runs):
        turn = number % len(wanted.only)
        for name in (*wanted.only[turn:], *wanted.only[:turn]):
            with noted(results, name):
                runs, splits = one_turn(name, wanted, is_split=number < wanted.splits)
                results.runs.extend(runs)
                results.splits.extend(splits)
                words = ", ".join(f"{run.fault} {run.takeover * 1000:.0f} ms" for run in runs)
                print(f"round {number + 1}/{wanted.runs}, {name}: {words}", flush=True)
    for name in wanted.only:
        print(f"{name} without a fault", flush=True)
        with noted(results, name), on_its_own(name, wanted.edge_by) as (one, probe):
            results.stresses.extend(stress(name, one, probe, wanted.stress_seconds))
            probe.stop()
            one.look_away()
            results.idle.extend(idle_costs(name, one, wanted.idle_seconds))
    return results


def arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--splits", type=int, default=2, help="rounds with a partition")
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--faults", nargs="+", default=list(USUAL_FAULTS), choices=list(FAULTS))
    parser.add_argument("--stress-seconds", type=float, default=10, help="of each load")
    parser.add_argument("--idle-seconds", type=float, default=15)
    parser.add_argument("--edge-by", type=EdgeBy, default=EdgeBy.ROLE, choices=list(EdgeBy))
    parser.add_argument("--results", type=Path, help="write (or with --show, read) them as JSON")
    parser.add_argument("--show", action="store_true", help="measure nothing, show --results")
    parser.add_argument("--write-docs", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def main() -> None:
    wanted = arguments()
    if wanted.show:
        results = read(wanted.results)
    else:
        if missing := missing_requirement("keepalived"):
            raise SystemExit(f"this benchmark cannot run here: {missing}")
        sweep()
        began_at = time.monotonic()
        results = measure(wanted)
        print(f"{time.monotonic() - began_at:.0f} s")
        if wanted.results:
            write(results, wanted.results)
    show(results)
    if wanted.write_docs:
        write_docs(results)
    raise SystemExit(bool(results.failures))


if __name__ == "__main__":
    main()
