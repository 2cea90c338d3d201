"""The settings of a group: one TOML file, the same on every node, overridden by `EDGE_...`.

Frozen and checked: a `Settings` that exists obeys every law of `edge.settings.laws`, and all
defaults are filled in. `edge.settings.file.load_settings` makes one and words the refusals.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from edge.settings.duty import Duty
from edge.settings.laws import check_laws
from edge.settings.values import (
    DEFAULT_MQTT_PORT,
    PROFILES,
    Access,
    Broker,
    Console,
    Database,
    Name,
    NetCheck,
    Node,
    Policy,
    Profile,
    Recording,
    Seconds,
    Timing,
    Watchdog,
    Witness,
    split_address,
)


class _Environment(EnvSettingsSource):
    """`EDGE_NODE` says which node this is, and `EDGE_DUTY` is how the guard knows its processes;
    neither must be read as the table of that name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name in {"node", "duty"}:
            return None, field_name, False
        return super().get_field_value(field, field_name)


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/edge")
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "edge"


def _brokers(data: dict[str, Any]) -> int:
    return len(data.get("node", ())) + len(data.get("witness", ()))


def _default_wait_for_all(data: dict[str, Any]) -> bool:
    return _brokers(data) == 2


class Settings(BaseSettings):
    """The whole file. Fields are named as its keys; `nodes` and `witnesses` read better in code."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="EDGE_", env_nested_delimiter="__"
    )

    group: Name
    node: tuple[Node, ...] = Field(min_length=1)
    witness: tuple[Witness, ...] = ()
    policy: Policy = Policy.MAJORITY
    profile: Profile = Profile.NORMAL
    timing: Timing
    preempt: bool = False
    preempt_delay: Seconds = 30.0
    trust_will: bool = True
    wait_for_all: bool = Field(default_factory=_default_wait_for_all)
    state_dir: Path = Field(default_factory=_default_state_dir)
    netcheck: NetCheck
    broker: Broker = Broker()
    access: Access = Access()
    duty: Duty
    watchdog: Watchdog = Watchdog.OFF
    watchdog_device: str = "/dev/watchdog"
    recording: Recording = Recording()
    console: Console | None = None
    database: Database | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then the file; nothing else is read."""
        del env_settings, dotenv_settings, file_secret_settings
        return _Environment(settings_cls), init_settings

    @model_validator(mode="before")
    @classmethod
    def _tables_with_filled_in_defaults(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {"timing": {}, "netcheck": {}, "duty": {}, **data}

    @field_validator("timing", mode="before")
    @classmethod
    def _profile_fills_timing(cls, given: object, info: ValidationInfo) -> object:
        if not isinstance(given, dict):
            return given
        return {**PROFILES[info.data.get("profile", Profile.NORMAL)], **given}

    @field_validator("netcheck", mode="before")
    @classmethod
    def _timing_fills_netcheck(cls, given: object, info: ValidationInfo) -> object:
        if not isinstance(given, dict):
            return given
        lease = info.data["timing"].lease if "timing" in info.data else 1.0
        timeout = lease if info.data.get("policy") == Policy.AVAILABILITY else 3.0
        return {"interval": min(0.25, lease / 4), "timeout": timeout, **given}

    @field_validator("duty", mode="before")
    @classmethod
    def _timing_fills_duty(cls, given: object, info: ValidationInfo) -> object:
        if not isinstance(given, dict) or "timing" not in info.data:
            return given
        return {"grace": info.data["timing"].lease / 4, **given}

    @model_validator(mode="after")
    def _laws(self) -> Self:
        check_laws(self)
        return self

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.node

    @property
    def witnesses(self) -> tuple[Witness, ...]:
        return self.witness

    @property
    def watchdog_timeout(self) -> int:
        """Whole seconds, as the devices count: the first that lets an orderly end be over."""
        return max(1, math.ceil(self.timing.lease))

    @property
    def members(self) -> tuple[str, ...]:
        """The names of all nodes, then of all witnesses: one broker each."""
        return (*(each.name for each in self.node), *(each.name for each in self.witness))

    def is_witness(self, name: str) -> bool:
        return any(each.name == name for each in self.witness)

    def node_endpoints(self, name: str) -> tuple[tuple[str, int], ...]:
        """Host and port of every network path to a node's broker."""
        node = next(each for each in self.node if each.name == name)
        return tuple(_endpoint(text, self.broker.port) for text in node.addresses)

    def witness_endpoint(self, name: str) -> tuple[str, int]:
        """A witness without a port is at the MQTT port, whatever port our own brokers use."""
        witness = next(each for each in self.witness if each.name == name)
        return _endpoint(witness.address, DEFAULT_MQTT_PORT)

    def endpoints(self, name: str) -> tuple[tuple[str, int], ...]:
        """Every path to the broker of a node or witness."""
        if self.is_witness(name):
            return (self.witness_endpoint(name),)
        return self.node_endpoints(name)

    def listen_ports(self, name: str) -> tuple[int, ...]:
        """The ports on which a member's own broker listens, each once."""
        return tuple(dict.fromkeys(port for _, port in self.endpoints(name)))

    def state_path(self, name: str) -> Path:
        """Where a member keeps its term: a folder of its own, also when members share a machine."""
        return self.state_dir / self.group / name

    def config_hash(self) -> str:
        """What all nodes must agree on, whatever the file's order and the node's own overrides."""
        text = json.dumps(self._group_part(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _group_part(self) -> dict[str, object]:
        majority = self.policy in {Policy.MAJORITY, Policy.WITNESS}
        return {
            "group": self.group,
            "policy": "majority" if majority else self.policy.value,
            "timing": self.timing.model_dump(),
            "preempt": [self.preempt, self.preempt_delay],
            "trust_will": self.trust_will,
            "wait_for_all": self.wait_for_all,
            "nodes": sorted(
                (each.name, each.priority, self.node_endpoints(each.name)) for each in self.node
            ),
            "witnesses": sorted(
                (each.name, self.witness_endpoint(each.name)) for each in self.witness
            ),
        }

    def not_yet(self) -> tuple[str, ...]:
        """One sentence for each part of the file that this version reads but does not act on."""
        return tuple(_not_yet(self))


def _endpoint(text: str, default_port: int) -> tuple[str, int]:
    host, port = split_address(text)
    return host, port or default_port


def _not_yet(settings: Settings) -> Iterable[str]:
    if settings.database is not None:
        yield "[database]: this version does not copy a database yet; keep your own copy"
