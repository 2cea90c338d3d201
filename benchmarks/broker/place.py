"""What brokers and their load find on the disk: certificates, and a folder for each store."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from broker.settings import TlsFiles
from tests.mqtt.certificates import Authority


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that is gone afterwards."""

    directory: Path
    tls: TlsFiles

    @contextmanager
    def store(self) -> Iterator[Path]:
        """A new folder for one broker."""
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            _let_through(Path(name))
            yield Path(name) / "store"

    @property
    def file_system(self) -> str:
        """What a sync costs depends on it; on tmpfs, nothing."""
        mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
        around = (self.directory, *self.directory.parents)
        return next((mounts[each] for each in around if each in mounts), "an unknown file system")


@contextmanager
def make_place(parent: Path) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(dir=parent, prefix="broker-benchmark-") as name:
        directory = Path(name).resolve()
        _let_through(directory)
        yield Place(directory, Authority(directory).files())


def _let_through(directory: Path) -> None:
    """mosquitto has a user of its own when root starts it."""
    directory.chmod(0o711)
