"""What `edge check` looks at on this machine alone: permissions, ports, files, the clock."""

import errno
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from broker.settings import EngineName
from edge.errors import SettingsError
from edge.settings import Settings
from edge.settings.file import read_secret
from edge.settings.values import Policy

PING_RANGE = "net.ipv4.ping_group_range"


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found and, unless it is fine, the cure."""

    level: Level
    sentence: str
    cure: str = ""


def machine_findings(settings: Settings, name: str) -> Iterable[Finding]:
    """Everything about this machine that can be seen without asking another one."""
    yield _secret(settings)
    yield _state_folder(settings.state_path(name))
    yield from _own_addresses(settings, name)
    if settings.broker.engine is EngineName.MOSQUITTO:
        yield _mosquitto()
    if settings.netcheck.ping:
        yield _ping_permission(settings)
    yield _clock()


def port_is_taken(host: str, port: int) -> str | None:
    """Why a broker could not listen there, or nothing if it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind((host, port))
    except OSError as error:
        return "it is in use" if error.errno == errno.EADDRINUSE else str(error.strerror)
    return None


def _secret(settings: Settings) -> Finding:
    path = settings.access.secret_file
    try:
        read_secret(settings)
    except SettingsError as error:
        sentence, _, cure = str(error).partition("; ")
        return Finding(Level.PROBLEM, sentence, cure)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Finding(
            Level.WARNING,
            f"the secret {path} can be read by other users, who could act as a node",
            f"chmod 600 {path}",
        )
    return Finding(Level.OK, f"the secret {path} is there and private")


def _state_folder(path: Path) -> Finding:
    existing = next(each for each in (path, *path.parents) if each.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Finding(Level.OK, f"the state folder {path} is usable")
    return Finding(
        Level.PROBLEM,
        f"the state folder {path} cannot be written by this user, and a node without its term "
        "on disk is not safe",
        f"mkdir -p {path} && chown {os.geteuid()}:{os.getegid()} {path}, or set state_dir",
    )


def _own_addresses(settings: Settings, name: str) -> Iterable[Finding]:
    for host, _ in settings.endpoints(name):
        try:
            family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, socket.SOCK_STREAM) as attempt:
                attempt.bind(address)
        except socket.gaierror as error:
            yield Finding(
                Level.PROBLEM,
                f"the address {host} of {name} has no meaning here ({error.strerror})",
                "write the numeric address, or make the name known in /etc/hosts",
            )
        except OSError:
            yield Finding(
                Level.WARNING,
                f"{host} is not an address of this machine now, so this may not be {name}",
                "choose with --node, or give this machine that address",
            )


def _mosquitto() -> Finding:
    # Debian keeps it in a folder that is not on every user's path.
    path = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path:
        return Finding(Level.OK, f"the broker mosquitto is installed ({path})")
    return Finding(
        Level.PROBLEM,
        'broker.engine is "mosquitto" and that is not installed',
        'sudo apt install mosquitto, or write engine = "embedded"',
    )


def _ping_permission(settings: Settings) -> Finding:
    kinds = (socket.SOCK_DGRAM, socket.SOCK_RAW)
    if any(_may_ping(kind) for kind in kinds):
        return Finding(Level.OK, "this user may ping")
    is_needed = settings.policy is Policy.AVAILABILITY and not settings.netcheck.tcp
    return Finding(
        Level.PROBLEM if is_needed else Level.WARNING,
        "this user may not ping, so the references in netcheck.ping never answer",
        f'echo "{PING_RANGE} = 0 2147483647" | sudo tee /etc/sysctl.d/50-ping.conf && '
        "sudo sysctl --system, or use netcheck.tcp",
    )


def _may_ping(kind: int) -> bool:
    try:
        socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
    except OSError:
        return False
    return True


def _clock() -> Finding:
    """Nothing is decided by wall clocks; they only have to make sense in the history."""
    if _clock_is_synchronised():
        return Finding(Level.OK, "the clock is synchronised")
    return Finding(
        Level.NOTE,
        "the clock does not seem to be synchronised; failover does not need it, the times in "
        "the history do",
        "sudo timedatectl set-ntp true",
    )


def _clock_is_synchronised() -> bool:
    program = shutil.which("timedatectl")
    if program is None:
        return Path("/run/systemd/timesync/synchronized").exists()
    asked = [program, "show", "--property=NTPSynchronized", "--value"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=5)
    return answer.stdout.strip() == "yes"
