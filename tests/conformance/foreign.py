"""Runs eclipse/paho.mqtt.testing's interoperability suites against two brokers, side by side:

    python -m tests.conformance.foreign CLONE

CLONE is a clone of https://github.com/eclipse/paho.mqtt.testing, which is not part of this
project. Prints one line per test: what our own engine says, and what mosquitto says.
"""

import argparse
import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from dataclasses import replace
from pathlib import Path

from broker.engines import create_engine
from broker.settings import Action, BrokerSettings, EngineName, Limits, Role, Rule
from tests.engines.tools import free_port, open_settings

SUITES = ("client_test", "client_test5")
ENGINES = (EngineName.EMBEDDED, EngineName.MOSQUITTO)
# The suites wait for many seconds here and there; a broker that hangs must not hang us.
SUITE_TIMEOUT = 400.0
# Run in the clone: the suites' own command lines cannot choose a port and be read by a program.
# They take their topics from variables of their modules.
DRIVER = """
import importlib, sys, unittest
suite = importlib.import_module(sys.argv[1])
suite.host, suite.port = "127.0.0.1", int(sys.argv[2])
suite.topic_prefix = "suite/"
names = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
wide = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")
prefix = suite.topic_prefix if sys.argv[1] == "client_test5" else ""
suite.topics = [prefix + each for each in names]
suite.wildtopics = [prefix + each for each in wide]
suite.nosubscribe_topics = ("test/nosubscribe",)
unittest.main(module=suite, argv=[sys.argv[1], "-v"])
"""
# What the suites expect of the broker's access rules.
FORBIDDEN = "test/nosubscribe"
LONGEST_KEEP_ALIVE = 60
OUTCOME = re.compile(r"^(ERROR|FAIL): (\w+) ", re.MULTILINE)
STARTED = re.compile(r"^(test\w+) \(", re.MULTILINE)

Outcomes = dict[str, str]


def settings(port: int) -> BrokerSettings:
    rules = (
        Rule(Action.SUBSCRIBE, FORBIDDEN, allow=False),
        Rule(Action.SUBSCRIBE, "#", allow=True),
        Rule(Action.SUBSCRIBE, "$SYS/#", allow=True),
        Rule(Action.PUBLISH, "#", allow=True),
    )
    return replace(
        open_settings(port),
        roles=(Role("everything", rules),),
        limits=Limits(keep_alive=LONGEST_KEEP_ALIVE),
    )


async def run_suite(clone: Path, suite: str, name: EngineName) -> tuple[Outcomes, str]:
    """Each test's outcome, and all that the suite printed."""
    port = free_port()
    engine = create_engine(name, settings(port))
    await engine.start()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DRIVER, suite, str(port),
            cwd=clone / "interoperability", stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(SUITE_TIMEOUT):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    finally:
        await engine.stop()
    text = output.decode(errors="replace")
    return outcomes(text), text


def outcomes(text: str) -> Outcomes:
    """Of what unittest prints: every test that was started, and those that went wrong."""
    found = dict.fromkeys(STARTED.findall(text), "pass")
    for outcome, test in OUTCOME.findall(text):
        found[test] = "fail" if outcome == "FAIL" else "error"
    return found


async def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("clone", type=Path)
    arguments.add_argument("--verbose", action="store_true", help="print what the suites print")
    parsed = arguments.parse_args()
    if not (parsed.clone / "interoperability" / f"{SUITES[0]}.py").exists():
        arguments.error(f"{parsed.clone} is no clone of eclipse/paho.mqtt.testing")
    has_failed = False
    for suite in SUITES:
        found = {}
        for name in ENGINES:
            found[name], text = await run_suite(parsed.clone, suite, name)
            if parsed.verbose:
                print(text)
        print(f"| {suite} | " + " | ".join(name.value for name in ENGINES) + " |")
        print("| --- " * (len(ENGINES) + 1) + "|")
        for test in sorted(set().union(*found.values())):
            line = [found[name].get(test, "not run") for name in ENGINES]
            has_failed |= line[0] != "pass"
            print(f"| {test} | " + " | ".join(line) + " |")
        print(flush=True)
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
