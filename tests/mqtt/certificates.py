"""Certificates for tests: an authority, the files of a broker, the contexts of its clients."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from broker.settings import ClientCertificates, TlsFiles

NAMES = ("localhost", "127.0.0.1")


class Authority:
    """Signs what a test needs and writes it into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.file = folder / f"authority-{id(self)}.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def files(
        self, name: str = "broker", clients: ClientCertificates = ClientCertificates.OFF
    ) -> TlsFiles:
        """A new certificate and key for the broker."""
        issued = self._authority.issue_cert(*NAMES, common_name=name)
        return self._write(issued, name, clients)

    def expired_files(self, days_ago: float = 1) -> TlsFiles:
        """Or with a negative number: those that soon will be."""
        yesterday = datetime.now(UTC) - timedelta(days=days_ago)
        issued = self._authority.issue_cert(
            *NAMES, not_before=yesterday - timedelta(days=1), not_after=yesterday
        )
        return self._write(issued, "expired", ClientCertificates.OFF)

    def future_files(self) -> TlsFiles:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        issued = self._authority.issue_cert(*NAMES, not_before=tomorrow)
        return self._write(issued, "future", ClientCertificates.OFF)

    def client_context(self, user: str | None = None) -> ssl.SSLContext:
        """For a client that trusts this authority; `user` has a certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        if user is not None:
            certificate = self.client_files(user)
            context.load_cert_chain(certificate.certificate, certificate.key)
        return context

    def client_files(self, user: str) -> TlsFiles:
        issued = self._authority.issue_cert(f"{user}.example.org", common_name=user)
        return self._write(issued, f"client-{user}", ClientCertificates.OFF)

    def _write(self, issued: trustme.LeafCert, name: str, clients: ClientCertificates) -> TlsFiles:
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return TlsFiles(str(certificate), str(key), str(self.file), clients)
