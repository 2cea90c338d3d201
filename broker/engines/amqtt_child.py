"""The amqtt broker as a child process: `python -m broker amqtt`.

It takes its settings as one JSON line on standard input, says `ready` or `error: ...` on standard
output, and ends when standard input does or on SIGTERM.
"""

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker
from amqtt.errors import BrokerError

from broker.errors import EngineError
from broker.server.certificates import make_context
from broker.server.ports import require_free_ports
from broker.settings import (
    BrokerSettings,
    ClientCertificates,
    Listener,
    TlsFiles,
    from_json,
    to_json,
)

# amqtt does not count the sessions of clients that are away; it can only forget them by age.
SESSION_EXPIRY = 24 * 3600


def main() -> int:
    """Run until told to stop; the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(message)s")
    settings = from_json(sys.stdin.readline())
    try:
        asyncio.run(_serve(settings))
    except EngineError as error:
        _say(f"error: {error}")
        return 1
    return 0


async def _serve(settings: BrokerSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    await _watch_lifeline(stopped)
    # amqtt leaves the listeners half open when one of them fails: ask before it starts.
    require_free_ports(settings.listeners)
    broker = Broker(_configuration(settings))
    try:
        await broker.start()
    except BrokerError as error:
        raise EngineError(str(error)) from None
    _say("ready")
    await stopped.wait()
    await broker.shutdown()


def _configuration(settings: BrokerSettings) -> dict[str, object]:
    # amqtt insists on a listener of the name `default`.
    names = ("default", *(f"listener-{index}" for index in range(1, len(settings.listeners))))
    return {
        "listeners": {
            name: _listener(listener, settings)
            for name, listener in zip(names, settings.listeners, strict=True)
        },
        "session_expiry_interval": SESSION_EXPIRY,
        # Listing plugins keeps amqtt from loading its own, which let everybody in.
        "plugins": {
            "broker.engines.amqtt_plugin.AccessPlugin": {"settings_json": to_json(settings)}
        },
    }


def _listener(listener: Listener, settings: BrokerSettings) -> dict[str, object]:
    if listener.transport.has_websocket:
        raise EngineError(
            "amqtt hangs for ever on an empty websocket frame; "
            "remove broker.websocket_port and websocket_tls_port, or set broker.engine to embedded"
        )
    limit = settings.limits.connections
    plain = {"type": "tcp", "bind": _bind(listener), "max_connections": limit}
    return {**plain, **_tls(settings.tls)} if listener.transport.has_tls else plain


def _tls(files: TlsFiles | None) -> dict[str, object]:
    assert files, "a listener with TLS needs BrokerSettings.tls"
    if files.client_certificates is not ClientCertificates.OFF:
        raise EngineError(
            "amqtt does not tell users by their certificates; "
            "set broker.tls.client_certificates to off or broker.engine to embedded"
        )
    make_context(files)  # its words are clearer than amqtt's
    return {"ssl": True, "certfile": files.certificate, "keyfile": files.key}


def _bind(listener: Listener) -> str:
    if ":" in listener.host:
        raise EngineError("amqtt cannot listen on an IPv6 address; set broker.host to an IPv4 one")
    return f"{listener.host}:{listener.port}"


async def _watch_lifeline(stopped: asyncio.Event) -> None:
    class Lifeline(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
            stopped.set()

    await asyncio.get_running_loop().connect_read_pipe(Lifeline, sys.stdin)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is how a child speaks to its parent
