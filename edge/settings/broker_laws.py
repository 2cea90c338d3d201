"""What must hold between `[broker]` and the rest of a group file. One function per law."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.settings import ClientCertificates
from edge.settings.refusals import Refusal

if TYPE_CHECKING:
    from edge.settings import Settings


def _ports_are_unique(settings: "Settings") -> Refusal | None:
    """Every node opens the same ones, beside the port in its address."""
    taken = {port for node in settings.node for port in settings.listen_ports(node.name)}
    for transport, port in settings.broker.more_ports:
        if port in taken:
            key = ("broker", f"{transport}_port")
            return Refusal(key, port, "is a port of the brokers already; choose another one")
        taken.add(port)
    return None


def _tls_has_its_files(settings: "Settings") -> Refusal | None:
    if settings.broker.tls:
        return None
    for transport, port in settings.broker.more_ports:
        if transport.has_tls:
            return Refusal(
                ("broker", f"{transport}_port"),
                port,
                "needs a certificate and its key; add [broker.tls] with certificate and key",
            )
    return None


def _certificates_of_clients_have_an_authority(settings: "Settings") -> Refusal | None:
    tls = settings.broker.tls
    if tls is None or tls.ca or tls.client_certificates is ClientCertificates.OFF:
        return None
    return Refusal(
        ("broker", "tls", "client_certificates"),
        tls.client_certificates.value,
        'needs to know who signs them; add ca = "FILE", or write "off"',
    )


BROKER_LAWS: tuple[Callable[["Settings"], Refusal | None], ...] = (
    _ports_are_unique,
    _tls_has_its_files,
    _certificates_of_clients_have_an_authority,
)
