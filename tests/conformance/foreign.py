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

from broker.engines.choice import create_engine
from broker.settings import Action, BrokerSettings, EngineName, Limits, Role, Rule
from tests.engines.tools import free_port, open_settings

SUITES = ("client_test", "client_test5")
ENGINES = (EngineName.EMBEDDED, EngineName.MOSQUITTO)
# Some tests wait for many seconds, and some for ever if a broker does not do what they expect.
TEST_TIMEOUT = 60.0
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
unittest.main(module=suite, argv=sys.argv[1:2] + sys.argv[3:])
"""
# What the suites expect of the broker's access rules.
FORBIDDEN = "test/nosubscribe"
LONGEST_KEEP_ALIVE = 60
TEST = re.compile(r"^    def (test\w+)\(", re.MULTILINE)


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


def tests_of(clone: Path, suite: str) -> list[str]:
    """The names of a suite's tests, read from its text."""
    return TEST.findall((clone / "interoperability" / f"{suite}.py").read_text())


async def run_test(clone: Path, suite: str, test: str, name: EngineName) -> tuple[str, str]:
    """One test on a fresh broker: its outcome, and all that it printed."""
    port = free_port()
    engine = create_engine(name, settings(port))
    await engine.start()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DRIVER, suite, str(port), f"Test.{test}",
            cwd=clone / "interoperability", stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TEST_TIMEOUT):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return "hangs", ""
    finally:
        await engine.stop()
    text = output.decode(errors="replace")
    return "fail" if process.returncode else "pass", text


async def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("clone", type=Path)
    arguments.add_argument("--verbose", action="store_true", help="print what the suites print")
    parsed = arguments.parse_args()
    if not (parsed.clone / "interoperability" / f"{SUITES[0]}.py").exists():
        arguments.error(f"{parsed.clone} is no clone of eclipse/paho.mqtt.testing")
    has_failed = False
    for suite in SUITES:
        print(f"| {suite} | " + " | ".join(name.value for name in ENGINES) + " |")
        print("| --- " * (len(ENGINES) + 1) + "|")
        for test in tests_of(parsed.clone, suite):
            found = [await run_test(parsed.clone, suite, test, name) for name in ENGINES]
            has_failed |= found[0][0] != "pass"
            print(f"| {test} | " + " | ".join(outcome for outcome, _ in found) + " |", flush=True)
            if parsed.verbose:
                print("\n".join(text for outcome, text in found if outcome != "pass"))
        print(flush=True)
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
