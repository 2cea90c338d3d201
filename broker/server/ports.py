"""Is a listener's port free? Asked before a foreign broker starts, because its own answer is late
or unclear: mosquitto does not name the port, amqtt keeps half of its listeners open.
"""

import asyncio
import errno
import socket
from collections.abc import Iterable, Sequence

from broker.errors import EngineError
from broker.settings import Listener


def require_free_ports(listeners: Iterable[Listener]) -> None:
    """Raise EngineError with one line for the first listener that cannot be opened."""
    for each in listeners:
        _require_free_port(each)


async def wait_for_free_ports(listeners: Sequence[Listener], patience: float) -> None:
    """The same, but an earlier life's broker gets `patience` seconds to end."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            require_free_ports(listeners)
        except EngineError:
            if loop.time() >= deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return


def _require_free_port(listener: Listener) -> None:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As brokers do: connections that linger from an earlier life do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.host, listener.port))
        except OSError as error:
            raise EngineError(describe(error, listener)) from None


def describe(error: OSError, listener: Listener) -> str:
    """The one line for a listener that cannot be opened, the same for every engine."""
    where = f"port {listener.port} on {listener.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is already in use by another program; stop it or choose another port"
    return f"{where} cannot be opened: {error.strerror}; check its host and port"
