"""Our broker behind mosquitto's command line, for mosquitto's own test cases: `-p PORT`, `-c FILE`.

What the configuration asks for and this broker has not is written to the file that
EDGE_NOT_APPLICABLE names; the case does not apply then.
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from broker.settings import (
    Action,
    BrokerSettings,
    ClientCertificates,
    Limits,
    Listener,
    Persistence,
    Role,
    Rule,
    TlsFiles,
    Transport,
    User,
    to_json,
)

HOST: Final = "127.0.0.1"
EVERYTHING: Final = (
    Rule(Action.PUBLISH, "#", allow=True),
    Rule(Action.SUBSCRIBE, "#", allow=True),
    Rule(Action.SUBSCRIBE, "$SYS/#", allow=True),
)
ANONYMOUS: Final = ""
# In the clients' certificates of the cases. Here it is always the user, and needs no password.
CERTIFIED: Final = "test client"
NO_PASSWORD: Final = "token:none"
MOSQUITTOS: Final = Limits(receive_maximum=20, topic_aliases=10, topic_levels=201)
# Nothing that a client could see, or what this broker does anyway, by name and value.
WITHOUT_EFFECT: Final = {
    "log_dest", "log_timestamp", "log_type", "sys_interval", "user",
    "allow_zero_length_clientid true", "check_retain_source false", "per_listener_settings false",
    "persistence false", "persistence_location", "retain_available true",
    "use_identity_as_username false",
}  # fmt: skip


class NotApplicableError(Exception):
    """The configuration asks for what this broker has not."""


@dataclass
class Wanted:
    """What a configuration says, in our words."""

    ports: list[int] = field(default_factory=list)
    is_open: bool = False
    limits: Limits = MOSQUITTOS
    users: dict[str, str] = field(default_factory=dict)
    rules: dict[str, list[Rule]] | None = None
    is_per_listener: bool = False
    tls_port: int = 0
    files: dict[str, str] = field(default_factory=dict)
    needs_certificate: bool = False
    names_user: bool = False
    is_kept: bool = False
    store: str = ""

    def settings(self) -> BrokerSettings:
        if self.is_per_listener and len(self.ports) > 1:
            raise NotApplicableError("settings of each listener")
        if self.needs_certificate and (self.is_open or self.names_user):
            self.users[CERTIFIED] = NO_PASSWORD
        names = (ANONYMOUS, *self.users)
        if set(self.rules or ()) - set(names):
            raise NotApplicableError("users without a password_file")
        roles = tuple(Role(f"role {name}", self._rules(name)) for name in names)
        users = tuple(User(name, hashed, f"role {name}") for name, hashed in self.users.items())
        kinds = {self.tls_port: Transport.TLS}
        listeners = tuple(
            Listener(HOST, each, kinds.get(each, Transport.TCP)) for each in self.ports
        )
        anonymous = f"role {ANONYMOUS}" if self.is_open else None
        base = BrokerSettings(listeners, roles, users, anonymous, self.limits, tls=self._tls())
        if not self.is_kept:
            return base
        return replace(base, persistence=Persistence.ALL, directory=_fresh_store(self.store))

    def _tls(self) -> TlsFiles | None:
        """Mosquitto completes the chain of its certificate from `cafile`; here it is one file."""
        if not self.tls_port:
            return None
        authority = Path(self.files["cafile"]).resolve()
        chain = Path(f"chain-{self.tls_port}.pem").resolve()
        chain.write_text(Path(self.files["certfile"]).read_text() + authority.read_text())
        wanted = ClientCertificates.REQUIRED if self.needs_certificate else ClientCertificates.OFF
        return TlsFiles(
            str(chain), str(Path(self.files["keyfile"]).resolve()), str(authority), wanted
        )

    def _rules(self, name: str) -> tuple[Rule, ...]:
        if self.rules is None:
            return EVERYTHING
        return tuple(sorted(self.rules.get(name, ()), key=lambda rule: rule.allow))


def _fresh_store(name: str) -> str:
    """A case begins anew by removing mosquitto's one file, which stands for our folder here."""
    file, folder = Path(name), Path(f"{name}.edge")
    if not file.exists():
        shutil.rmtree(folder, ignore_errors=True)
        file.touch()
    return str(folder.resolve())


def _listener(wanted: Wanted, value: str) -> None:
    wanted.ports.append(int(value.split(maxsplit=1)[0]))


def _anonymous(wanted: Wanted, value: str) -> None:
    wanted.is_open = value == "true"


def _passwords(wanted: Wanted, value: str) -> None:
    for line in Path(value).read_text().splitlines():
        name, _, hashed = line.partition(":")
        if not hashed.startswith("$7$"):
            raise NotApplicableError("password_file with another hash than $7$")
        wanted.users[name] = hashed


def _access(wanted: Wanted, value: str) -> None:
    wanted.rules, name = {}, ANONYMOUS
    for line in filter(None, Path(value).read_text().splitlines()):
        kind, _, rest = line.partition(" ")
        if kind == "user":
            name = rest
        elif kind == "topic":
            wanted.rules.setdefault(name, []).extend(_rules_of(rest))
        elif not kind.startswith("#"):
            raise NotApplicableError(f"acl_file with {kind}")


def _rules_of(text: str) -> list[Rule]:
    word, _, topic = text.partition(" ")
    actions = {"read": (Action.SUBSCRIBE,), "write": (Action.PUBLISH,)}.get(word, tuple(Action))
    if word not in {"read", "write", "readwrite", "deny"}:
        topic = text
    return [Rule(each, topic, allow=word != "deny") for each in actions]


def _file(name: str) -> Callable[[Wanted, str], None]:
    """Of the listener that came last."""

    def set_file(wanted: Wanted, value: str) -> None:
        if wanted.tls_port not in {0, wanted.ports[-1]}:
            raise NotApplicableError("certificates of each listener")
        wanted.tls_port, wanted.files[name] = wanted.ports[-1], value

    return set_file


def _true(name: str) -> Callable[[Wanted, str], None]:
    def set_true(wanted: Wanted, value: str) -> None:
        setattr(wanted, name, value == "true")

    return set_true


def _store(wanted: Wanted, value: str) -> None:
    wanted.store = value


def _limit(*names: str) -> Callable[[Wanted, str], None]:
    def set_limits(wanted: Wanted, value: str) -> None:
        wanted.limits = replace(wanted.limits, **dict.fromkeys(names, int(value)))

    return set_limits


KNOWN: Final = {
    "acl_file": _access,
    "allow_anonymous": _anonymous,
    "cafile": _file("cafile"),
    "certfile": _file("certfile"),
    "keyfile": _file("keyfile"),
    "listener": _listener,
    "max_connections": _limit("connections"),
    "max_inflight_messages": _limit("inflight", "receive_maximum"),
    "max_keepalive": _limit("keep_alive"),
    "max_packet_size": _limit("packet_size"),
    "max_queued_bytes": _limit("queue_bytes"),
    "max_queued_messages": _limit("queue_messages"),
    "password_file": _passwords,
    "per_listener_settings": _true("is_per_listener"),
    "persistence": _true("is_kept"),
    "persistence_file": _store,
    "port": _listener,
    "require_certificate": _true("needs_certificate"),
    "use_identity_as_username": _true("names_user"),
}


def translate(text: str) -> Wanted:
    wanted = Wanted()
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if not name or name.startswith("#") or {name, line} & WITHOUT_EFFECT:
            continue
        if name not in KNOWN:
            raise NotApplicableError(line if value in {"true", "false"} else name)
        KNOWN[name](wanted, value.strip())
    return wanted


def main(arguments: list[str]) -> int:
    try:
        if "-c" in arguments:
            wanted = translate(Path(arguments[arguments.index("-c") + 1]).read_text())
        else:
            wanted = Wanted(is_open=True)
        if "-p" in arguments:
            wanted.ports.append(int(arguments[arguments.index("-p") + 1]))
        settings = wanted.settings()
    except NotApplicableError as error:
        Path(os.environ["EDGE_NOT_APPLICABLE"]).write_text(str(error))
        return 3
    become_broker(settings)
    return 0


def become_broker(settings: BrokerSettings) -> None:
    """Our child process reads its settings from standard input, and ends when that does."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)  # so that it does not
    os.write(writing, to_json(settings).encode() + b"\n")
    os.dup2(reading, 0)
    os.execv(sys.executable, [sys.executable, "-m", "broker", "embedded", "test"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
