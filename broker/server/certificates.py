"""The broker's certificate and key as a context for TLS, checked; read again when they change.

What is wrong with a file is one line that names its key. A running broker keeps what it has.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from broker.errors import EngineError
from broker.settings import ClientCertificates, TlsFiles

_MODES: Final = {
    ClientCertificates.OFF: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}
# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID: a Pi without a clock starts in the past.
NOT_YET_VALID: Final = 9
# How often each side is asked to go on; three would do.
ROUNDS: Final = 5
_KEY, _CERTIFICATE, _AUTHORITY = "key", "certificate", "ca"

Stamp = tuple[tuple[int, int, int] | None, ...]


class Certificates:
    """`context` is for new connections; those that there are keep theirs."""

    def __init__(self, files: TlsFiles, report: Callable[[str], None]) -> None:
        self._files = files
        self._report = report
        self._used = self._seen = _stamp(files)
        self.context = make_context(files)

    def look(self) -> None:
        """To be called now and then: read the files again if they changed.

        Only when they stay as they are from one look to the next: certificate and key cannot be
        replaced in one step."""
        seen, self._seen = self._seen, _stamp(self._files)
        if self._seen == seen and seen != self._used:
            self.reload()

    def reload(self) -> None:
        """Now. Files that are of no use change nothing."""
        self._used = self._seen = _stamp(self._files)
        try:
            self.context = make_context(self._files)
        except EngineError as error:
            self._report(f"the certificate stays as it was: {error}")
        else:
            self._report(f"the certificate was read again: {self._files.certificate}")


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """EngineError with one line if a file is of no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # With TLS 1.3 nobody resumes: each connection shows its certificate, and nothing is kept of
    # those that were. With TLS 1.2 nothing here could prevent it.
    context.num_tickets = 0
    _load_pair(context, files)
    _check_validity(context, files)
    if files.client_certificates is not ClientCertificates.OFF:
        _load_authority(context, files)
        context.verify_mode = _MODES[files.client_certificates]
    return context


def _load_pair(context: ssl.SSLContext, files: TlsFiles) -> None:
    _require_pem(_CERTIFICATE, files.certificate, "CERTIFICATE")
    _require_pem(_KEY, files.key, "PRIVATE KEY")
    try:
        context.load_cert_chain(files.certificate, files.key, password=_refuse_password)
    except _EncryptedKeyError:
        _object(_KEY, files.key, "is encrypted; take its password away: openssl pkey")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            _object(_KEY, files.key, f"does not belong to the certificate {files.certificate}")
        _require_certificates(_CERTIFICATE, files.certificate)
        _object(_KEY, files.key, f"cannot be used with the certificate ({_words(error)})")


def _load_authority(context: ssl.SSLContext, files: TlsFiles) -> None:
    _require_pem(_AUTHORITY, files.authority, "CERTIFICATE")
    _require_certificates(_AUTHORITY, files.authority)
    context.load_verify_locations(cafile=files.authority)


def _require_pem(key: str, path: str, word: str) -> None:
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        _object(key, path, f"cannot be read: {error.strerror}")
    if f"{word}-----".encode() not in text:
        _object(key, path, f"holds no {word.lower()} in PEM form")


def _require_certificates(key: str, path: str) -> None:
    """OpenSSL does not say which file it means, so each is tried alone."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        _object(key, path, "is damaged: OpenSSL cannot read a certificate in it")


def _check_validity(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        _shake_hands_with_ourselves(context, files)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code != NOT_YET_VALID:
            _object(_CERTIFICATE, files.certificate, f"is of no use: {error.verify_message}")
    except ssl.SSLError as error:
        _object(_CERTIFICATE, files.certificate, f"is of no use: {_words(error)}")


def _shake_hands_with_ourselves(server: ssl.SSLContext, files: TlsFiles) -> None:
    """As a client that trusts just this certificate: shows whether clients would take it, without
    a library that reads certificates."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cafile=files.certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(ROUNDS):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()


def _words(error: ssl.SSLError) -> str:
    return error.reason.lower().replace("_", " ") if error.reason else str(error)


class _EncryptedKeyError(Exception):
    pass


def _refuse_password() -> NoReturn:
    """OpenSSL would ask for it on the terminal."""
    raise _EncryptedKeyError


def _object(key: str, path: str, sentence: str) -> NoReturn:
    raise EngineError(f'broker.tls.{key} = "{path}": {sentence}')


def _stamp(files: TlsFiles) -> Stamp:
    """What changes when a file does; None for one that is not there."""
    paths = (files.certificate, files.key, files.authority)
    return tuple(_stamp_of(Path(each)) for each in paths if each)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
