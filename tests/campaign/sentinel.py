"""Measures the machine and nothing else: how late a process wakes that only wants to sleep.

python -m tests.campaign.sentinel FILE; ends with whoever started it.
"""

import os
import sys
import time
from pathlib import Path

NAP = 0.01
WORTH_NOTING = 0.01


def main() -> None:
    parent = os.getppid()
    with Path(sys.argv[1]).open("w", buffering=1) as notes:
        while os.getppid() == parent:
            wanted = time.monotonic() + NAP
            time.sleep(NAP)
            now = time.monotonic()
            if now - wanted > WORTH_NOTING:
                notes.write(f"{now:.6f} {now - wanted:.6f}\n")


if __name__ == "__main__":
    main()
