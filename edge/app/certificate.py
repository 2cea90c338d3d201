"""The certificate of this node's broker: of use at the start, and an alert before it runs out.

One that has run out ends nothing: nodes do not use it, and clients judge it themselves.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from broker.errors import EngineError
from broker.server.certificates import make_context, running_out
from edge.access import tls_files
from edge.errors import SettingsError
from edge.settings import Settings

# Seconds between two looks, so that the alert ends soon after the files were replaced.
INTERVAL = 600.0


def require_certificate(settings: Settings) -> None:
    """A file of TLS that is of no use is a mistake in the settings, not a broker that failed."""
    tls = settings.broker.tls_in_use
    if tls is None:
        return
    try:
        make_context(tls_files(tls))
    except EngineError as error:
        raise SettingsError(str(error)) from None


async def watch_certificate(settings: Settings, alert: Callable[[str, str | None], None]) -> None:
    """Look at its date now and then."""
    tls = settings.broker.tls_in_use
    while tls is not None:
        with suppress(EngineError):  # the broker goes on with what it has read
            alert("certificate", running_out(tls_files(tls), time.time()))
        await asyncio.sleep(INTERVAL)
