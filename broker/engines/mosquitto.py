"""The mosquitto engine: Debian's broker as a child process, configured from our settings.

Seeds stand before the first client can connect: a first mosquitto that listens on a private socket
only takes them, writes its store and ends; the second one, which clients meet, starts from it.
"""

import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from broker.client import Client, Login
from broker.engines.child import Child, bound_to_parent
from broker.engines.mosquitto_config import (
    AUTHORITY_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    access_list,
    public_configuration,
    require_translatable,
    seeding_configuration,
)
from broker.errors import EngineError
from broker.server.certificates import make_context
from broker.server.ports import require_free_ports
from broker.settings import BrokerSettings, Persistence, TlsFiles

ACCOUNT = "mosquitto"  # made by the Debian package; mosquitto must not run as root
PLUGIN = "mosquitto_dynamic_security.so"
PLUGIN_PLACES = ("/usr/lib", "/usr/local/lib", "/usr/lib64")
MORE_PATH = "/usr/sbin:/usr/local/sbin"  # a normal user's PATH does not hold them on Debian
RUNNING = " running"  # the last line of a start: "mosquitto version 2.0.11 running"


class MosquittoEngine:
    """One mosquitto process. Its port must be 1024 or more when the node runs as root."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._access = access_list(settings)
        self._child = Child("mosquitto")

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> None:
        """Return when clients can connect, with every seed in place."""
        binary, plugin = find_binary(), find_plugin()
        require_translatable(self._settings)
        require_free_ports(self._settings.listeners)
        is_kept = self._settings.persistence is not Persistence.OFF
        if is_kept:
            _prepare(Path(self._settings.directory), _account())
        with tempfile.TemporaryDirectory(prefix="edge-mosquitto-") as name:
            directory = Path(name)
            if self._settings.seed or is_kept:
                await self._lay_down_seeds(binary, directory)
            _write(directory / "access.json", self._access)
            if self._settings.tls:
                make_context(self._settings.tls)  # its words are clearer than mosquitto's
                _copy_tls_files(self._settings.tls, directory)
            public = public_configuration(self._settings, directory, plugin)
            await _launch(self._child, binary, directory, public)
        # By now mosquitto has read everything; password hashes need not lie around any longer.

    async def stop(self) -> None:
        await self._child.stop()

    async def failed(self) -> str:
        return await self._child.failed()

    async def _lay_down_seeds(self, binary: str, directory: Path) -> None:
        child = Child("mosquitto (seeding)")
        try:
            private = seeding_configuration(self._settings, directory)
            await _launch(child, binary, directory, private)
            await _lay_down(directory / "socket", self._settings)
        finally:
            await child.stop()


def find_binary() -> str:
    """The mosquitto program."""
    path = os.environ.get("PATH", os.defpath)
    binary = shutil.which("mosquitto", path=f"{path}:{MORE_PATH}")
    if binary is None:
        raise EngineError(
            "mosquitto is not installed; install it (Debian package mosquitto) "
            "or set broker.engine to embedded"
        )
    return binary


def find_plugin() -> Path:
    """The access plugin that comes with mosquitto 2."""
    for place in PLUGIN_PLACES:
        for candidate in (Path(place) / PLUGIN, *Path(place).glob(f"*/{PLUGIN}")):
            if candidate.exists():
                return candidate
    raise EngineError(
        f"mosquitto's access plugin {PLUGIN} is not installed; "
        "install mosquitto 2 (Debian package mosquitto)"
    )


async def _launch(child: Child, binary: str, directory: Path, configuration: str) -> None:
    account = _account()
    options: list[str] = []
    if account is not None:
        # mosquitto would change the user by itself, but that clears the parent-death signal.
        options = ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
    elif os.geteuid() == 0:
        configuration += "user root\n"
    file = directory / "mosquitto.conf"
    _write(file, configuration)
    if account is not None:
        _hand_over(directory, account)
    command = bound_to_parent([binary, "-c", str(file)], *options)
    await child.start_foreign(command, ready_text=RUNNING)


def _account() -> pwd.struct_passwd | None:
    """Whom mosquitto runs as, when we are root and can choose."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None


def _hand_over(directory: Path, account: pwd.struct_passwd) -> None:
    for path in (directory, *directory.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _copy_tls_files(files: TlsFiles, directory: Path) -> None:
    for path, name in (
        (files.certificate, CERTIFICATE_FILE),
        (files.key, KEY_FILE),
        (files.authority, AUTHORITY_FILE),
    ):
        if path:
            _write(directory / name, Path(path).read_text(encoding="utf-8"))


def _prepare(directory: Path, account: pwd.struct_passwd | None) -> None:
    """The directory of its store, which is its user's alone."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
    except OSError as error:
        raise EngineError(
            f"{directory}: {error.strerror}; persistence needs a directory that can be written to"
        ) from None
    if account is None:
        return
    for parent in directory.parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise EngineError(
                f"{parent}: the user {ACCOUNT} may not enter, and its store would be below; "
                f"chmod o+x {parent}, or set broker.engine to embedded"
            )
    _hand_over(directory, account)


async def _lay_down(path: Path, settings: BrokerSettings) -> None:
    """Clear what is not to be kept, then publish the seeds."""
    client = await Client.connect_unix(path, Login("seed"))
    try:
        for topic_filter in settings.not_kept:
            await client.subscribe(topic_filter, 0)
        await client.ping()
        while not client.messages.empty():
            message = client.messages.get_nowait()
            if message.retain:  # and not what we have just cleared
                await client.publish(message.topic, b"", retain=True)
        for topic, payload in settings.seed:
            await client.publish(topic, payload.encode(), retain=True)
    finally:
        await client.disconnect()
