"""The group file that a test writes, in the words of the public contract.

EDGE_TEST_ENGINE (embedded, mosquitto, amqtt) and EDGE_TEST_WITNESS (mosquitto, edge) make every
scenario run with another broker than the default.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

# A name of its own for each test process: a guard sweeps whatever carries the name of its group
# and node, and all LANs of this machine see the same processes.
GROUP = f"RPI{os.getpid()}"
PORT = 1883
WITNESS = "witness"
ROUTER = "router"
FIRST_PRIORITY = 9


class Witness(StrEnum):
    """What runs the third vote."""

    MOSQUITTO = "mosquitto"
    EDGE = "edge"
    NONE = "none"


DEFAULT_ENGINE = os.environ.get("EDGE_TEST_ENGINE", "embedded")
DEFAULT_WITNESS = Witness(os.environ.get("EDGE_TEST_WITNESS", "mosquitto"))


@dataclass(slots=True)
class GroupFile:
    """Everything that a scenario may want to be different."""

    nodes: tuple[str, ...] = ("white", "black")
    witness: Witness = DEFAULT_WITNESS
    policy: str | None = None
    profile: str = "normal"
    engine: str = DEFAULT_ENGINE
    anonymous: str = "read"
    more: str = ""
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def members(self) -> tuple[str, ...]:
        return self.nodes if self.witness is Witness.NONE else (*self.nodes, WITNESS)

    def locate(self, addresses: Mapping[str, tuple[str, ...]]) -> None:
        """Fill in where everybody is, once the LAN stands."""
        self.addresses.update(addresses)

    def text(self, state_dir: Path, secret_file: Path) -> str:
        """The file as TOML."""
        policy = f'policy = "{self.policy}"\n' if self.policy else ""
        head = f'group = "{GROUP}"\nprofile = "{self.profile}"\n{policy}state_dir = "{state_dir}"\n'
        tables = [self._node(rank, name) for rank, name in enumerate(self.nodes)]
        if self.witness is not Witness.NONE:
            address = self.addresses[WITNESS][0]
            tables.append(f'[[witness]]\nname = "{WITNESS}"\naddress = "{address}:{PORT}"\n')
        if self.policy == "availability":
            tables.append(f'[netcheck]\nping = ["{self.addresses[ROUTER][0]}"]\n')
        tables += [
            f'[broker]\nengine = "{self.engine}"\nport = {PORT}\n',
            f'[access]\nsecret_file = "{secret_file}"\nanonymous = "{self.anonymous}"\n',
        ]
        return "\n".join([head, *tables, self.more])

    def _node(self, rank: int, name: str) -> str:
        addresses = ", ".join(f'"{address}"' for address in self.addresses[name])
        return (
            f'[[node]]\nname = "{name}"\npriority = {FIRST_PRIORITY - rank}\n'
            f"addresses = [{addresses}]\n"
        )
