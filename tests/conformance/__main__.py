"""Prints the table from statement to test: `python -m tests.conformance [3.1.1|5]`."""

import sys

from tests.conformance import statements_5, statements_311
from tests.conformance.table import table

VERSIONS = {"3.1.1": statements_311, "5": statements_5}

for version in sys.argv[1:] or VERSIONS:
    shown, module = table(version), VERSIONS[version]
    for number, words in module.STATEMENTS.items():
        where = ", ".join(shown.get(number, ())) or f"no test: {module.WITHOUT_TEST[number]}"
        sys.stdout.write(f"{version} [MQTT-{number}] {words}: {where}\n")
