"""Who may do what on a node's broker: members by the group's secret, people by their role.

Only members publish under `edge/` outside `request/`. Topics outside `edge/` belong to the
application and are free for everybody who may connect.
"""

from dataclasses import replace
from hashlib import sha256

from broker.settings import Action, BrokerSettings, Limits, Listener, Role, Rule, TlsFiles, User
from edge.settings import Settings
from edge.settings.values import BrokerTls
from edge.wire import Topics, broker_token

MEMBER_ROLE = "member"


def broker_settings(
    settings: Settings, name: str, secret: bytes, seed: tuple[tuple[str, str], ...]
) -> BrokerSettings:
    """Access as in the contract: members do what they like, everybody else reads or operates."""
    topics = Topics(settings.group)
    members = [
        User(
            name=member,
            verifier=f"token:{sha256(token.encode()).hexdigest()}",
            role=MEMBER_ROLE,
            secret=token,
        )
        for member in settings.members
        if (token := broker_token(secret, settings.group, member, name))
    ]
    people = [User(each.name, each.password_hash, each.role) for each in settings.access.user]
    anonymous = settings.access.anonymous
    tls = settings.broker.tls_in_use
    return BrokerSettings(
        listeners=_listeners(settings, name),
        roles=(
            Role(MEMBER_ROLE, _everything(), unlimited=True),
            Role("read", _readers(topics)),
            Role("operate", _operators(topics)),
        ),
        users=(*members, *people),
        anonymous=None if anonymous == "none" else str(anonymous),
        seed=seed,
        limits=_limits(settings),
        urgent=(topics.lease,),
        log_clients=settings.broker.log_clients,
        tls=tls_files(tls) if tls else None,
        websocket_origins=settings.broker.websocket_origins,
        persistence=settings.broker.persistence,
        directory=str(settings.state_path(name) / "broker"),
        # What nodes say about themselves is said anew after a restart; yesterday's word is poison.
        not_kept=(f"{topics.root}/#",),
    )


def _limits(settings: Settings) -> Limits:
    """Where packets may be larger than usual, so may what waits for a client."""
    limits = Limits(**settings.broker.limits.model_dump())
    factor = max(limits.packet_size / Limits().packet_size, 1.0)
    return replace(
        limits,
        send_buffer=int(factor * limits.send_buffer),
        queue_bytes=int(factor * limits.queue_bytes),
    )


def _listeners(settings: Settings, name: str) -> tuple[Listener, ...]:
    broker = settings.broker
    plain = (Listener(broker.host, port) for port in settings.listen_ports(name))
    more = (Listener(broker.host, port, transport) for transport, port in broker.more_ports)
    return (*plain, *more)


def tls_files(tls: BrokerTls) -> TlsFiles:
    authority = str(tls.ca) if tls.ca else ""
    return TlsFiles(str(tls.certificate), str(tls.key), authority, tls.client_certificates)


def _everything() -> tuple[Rule, ...]:
    return (_allow(Action.PUBLISH, "#"), _allow(Action.SUBSCRIBE, "#"))


def _readers(topics: Topics) -> tuple[Rule, ...]:
    """Ask, and read; the group's own topics are its nodes' alone. Other topics are free."""
    asking = (
        _allow(Action.PUBLISH, topics.request(command)) for command in ("state", "history", "ping")
    )
    return (*asking, _deny(Action.PUBLISH, "edge/#"), *_everything(), _system())


def _operators(topics: Topics) -> tuple[Rule, ...]:
    """Order as well."""
    return (
        _allow(Action.PUBLISH, topics.requests),
        _deny(Action.PUBLISH, "edge/#"),
        *_everything(),
        _system(),
    )


def _system() -> Rule:
    return _allow(Action.SUBSCRIBE, "$SYS/#")


def _allow(action: Action, topic_filter: str) -> Rule:
    return Rule(action, topic_filter, allow=True)


def _deny(action: Action, topic_filter: str) -> Rule:
    return Rule(action, topic_filter, allow=False)
