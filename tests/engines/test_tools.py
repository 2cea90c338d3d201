"""What the other tests rely on."""

import subprocess
import sys
from pathlib import Path

from tests.engines.tools import BLOCK_SIZE, free_port

PRINT_PORTS = """\
from tests.engines.tools import BLOCK_SIZE, free_port
print(*(free_port() for _ in range(BLOCK_SIZE // 2)), flush=True)
input()
"""


def test_ports_of_workers_at_the_same_time_differ() -> None:
    """Between asking for a port and binding it lies the start of a process, or a whole test."""
    command = [sys.executable, "-c", PRINT_PORTS]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        theirs = [int(port) for port in other.stdout.readline().split()]
        ours = [free_port() for _ in range(BLOCK_SIZE // 2)]
        other.communicate(b"\n")
    assert len({*ours, *theirs}) == BLOCK_SIZE
