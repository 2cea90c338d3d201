"""What the shell's tests share: group files to try, and an environment without `EDGE_...`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

BASE = """\
group = "RPI"
policy = "witness"

[[node]]
name = "white"
priority = 3
addresses = ["192.168.2.84"]

[[node]]
name = "black"
priority = 2
addresses = ["192.168.2.106"]

[[witness]]
name = "router"
address = "192.168.2.1:1883"
"""

PAIR = """\
group = "pair"
policy = "availability"

[[node]]
name = "left"
addresses = ["192.168.2.84"]

[[node]]
name = "right"
addresses = ["192.168.2.106"]

[netcheck]
ping = ["192.168.2.1"]
"""

WriteFile = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("EDGE_") and not name.startswith("EDGE_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    def write(text: str) -> Path:
        path = tmp_path / "edge.toml"
        path.write_text(text)
        return path

    return write
