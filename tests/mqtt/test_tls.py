"""TLS without sockets, and the files that it is made of."""

import os
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from broker.errors import EngineError
from broker.server.certificates import NO_CHECK_TIME, Certificates, make_context, running_out
from broker.server.tls import RECORD_SIZE, Tls, common_name
from broker.settings import ClientCertificates, TlsFiles
from tests.mqtt.certificates import Authority


class Client:
    """The other end, in memory."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.error: ssl.SSLError | None = None

    def open(self, server: Tls) -> None:
        """Until both have nothing more to say."""
        for _ in range(4):
            self._step(self.tls.do_handshake)
            server.receive(self.sent())
            self._incoming.write(server.wrap(b""))

    def _step(self, step: Callable[[], object]) -> None:
        try:
            step()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = self.error or error

    def sent(self) -> bytes:
        return self._outgoing.read()

    def read(self, data: bytes) -> bytes:
        """What is in the server's bytes."""
        self._incoming.write(data)
        pieces = []
        try:
            while piece := self.tls.read():
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)


def connected(server: Tls, context: ssl.SSLContext) -> Client:
    client = Client(context)
    client.open(server)
    return client


def test_bytes_go_both_ways(authority: Authority) -> None:
    server = Tls(make_context(authority.files()))
    client = connected(server, authority.client_context())
    assert server.is_open
    assert server.certified_name is None
    large = bytes(range(256)) * 1000
    client.tls.write(b"hello")
    data = client.sent()
    assert [server.receive(data[at : at + 1]) for at in range(len(data))][-1] == b"hello"
    assert client.read(server.wrap(large)) == large
    assert client.read(server.close(b"last")) == b"last"
    assert server.close(b"") == b""
    assert server.wrap(b"more") == b""


def test_what_was_large_once_is_not_kept(authority: Authority) -> None:
    """OpenSSL's buffers in memory never shrink, and Python cannot see them: the process can."""
    server_context, client_context = make_context(authority.files()), authority.client_context()
    large = bytes(1 << 20)
    process = psutil.Process()
    servers = [Tls(server_context) for _ in range(20)]
    for server in servers:
        connected(server, client_context)
    before = process.memory_info().rss
    assert all(len(server.wrap(large)) > len(large) for server in servers)
    assert process.memory_info().rss - before < len(large) * len(servers) / 4


def test_large_data_goes_both_ways(authority: Authority) -> None:
    server = Tls(make_context(authority.files()))
    client = connected(server, authority.client_context())
    large = bytes(range(256)) * 1000
    for at in range(0, len(large), RECORD_SIZE):
        client.tls.write(large[at : at + RECORD_SIZE])
    assert server.receive(client.sent()) == large
    assert client.read(server.wrap(large)) == large


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.client_context("person")
    context.minimum_version = context.maximum_version = version
    files = authority.files(clients=ClientCertificates.REQUIRED)
    server = Tls(make_context(files))
    connected(server, context)
    assert server.is_open
    assert server.certified_name == "person"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_an_old_version_is_refused(authority: Authority) -> None:
    context = authority.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = Tls(make_context(authority.files()))
    client = connected(server, context)
    assert not server.is_open
    assert server.end
    assert server.end.reason == "closed: TLS: unsupported protocol"
    assert client.error
    assert client.error.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x10\x0e\x00\x04MQTT\x04\x02", b"\0" * 99]
)
def test_what_is_no_tls_is_refused(authority: Authority, data: bytes) -> None:
    server = Tls(make_context(authority.files()))
    assert server.receive(data) == b""
    assert server.end
    assert server.end.is_fault
    assert server.receive(data) == b""
    server.close(b"")


def test_nothing_harms_nobody(authority: Authority) -> None:
    server = Tls(make_context(authority.files()))
    assert server.receive(b"") == server.wrap(b"") == server.close(b"") == b""
    assert server.end is None


def test_a_good_bye_and_a_damaged_record(authority: Authority) -> None:
    for last, is_fault in ((b"", False), (b"\x17\x03\x03\x00\x20" + bytes(32), True)):
        server = Tls(make_context(authority.files()))
        client = connected(server, authority.client_context())
        client.tls.write(b"before")
        if not last:
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.unwrap()
        assert server.receive(client.sent() + last) == b"before"
        assert server.end
        assert server.end.is_fault is is_fault
        assert server.receive(b"more") == b""


@pytest.mark.parametrize(
    ("mode", "user", "name"),
    [
        (ClientCertificates.OFF, "person", None),
        (ClientCertificates.OPTIONAL, None, None),
        (ClientCertificates.OPTIONAL, "person", "person"),
        (ClientCertificates.REQUIRED, "person", "person"),
    ],
)
def test_the_name_in_a_certificate(
    authority: Authority, mode: ClientCertificates, user: str | None, name: str | None
) -> None:
    server = Tls(make_context(authority.files(clients=mode)))
    connected(server, authority.client_context(user))
    assert server.end is None
    assert server.certified_name == name


def test_a_certificate_that_is_missing_or_of_a_stranger(
    authority: Authority, tmp_path: Path
) -> None:
    context = make_context(authority.files(clients=ClientCertificates.REQUIRED))
    missing = Tls(context)
    connected(missing, authority.client_context())
    assert missing.end
    assert missing.end.reason == "closed: TLS: peer did not return a certificate"
    stranger = authority.client_context()
    foreign = Authority(tmp_path).client_files("person")
    stranger.load_cert_chain(foreign.certificate, foreign.key)
    refused = Tls(context)
    connected(refused, stranger)
    assert refused.end
    assert refused.end.reason.startswith("closed: TLS: the client's certificate: ")


def test_a_certificate_has_exactly_one_common_name() -> None:
    one, other = (("commonName", "one"),), (("commonName", "other"),)
    assert common_name({"subject": ((("countryName", "SK"),), one)}) == "one"
    assert common_name({"subject": (one, other)}) == ""
    assert common_name({"subject": ((*one, *other),)}) == ""
    assert common_name({"subject": ()}) == ""


# Files


def damage(path: Path) -> None:
    """PEM by its looks only."""
    first, *_, last = path.read_text().splitlines()
    path.write_text(f"{first}\nAAAA\n{last}\n")


def encrypt(path: Path) -> None:
    command = ["openssl", "pkey", "-in", str(path), "-aes256", "-passout", "pass:x"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("certificate", Path.unlink, "cannot be read: No such file or directory"),
        ("certificate", lambda path: path.write_text("no"), "holds no certificate in PEM form"),
        ("certificate", damage, "is damaged: OpenSSL cannot read a certificate in it"),
        ("key", Path.unlink, "cannot be read: No such file or directory"),
        ("key", lambda path: path.write_text(""), "holds no private key in PEM form"),
        ("key", damage, "cannot be used with the certificate"),
        ("key", encrypt, "is encrypted; take its password away: openssl pkey"),
        ("ca", Path.unlink, "cannot be read: No such file or directory"),
        ("ca", damage, "is damaged: OpenSSL cannot read a certificate in it"),
    ],
)
def test_a_file_of_no_use_is_named(
    tmp_path: Path, file: str, change: Callable[[Path], object], sentence: str
) -> None:
    files = Authority(tmp_path).files(clients=ClientCertificates.REQUIRED)
    path = Path(files.authority if file == "ca" else getattr(files, file))
    change(path)
    with pytest.raises(EngineError) as caught:
        make_context(files)
    assert str(caught.value).startswith(f'broker.tls.{file} = "{path}": {sentence}')
    assert "\n" not in str(caught.value)


def test_a_key_of_another_certificate(authority: Authority) -> None:
    one, other = authority.files("one"), authority.files("other")
    with pytest.raises(EngineError) as caught:
        make_context(replace(one, key=other.key))
    assert str(caught.value) == (
        f'broker.tls.key = "{other.key}": does not belong to the certificate {one.certificate}'
    )


def client_without_a_clock(authority: Authority) -> ssl.SSLContext:
    context = authority.client_context()
    context.verify_flags |= NO_CHECK_TIME
    return context


def test_a_certificate_that_ran_out_is_used_and_said(authority: Authority) -> None:
    """It is the clients who judge it."""
    files = authority.expired_files()
    context = make_context(files)
    strict, mild = Tls(context), Tls(context)
    refused = connected(strict, authority.client_context()).error
    assert isinstance(refused, ssl.SSLCertVerificationError)
    assert refused.verify_message == "certificate has expired"
    assert not strict.is_open
    assert connected(mild, client_without_a_clock(authority)).error is None
    assert mild.is_open
    day = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")
    assert running_out(files, time.time()) == (
        f'broker.tls.certificate = "{files.certificate}": ran out on {day}, '
        "clients that look at the date refuse it; renew it"
    )


@pytest.mark.parametrize(("days", "words"), [(15, None), (13, "runs out"), (-1, "ran out")])
def test_a_certificate_is_said_two_weeks_before(
    authority: Authority, days: int, words: str | None
) -> None:
    sentence = running_out(authority.expired_files(-days), time.time())
    assert (sentence is None) == (words is None)
    assert words is None or words in str(sentence)


def test_a_certificate_for_something_else_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=x "
        "-days 1 -addext extendedKeyUsage=clientAuth -addext keyUsage=critical,digitalSignature "
        f"-keyout {key} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    with pytest.raises(EngineError, match="is of no use: unsuitable certificate purpose"):
        make_context(TlsFiles(str(certificate), str(key)))


def test_a_certificate_that_ran_out_is_said_again_with_new_files(tmp_path: Path) -> None:
    authority, log = Authority(tmp_path), list[str]()
    certificates = Certificates(authority.expired_files(), log.append)
    certificates.remind()
    certificates.remind()
    assert ["ran out on" in each for each in log] == [True, True]
    authority.expired_files(2)
    certificates.reload()
    assert ["ran out on" in each for each in log[2:]] == [False, True]
    Path(certificates._files.key).unlink()
    certificates.remind()
    assert len(log) == 4


def test_a_certificate_of_the_future_is_taken(authority: Authority) -> None:
    """A Pi without a clock lives in the past until the network is there."""
    files = authority.future_files()
    make_context(files)
    assert running_out(files, time.time()) is None


# Read again


def shown(context: ssl.SSLContext, authority: Authority) -> bytes | None:
    """The certificate that a new client sees."""
    return connected(Tls(context), authority.client_context()).tls.getpeercert(binary_form=True)


def test_new_files_are_for_new_connections(tmp_path: Path) -> None:
    authority, log = Authority(tmp_path), list[str]()
    files = authority.files()
    certificates = Certificates(files, log.append)
    server = Tls(certificates.context)
    client = connected(server, authority.client_context())
    before = shown(certificates.context, authority)
    authority.files()
    certificates.look()
    assert shown(certificates.context, authority) == before, "it may be half written"
    certificates.look()
    assert shown(certificates.context, authority) != before
    certificates.look()
    assert log == [f"the certificate was read again: {files.certificate}"]
    assert client.read(server.wrap(b"still")) == b"still"


def test_bad_new_files_change_nothing_and_are_told_once(tmp_path: Path) -> None:
    authority, log = Authority(tmp_path), list[str]()
    files = authority.files()
    certificates = Certificates(files, log.append)
    before = shown(certificates.context, authority)
    good = Path(files.key).read_bytes()
    Path(files.key).unlink()
    for _ in range(4):
        certificates.look()
    assert shown(certificates.context, authority) == before
    assert log == [
        "the certificate stays as it was: "
        f'broker.tls.key = "{files.key}": cannot be read: No such file or directory'
    ]
    Path(files.key).write_bytes(good)
    for _ in range(2):
        certificates.look()
    assert log[1:] == [f"the certificate was read again: {files.certificate}"]


def test_reload_on_request_does_not_wait(tmp_path: Path) -> None:
    authority, log = Authority(tmp_path), list[str]()
    files: TlsFiles = authority.files()
    certificates = Certificates(files, log.append)
    before = shown(certificates.context, authority)
    authority.files()
    os.utime(files.key, ns=(1, 1))
    certificates.reload()
    assert shown(certificates.context, authority) != before
    certificates.look()
    certificates.look()
    assert len(log) == 1
