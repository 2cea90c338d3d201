"""The broker's certificate and key as a context for TLS, checked; read again when they change.

What is wrong with a file is one line that names its key. A running broker keeps what it has.
A certificate that has run out is said loudly and used: it is the clients who judge that, and some
of them do not look, while a broker that stays away serves nobody.
"""

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from broker.errors import EngineError
from broker.settings import ClientCertificates, TlsFiles

_MODES: Final = {
    ClientCertificates.OFF: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}
# OpenSSL's X509_V_FLAG_NO_CHECK_TIME: a Pi without a clock starts in the past, too.
NO_CHECK_TIME: Final = 0x200000
DAY: Final = 86400.0
# Seconds before a certificate runs out from which on it is said.
SOON: Final = 14 * DAY
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

    def remind(self) -> None:
        """To be called once a day."""
        with suppress(EngineError):  # the files are being replaced; `look` judges them
            sentence = running_out(self._files, time.time())
            if sentence:
                self._report(sentence)

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
            self.remind()


def running_out(files: TlsFiles, wall: float) -> str | None:
    """What to say about a certificate that has run out or soon will. Raises EngineError."""
    ends_at = _ends_at(make_context(files), files)
    if wall < ends_at - SOON:
        return None
    day = time.strftime("%Y-%m-%d", time.gmtime(ends_at))
    name = f'broker.tls.certificate = "{files.certificate}"'
    if wall < ends_at:
        return f"{name}: runs out on {day}; renew it"
    return f"{name}: ran out on {day}, clients that look at the date refuse it; renew it"


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """EngineError with one line if a file is of no use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # With TLS 1.3 nobody resumes: each connection shows its certificate, and nothing is kept of
    # those that were. With TLS 1.2 nothing here could prevent it.
    context.num_tickets = 0
    _load_pair(context, files)
    _ends_at(context, files)
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


def _ends_at(context: ssl.SSLContext, files: TlsFiles) -> float:
    """Until when the certificate is valid, if clients would take it for anything else."""
    try:
        certificate = _shake_hands_with_ourselves(context, files)
    except ssl.SSLCertVerificationError as error:
        _object(_CERTIFICATE, files.certificate, f"is of no use: {error.verify_message}")
    except ssl.SSLError as error:
        _object(_CERTIFICATE, files.certificate, f"is of no use: {_words(error)}")
    return ssl.cert_time_to_seconds(str(certificate["notAfter"]))


def _shake_hands_with_ourselves(server: ssl.SSLContext, files: TlsFiles) -> dict[str, Any]:
    """As a client that trusts just this certificate: shows whether clients would take it, and what
    is in it, without a library that reads certificates."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
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
    return ends[0].getpeercert() or {}


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
