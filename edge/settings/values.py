"""The values and tables that a group file is made of, each checked on its own.

What must hold between several of them is in `edge.settings.laws`. A refusal is one sentence of
the form "what is wrong; what would be right".
"""

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from broker.settings import ClientCertificates, EngineName, Limits, Persistence, Transport

DEFAULT_MQTT_PORT = 1883
NO_NUMBER = "is not a number; write a number without quotes"
# Below, one read of a client would be followed by many seconds of not reading it.
LOWEST_BYTE_RATE = 1000
_LIMITS = Limits()
PASSWORD_HASH_STARTS = ("$argon2", "$7$")


class Policy(StrEnum):
    """Who may be hot when not all brokers answer, see docs/protocol.md."""

    MAJORITY = "majority"
    WITNESS = "witness"
    AVAILABILITY = "availability"
    SAFETY = "safety"


class Profile(StrEnum):
    NORMAL = "normal"
    FAST = "fast"
    SAFE = "safe"


class Anonymous(StrEnum):
    NONE = "none"
    READ = "read"
    OPERATE = "operate"


class RecordingWrite(StrEnum):
    """When a recording is written besides: always after a failure of ours, and on SIGUSR1."""

    ON_REQUEST = "on_request"
    ROLE_CHANGES = "role_changes"
    ALWAYS = "always"


class UserRole(StrEnum):
    READ = "read"
    OPERATE = "operate"


def split_address(text: str) -> tuple[str, int | None]:
    """The host and, if given, the port of "host", "host:port", "[v6]:port" or a bare v6 address."""
    bracketed = re.fullmatch(r"\[([^]]+)\](?::(\d+))?", text)
    if bracketed:
        ipaddress.IPv6Address(bracketed[1])
        return bracketed[1], _port(bracketed[2])
    if text.count(":") > 1:
        return str(ipaddress.IPv6Address(text)), None
    plain = re.fullmatch(r"([A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?)(?::(\d+))?", text)
    if not plain:
        raise ValueError(text)
    return plain[1], _port(plain[2])


def _port(digits: str | None) -> int | None:
    if digits is None:
        return None
    if not 1 <= int(digits) <= 65535:
        raise ValueError(digits)
    return int(digits)


def _check_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError(
            "is not a usable name, it becomes part of MQTT topics; "
            "use 1 to 64 letters, digits, _ or -"
        )
    return text


def _check_address(text: str) -> str:
    try:
        split_address(text)
    except ValueError:
        raise ValueError(
            'is not an address; write "host", "host:port" or "[v6]:port", ports are 1 to 65535'
        ) from None
    return text


def _check_host(text: str) -> str:
    if split_address(_check_address(text))[1] is not None:
        raise ValueError("has a port, a ping has none; write the host alone")
    return text


def _check_endpoint(text: str) -> str:
    if split_address(_check_address(text))[1] is None:
        raise ValueError('has no port; write "host:port"')
    return text


def _check_interface_address(text: str) -> str:
    """As the kernel knows it: no mask in dots, no zone."""
    try:
        ipaddress.ip_interface(text)
        is_plain = re.fullmatch(r"[0-9A-Fa-f.:]+(/[0-9]+)?", text) is not None
    except ValueError:
        is_plain = False
    if not is_plain:
        raise ValueError('is not an address with its network; write it like "192.168.2.50/24"')
    return text


def _check_origin(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", text):
        raise ValueError('is not an origin; write it like "https://panel.example.org"')
    return text


def _check_password_hash(text: str) -> str:
    if not text.startswith(PASSWORD_HASH_STARTS):
        raise ValueError(
            "is not a password hash that the brokers know; make one with: edge password"
        )
    return text


def refuse_truth(value: object) -> object:
    """TOML's true is not a number, although Python thinks so."""
    if isinstance(value, bool):
        raise ValueError(NO_NUMBER)  # noqa: TRY004  pydantic takes a ValueError as a refusal
    return value


Name = Annotated[str, AfterValidator(_check_name)]
Address = Annotated[str, AfterValidator(_check_address)]
Host = Annotated[str, AfterValidator(_check_host)]
Endpoint = Annotated[str, AfterValidator(_check_endpoint)]
InterfaceAddress = Annotated[str, AfterValidator(_check_interface_address)]
PasswordHash = Annotated[str, AfterValidator(_check_password_hash)]
Port = Annotated[int, BeforeValidator(refuse_truth), Field(ge=1, le=65535)]
PortOrNone = Annotated[int, BeforeValidator(refuse_truth), Field(ge=0, le=65535)]
Origin = Annotated[str, AfterValidator(_check_origin)]
Priority = Annotated[int, BeforeValidator(refuse_truth), Field(ge=0, le=255)]
WholeSeconds = Annotated[int, BeforeValidator(refuse_truth), Field(ge=1, le=65535)]
Seconds = Annotated[float, BeforeValidator(refuse_truth), Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Table(BaseModel):
    """A table of the file: read once, never changed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Watchdog(StrEnum):
    """Whether the machine is reset when nobody ends the duty in time."""

    OFF = "off"
    AUTO = "auto"
    REQUIRED = "required"


class Node(Table):
    """A process that runs an agent and a broker; priority 0 is hot only by an operator's order."""

    name: Name
    priority: Priority = 1
    addresses: Annotated[tuple[Address, ...], Field(min_length=1)]


class Credentials(Table):
    user: Text | None = None
    password: Text | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _password_has_a_user(self) -> Self:
        if self.password is not None and self.user is None:
            raise ValueError("has a password and no user; MQTT wants both, add user")
        return self


class Witness(Table):
    """A broker that votes and is never hot."""

    name: Name
    address: Address
    credentials: Credentials = Credentials()


class Timing(Table):
    """All times of the protocol, in seconds. The defaults are those of the profile "normal"."""

    heartbeat: Seconds = 0.25
    lease: Seconds = 1.0
    fence_delay: Seconds = 0.1
    stagger: Seconds = 0.15
    keepalive: WholeSeconds = 3
    election: Seconds = 7.0
    waiting_hot: Seconds = 10.0
    waiting_ready_hot: Seconds = 120.0
    starting_to_standby: Seconds = 120.0
    starting_to_hot: Seconds = 120.0


PROFILES: dict[Profile, dict[str, float]] = {
    Profile.NORMAL: {},
    Profile.FAST: {
        "heartbeat": 0.06,
        "lease": 0.25,
        "fence_delay": 0.05,
        "stagger": 0.05,
        "keepalive": 2,
    },
    Profile.SAFE: {"heartbeat": 1.25, "lease": 5.0, "stagger": 0.5, "keepalive": 5},
}


class NetCheck(Table):
    """References outside the group that tell a node whether it is itself cut off."""

    ping: tuple[Host, ...] = ()
    tcp: tuple[Endpoint, ...] = ()
    interval: Seconds
    timeout: Seconds

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """The TCP references as host and port."""
        return tuple((host, port or 0) for host, port in map(split_address, self.tcp))


def _check_byte_rate(rate: int) -> int:
    if 0 < rate < LOWEST_BYTE_RATE:
        raise ValueError(
            f"is too small; at least {LOWEST_BYTE_RATE} is needed, or 0 for as fast as it can"
        )
    return rate


Count = Annotated[int, BeforeValidator(refuse_truth), Field(ge=0)]
ByteRate = Annotated[Count, AfterValidator(_check_byte_rate)]


class BrokerLimits(Table):
    """What clients of the embedded engine may take; the nodes themselves are not bound by it."""

    connections: Annotated[Count, Field(ge=1, le=100_000)] = _LIMITS.connections
    connections_per_address: Count = _LIMITS.connections_per_address
    messages_per_second: Count = _LIMITS.messages_per_second
    bytes_per_second: ByteRate = _LIMITS.bytes_per_second
    packet_size: Annotated[Count, Field(ge=10_000, le=100_000_000)] = _LIMITS.packet_size
    queue_messages: Annotated[Count, Field(ge=1)] = _LIMITS.queue_messages


class BrokerTls(Table):
    """The files of TLS, in PEM form; `ca` signs the certificates of clients."""

    certificate: Path
    key: Path
    ca: Path | None = None
    client_certificates: ClientCertificates = ClientCertificates.OFF


class Broker(Table):
    """`persistence` is off because a node's disk is often an SD card, and each sync wears it."""

    engine: EngineName = EngineName.EMBEDDED
    persistence: Persistence = Persistence.OFF
    host: Text = "0.0.0.0"  # noqa: S104  a broker of the group is there for the network
    port: Port = DEFAULT_MQTT_PORT
    tls_port: PortOrNone = 0
    websocket_port: PortOrNone = 0
    websocket_tls_port: PortOrNone = 0
    websocket_origins: tuple[Origin, ...] = ()
    tls: BrokerTls | None = None
    log_clients: bool = True
    limits: BrokerLimits = BrokerLimits()

    @property
    def more_ports(self) -> tuple[tuple[Transport, int], ...]:
        """What it offers beside `port`, which the nodes themselves use."""
        every = (
            (Transport.TLS, self.tls_port),
            (Transport.WEBSOCKET, self.websocket_port),
            (Transport.WEBSOCKET_TLS, self.websocket_tls_port),
        )
        return tuple((transport, port) for transport, port in every if port)

    @property
    def tls_in_use(self) -> BrokerTls | None:
        """The files of TLS if one of the ports needs them."""
        return self.tls if any(each.has_tls for each, _ in self.more_ports) else None


class User(Table):
    name: Text
    password_hash: PasswordHash = Field(repr=False)
    role: UserRole


class Access(Table):
    secret_file: Path = Path("/etc/edge/secret")
    anonymous: Anonymous = Anonymous.READ
    user: tuple[User, ...] = ()


class Console(Table):
    port: Port = 8080


class Recording(Table):
    """What the core was told last, for `edge replay`: `inputs` in memory, `keep` files."""

    write: RecordingWrite = RecordingWrite.ON_REQUEST
    inputs: Annotated[int, BeforeValidator(refuse_truth), Field(ge=100, le=1_000_000)] = 8000
    keep: Annotated[int, BeforeValidator(refuse_truth), Field(ge=1, le=100_000)] = 10


class Database(Table):
    dsn: Text = Field(repr=False)
