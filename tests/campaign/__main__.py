"""The fault campaign as a command; see `scripts/campaign --help`."""

import argparse
import signal
import tempfile
from pathlib import Path
from typing import NoReturn

from tests.campaign.campaign import Wanted, on_stage
from tests.campaign.stage import faketime_library, sweep_disks
from tests.lan.namespaces import missing_requirement, sweep

DESCRIPTION = """Real nodes in network namespaces, a nemesis that draws faults from a seed, and a
check of every promise afterwards. Writes a page, a drawn timeline, the logs, and what each core
allowed when, into a folder. Exit code 0 if every promise was kept, 1 if not, 2 if it cannot run.
Needs root, and the Debian packages mosquitto, nftables, iproute2 and faketime."""


def arguments() -> Wanted:
    parser = argparse.ArgumentParser(prog="scripts/campaign", description=DESCRIPTION)
    parser.add_argument("--minutes", type=float, default=5, help="how long (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn (default %(default)s)")
    policies = ["witness", "majority", "availability", "safety"]
    parser.add_argument(
        "--policy",
        choices=policies,
        default="witness",
        help="witness: two nodes and a witness; majority: three nodes; the others: two nodes",
    )
    engines = ["embedded", "mosquitto", "amqtt"]
    parser.add_argument("--engine", choices=engines, default="embedded", help="the nodes' broker")
    parser.add_argument(
        "--witness",
        choices=["mosquitto", "edge"],
        default="mosquitto",
        help="what the witness of policy witness is",
    )
    parser.add_argument("--profile", choices=["normal", "fast", "safe"], default="normal")
    parser.add_argument(
        "--duty", action="store_true", help="a virtual address moves, and is watched from outside"
    )
    parser.add_argument("--out", type=Path, help="folder for the results (default: a new one)")
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp(prefix="edge-campaign-"))
    return Wanted(
        given.minutes,
        given.seed,
        given.policy,
        given.engine,
        given.witness,
        given.profile,
        out.absolute(),
        given.duty,
    )


def missing() -> str | None:
    return missing_requirement() or (
        None if faketime_library() else "not installed: faketime (Debian package faketime)"
    )


def main() -> NoReturn:
    wanted = arguments()
    if reason := missing():
        print(f"campaign: {reason}")
        raise SystemExit(2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sweep()
    sweep_disks()
    wanted.out.mkdir(parents=True, exist_ok=True)
    print(f"results: {wanted.out}", flush=True)
    try:
        code = run(wanted)
    except KeyboardInterrupt:  # before or after the play; everything has been removed on the way
        code = 130
    raise SystemExit(code)


def run(wanted: Wanted) -> int:
    """Play and judge. Ctrl-C ends the play; what was played is judged all the same."""
    with on_stage(wanted) as campaign:
        try:
            campaign.play()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        violations = campaign.conclude()
    print((wanted.out / "report.md").read_text())
    print(f"results: {wanted.out}")
    return 1 if violations else 0


if __name__ == "__main__":
    main()
