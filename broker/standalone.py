"""The embedded broker on its own: `python -m broker --config FILE`."""

import argparse
import asyncio
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from broker.config_file import ConfigError, load_settings
from broker.engines.embedded_child import run
from broker.errors import EngineError
from broker.log import Log
from broker.settings import BrokerSettings
from broker.systemd import Notifier

HELP = """\
The embedded MQTT broker on its own, without a group around it. It speaks MQTT 5, 3.1.1 and 3.1,
logs to standard error and ends on SIGTERM. The file is explained in docs/broker.md, and there is a
sample in config/broker.toml. Exit codes: 1 it cannot run (a port in use), 2 a mistake in the file.
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m broker", description=HELP)
    parser.add_argument("--config", metavar="FILE", type=Path, required=True, help="its settings")
    try:
        settings = load_settings(parser.parse_args(arguments).config)
    except ConfigError as error:
        _say(str(error))
        return 2
    try:
        run(settings, f"edge {version('edge-redundancy')}", lambda stop: _attend(settings, stop))
    except EngineError as error:
        _say(str(error))
        return 1
    return 0


async def _attend(settings: BrokerSettings, stopped: asyncio.Event) -> None:
    """Tell whoever looks after the process how it is, until it is to end."""
    where = ", ".join(f"{each.host} port {each.port}" for each in settings.listeners)
    status = f"listening on {where}"
    _say(status)
    notifier = Notifier()
    notifier.ready(status)
    while not stopped.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(notifier.interval):
                await stopped.wait()
        notifier.alive(status)
    notifier.stopping("stopping")
    notifier.close()


def _say(line: str) -> None:
    Log().write(line)
