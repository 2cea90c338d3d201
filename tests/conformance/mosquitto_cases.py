"""Runs mosquitto's own test cases against our engine and against mosquitto, side by side:

    python -m tests.conformance.mosquitto_cases CLONE [--only TEXT] [--verbose]

CLONE is a clone of https://github.com/eclipse/mosquitto, which is not part of this project, at a
tag near the version of the mosquitto that is installed. Which cases do not apply is decided by
their configuration: see `mosquitto_shim`.
"""

import argparse
import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.engines.mosquitto import find_binary
from broker.settings import EngineName
from tests.engines.tools import free_port

ROOT: Final = Path(__file__).parents[2]
ENGINES: Final = (EngineName.EMBEDDED, EngineName.MOSQUITTO)
TIMEOUT: Final = 90.0
SEQUENCES_TIMEOUT: Final = 600.0
# Clients of these cases pretend to be bridges, with a protocol version of mosquitto's own.
BRIDGES: Final = "06-bridge-"
# Entries of the cases' own list: how many ports a case takes, and its file.
ENTRY: Final = re.compile(r"^\s*\((\d+), '\./([\w.-]+\.py)'\)", re.MULTILINE)
SEQUENCE: Final = re.compile(r"\x1b\[(32|31)m(.*?)\x1b\[0m")
SEQUENCES: Final = ("msg_sequence_test.py", 1)
PATCH: Final = """
import plain_socket
plain_socket.install()
"""
OURS: Final = """#!/bin/sh
PYTHONPATH={root} exec {python} -m tests.conformance.mosquitto_shim "$@"
"""
# Mosquitto gives up root, and then cannot write where the cases are.
THEIRS: Final = """#!/bin/sh
if [ "$2" = -c ]; then
    {{ cat "$3"; echo; echo user root; }} >"$3.run"
    exec {binary} -v -c "$3.run"
fi
exec {binary} "$@"
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`words` is pass, fail, hangs, or what the case needs and our engine has not."""

    words: str
    output: str = ""


def prepare(clone: Path, folder: Path, engine: EngineName) -> Path:
    """A copy of the cases beside what they take for mosquitto."""
    shutil.copytree(clone / "test", folder / "test", symlinks=True)
    shutil.copy(Path(__file__).with_name("plain_socket.py"), folder / "test")
    # The certificates of the clone ran out; its own program makes new ones.
    subprocess.run(["sh", "gen.sh"], cwd=folder / "test" / "ssl", check=True, capture_output=True)
    with (folder / "test" / "mosq_test.py").open("a") as helper:
        helper.write(PATCH)
    (folder / "src").mkdir()
    program = folder / "src" / "mosquitto"
    text = OURS if engine is EngineName.EMBEDDED else THEIRS
    program.write_text(text.format(root=ROOT, python=sys.executable, binary=find_binary()))
    program.chmod(0o755)
    return folder / "test" / "broker"


def cases_of(clone: Path) -> list[tuple[str, int]]:
    found = ENTRY.findall((clone / "test" / "broker" / "test.py").read_text())
    return [*((file, int(ports)) for ports, file in found), SEQUENCES]


async def run_case(folder: Path, file: str, ports: int) -> Outcome:
    if file.startswith(BRIDGES):
        return Outcome("needs bridges")
    reason = folder / "not-applicable"
    reason.unlink(missing_ok=True)
    numbers = [str(free_port()) for _ in range(ports)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, file, *numbers,
        cwd=folder, stdout=PIPE, stderr=STDOUT, start_new_session=True,
        env={**os.environ, "EDGE_NOT_APPLICABLE": str(reason), "CASE_PORT": numbers[0]},
    )  # fmt: skip
    try:
        async with asyncio.timeout(SEQUENCES_TIMEOUT if file == SEQUENCES[0] else TIMEOUT):
            output, _ = await process.communicate()
    except TimeoutError:
        return Outcome("hangs")
    finally:
        with suppress(ProcessLookupError):  # with the brokers that it left behind
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if reason.exists():
        return Outcome(f"needs {reason.read_text()}")
    text = output.decode(errors="replace")
    return Outcome("fail" if process.returncode else "pass", text)


def sequences(outcome: Outcome) -> dict[str, str]:
    """What one program says about hundreds of short conversations."""
    found = SEQUENCE.findall(outcome.output)
    return {
        text.split(" failed: ")[0]: "pass" if colour == "32" else "fail" for colour, text in found
    }


async def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("clone", type=Path)
    arguments.add_argument("--only", default="", help="a part of the names of the cases")
    arguments.add_argument("--verbose", action="store_true", help="print what our failures print")
    parsed = arguments.parse_args()
    parsed.clone = parsed.clone.resolve()
    if not (parsed.clone / "test" / "broker" / "test.py").exists():
        arguments.error(f"{parsed.clone} is no clone of eclipse/mosquitto")
    totals: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folders = [prepare(parsed.clone, Path(name) / each.value, each) for each in ENGINES]
        for file, ports in cases_of(parsed.clone):
            if parsed.only not in file:
                continue
            outcomes = [await run_case(folders[0], file, ports)]
            if not outcomes[0].words.startswith("needs"):
                outcomes.append(await run_case(folders[1], file, ports))
            tell(file, outcomes, totals, is_verbose=parsed.verbose)
    for (ours, theirs), count in sorted(totals.items()):
        print(f"{ours} here, {theirs} with mosquitto: {count}")
    return int(any(ours in {"fail", "hangs"} for ours, _ in totals))


def tell(
    file: str, outcomes: list[Outcome], totals: Counter[tuple[str, str]], *, is_verbose: bool
) -> None:
    words = [each.words for each in outcomes]
    if file == SEQUENCES[0] and len(outcomes) == len(ENGINES):
        ours, theirs = map(sequences, outcomes)
        for name, outcome in ours.items():
            totals[outcome, theirs.get(name, "nothing")] += 1
            if (outcome, theirs.get(name)) != ("pass", "pass"):
                print(f"| {file} {name} | {outcome} | {theirs.get(name)} |")
    elif len(words) == 1:
        totals["not applicable", "not run"] += 1
        print(f"| {file} | not applicable: {words[0]} | |", flush=True)
    else:
        totals[words[0], words[1]] += 1
        print(f"| {file} | {words[0]} | {words[1]} |", flush=True)
    if is_verbose and words[0] in {"fail", "hangs"}:
        print(outcomes[0].output[-3000:])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
