"""What a broker is told: listeners, users, access rules, limits.

Plain frozen values in no engine's dialect. Each engine translates them; `to_json` and
`from_json` carry them to a child process. Nothing here imports anything heavy, because the
child process is on a Pi and pays for every import.
"""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class EngineName(StrEnum):
    EMBEDDED = "embedded"
    MOSQUITTO = "mosquitto"
    AMQTT = "amqtt"


class Persistence(StrEnum):
    """What is still there after a restart: nothing, retained messages, or sessions as well."""

    OFF = "off"
    RETAINED = "retained"
    ALL = "all"


class Action(StrEnum):
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"


class Transport(StrEnum):
    """What lies between TCP and MQTT on a listener."""

    TCP = "tcp"
    TLS = "tls"
    WEBSOCKET = "websocket"
    WEBSOCKET_TLS = "websocket_tls"

    @property
    def has_tls(self) -> bool:
        return self in {Transport.TLS, Transport.WEBSOCKET_TLS}

    @property
    def has_websocket(self) -> bool:
        return self in {Transport.WEBSOCKET, Transport.WEBSOCKET_TLS}


class ClientCertificates(StrEnum):
    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP address to listen on; port 0 is not allowed, clients must be able to know it."""

    host: str
    port: int
    transport: Transport = Transport.TCP


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files: the broker's certificate (with those in between), its key, and the
    authority (empty for none) that signs the certificates of clients.

    The common name in a client's certificate is its user, who then needs no password.
    """

    certificate: str
    key: str
    authority: str = ""
    client_certificates: ClientCertificates = ClientCertificates.OFF


@dataclass(frozen=True, slots=True)
class User:
    """A name that may log on.

    `verifier` is one of
    - `$argon2...`: a password hash made by `edge password` (slow on purpose, for people),
    - `$7$iterations$salt$hash`: PBKDF2-HMAC-SHA512 as mosquitto_passwd writes it,
    - `token:<sha256 hex>`: the digest of a random token of at least 128 bit (for machines; quick).

    `secret` is the clear token, where the caller knows it: mosquitto cannot check a plain digest,
    so its engine makes a verifier of its own kind from it. The other engines do without.
    """

    name: str
    verifier: str = field(repr=False)
    role: str
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a role's access list; the first rule whose filter matches decides."""

    action: Action
    topic_filter: str
    allow: bool


@dataclass(frozen=True, slots=True)
class Role:
    """A named access list. What no rule matches is refused."""

    name: str
    rules: tuple[Rule, ...]
    unlimited: bool = False  # its clients always find a place, and send as fast as they can


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep one client from hurting the others. Sizes in bytes, times in seconds."""

    packet_size: int = 1024 * 1024  # a larger packet closes its connection
    connections: int = 1000  # of roles that are not unlimited
    connections_per_address: int = 0  # the same for one address; 0: no bound of its own
    connect_timeout: float = 5.0  # from accept to a whole CONNECT
    queue_messages: int = 1000  # per session: waiting for an offline or slow client
    queue_bytes: int = 8 * 1024 * 1024  # per session, the same
    send_buffer: int = 4 * 1024 * 1024  # per connection: a client that does not read is cut off
    inflight: int = 20  # QoS 1 and 2 deliveries that await an acknowledgement
    messages_per_second: int = 0  # of one connection; 0: as fast as the broker can
    bytes_per_second: int = 0  # the same
    retained_messages: int = 100_000
    retained_bytes: int = 128 * 1024 * 1024  # all of them together, with what storing them costs
    subscriptions: int = 1000  # per session
    sessions: int = 10_000  # kept for clients that are away; the oldest goes first
    topic_levels: int = 64
    topic_bytes: int = 1024  # of a topic or filter, because many of them are remembered
    # What only MQTT 5 clients are told, and can keep to.
    receive_maximum: int = 1000  # QoS 2 messages that a client may have under way to us
    topic_aliases: int = 32  # per connection
    keep_alive: int = 0  # seconds; a client that wants longer, or none, gets this. 0: as it wants


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Everything one broker needs.

    `anonymous` is the role of a client without a user name, or None if it is refused.
    `seed` holds retained messages (topic, payload) that stand before the first client can connect.
    `urgent` lists topic filters whose messages pass before others when both wait.
    `log_clients` is whether each client that comes and goes is a line in the log.
    `response_information` is what an MQTT 5 client gets that asks where it may have its answers.
    `tls` is for all listeners that have TLS. `websocket_origins` are the sites whose scripts may
    connect, any if it is empty; what is no browser may always.
    What `persistence` says is kept in `directory`, but for topics that a filter in `not_kept` has.
    """

    listeners: tuple[Listener, ...]
    roles: tuple[Role, ...] = ()
    users: tuple[User, ...] = ()
    anonymous: str | None = None
    limits: Limits = Limits()
    seed: tuple[tuple[str, str], ...] = ()
    urgent: tuple[str, ...] = ()
    response_information: str = ""
    log_clients: bool = True
    tls: TlsFiles | None = None
    websocket_origins: tuple[str, ...] = ()
    persistence: Persistence = Persistence.OFF
    directory: str = ""
    not_kept: tuple[str, ...] = ()


def to_json(settings: BrokerSettings) -> str:
    return json.dumps(asdict(settings))


def from_json(text: str) -> BrokerSettings:
    """The inverse of `to_json`. It reads only what our own parent process wrote."""
    raw = json.loads(text)
    return BrokerSettings(
        listeners=tuple(
            Listener(each["host"], each["port"], Transport(each["transport"]))
            for each in raw["listeners"]
        ),
        roles=tuple(_role(each) for each in raw["roles"]),
        users=tuple(User(**each) for each in raw["users"]),
        anonymous=raw["anonymous"],
        limits=Limits(**raw["limits"]),
        seed=tuple((topic, payload) for topic, payload in raw["seed"]),
        urgent=tuple(raw["urgent"]),
        response_information=raw["response_information"],
        log_clients=raw["log_clients"],
        tls=_tls_files(raw["tls"]) if raw["tls"] else None,
        websocket_origins=tuple(raw["websocket_origins"]),
        persistence=Persistence(raw["persistence"]),
        directory=raw["directory"],
        not_kept=tuple(raw["not_kept"]),
    )


def _tls_files(raw: dict[str, str]) -> TlsFiles:
    kind = ClientCertificates(raw["client_certificates"])
    return TlsFiles(raw["certificate"], raw["key"], raw["authority"], kind)


def _role(raw: dict[str, object]) -> Role:
    rules = raw["rules"]
    assert isinstance(rules, list)
    return Role(
        name=str(raw["name"]),
        rules=tuple(
            Rule(Action(each["action"]), each["topic_filter"], each["allow"]) for each in rules
        ),
        unlimited=bool(raw["unlimited"]),
    )
