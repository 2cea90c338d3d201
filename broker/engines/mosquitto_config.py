"""Our settings in mosquitto's words: its configuration file and its access list. Pure.

Access goes through mosquitto's own dynamic security plugin and not through an acl_file: only the
plugin decides by the first matching rule, tells a refused publish from a refused read, and checks
subscriptions. What mosquitto has no setting for and therefore does not hold is in docs/broker.md.
"""

import base64
import hashlib
import json
import secrets
from pathlib import Path

from broker.errors import EngineError
from broker.settings import (
    Action,
    BrokerSettings,
    ClientCertificates,
    Limits,
    Listener,
    Persistence,
    Role,
    TlsFiles,
    User,
)

ANONYMOUS_GROUP = "anonymous"
TOKEN_ITERATIONS = 101  # what mosquitto_passwd uses; a random token needs no slow hash
AUTOSAVE = 60  # seconds; each writes the whole store
SALT_SIZE = 12  # the plugin takes no other

# Copies of the files of TLS, because mosquitto runs as a user that may not read the originals.
CERTIFICATE_FILE = "certificate.pem"
KEY_FILE = "key.pem"
AUTHORITY_FILE = "authority.pem"

# A subscription is checked as a filter against the filter of the rule: it must be covered as a
# whole. Each delivery is checked once more.
_KINDS = {
    Action.PUBLISH: ("publishClientSend",),
    Action.SUBSCRIBE: ("subscribePattern", "publishClientReceive"),
}


def require_translatable(settings: BrokerSettings) -> None:
    """EngineError for what mosquitto has no words for."""
    optional = ClientCertificates.OPTIONAL
    if settings.tls and settings.tls.client_certificates is optional:
        raise EngineError(
            "mosquitto takes certificates of clients from all of them or from none; "
            "set broker.tls.client_certificates to required or off"
        )
    if settings.websocket_origins:
        raise EngineError(
            "mosquitto does not look at the origin of a websocket; "
            "remove broker.websocket_origins or set broker.engine to embedded"
        )


def public_configuration(settings: BrokerSettings, directory: Path, plugin: Path) -> str:
    """The configuration of the broker that clients meet; seeds are read from `directory`."""
    lines = [
        *_common(settings, directory),
        "set_tcp_nodelay true",  # otherwise the first messages wait 40 ms for an acknowledgement
        *(line for each in settings.listeners for line in _listener(each, directory, settings)),
        f"allow_anonymous {_flag(settings.anonymous is not None)}",
        f"plugin {plugin}",
        f"plugin_opt_config_file {directory / 'access.json'}",
        *_limits(settings.limits),
    ]
    return "\n".join(lines) + "\n"


def seeding_configuration(settings: BrokerSettings, directory: Path) -> str:
    """The configuration of a broker that only we can reach, to lay down retained messages."""
    lines = [
        *_common(settings, directory),
        f"listener 0 {directory / 'socket'}",
        "allow_anonymous true",
    ]
    return "\n".join(lines) + "\n"


def access_list(settings: BrokerSettings) -> str:
    """The dynamic security plugin's file: users, roles and what no rule allows."""
    document = {
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": False,
            "subscribe": False,
            "unsubscribe": True,
        },
        "roles": [_role(role) for role in settings.roles],
        "clients": [_client(user) for user in settings.users],
        "groups": [_anonymous_group(settings.anonymous)],
        "anonymousGroup": ANONYMOUS_GROUP,
    }
    return json.dumps(document)


def _common(settings: BrokerSettings, directory: Path) -> list[str]:
    is_kept = settings.persistence is not Persistence.OFF
    return [
        # Only error, warning and information: notices are one line per connection.
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type information",
        "log_timestamp false",
        # Without persistence it is read once at the start (the seeds) and not written after that.
        "persistence true",
        f"persistence_location {settings.directory if is_kept else directory}/",
        f"autosave_interval {AUTOSAVE if is_kept else 0}",
        # Seeds belong to nobody; and rules do not change while the broker runs.
        "check_retain_source false",
    ]


def _listener(listener: Listener, directory: Path, settings: BrokerSettings) -> list[str]:
    lines = [
        f"listener {listener.port} {listener.host}",
        f"max_connections {settings.limits.connections}",
    ]
    if listener.transport.has_websocket:
        lines.append("protocol websockets")
    if listener.transport.has_tls:
        assert settings.tls, "a listener with TLS needs BrokerSettings.tls"
        lines += _tls(settings.tls, directory)
    return lines


def _tls(files: TlsFiles, directory: Path) -> list[str]:
    lines = [
        "tls_version tlsv1.2",  # the lowest; if nothing is said, that is OpenSSL's matter
        f"certfile {directory / CERTIFICATE_FILE}",
        f"keyfile {directory / KEY_FILE}",
    ]
    if files.client_certificates is ClientCertificates.REQUIRED:
        lines += [
            f"cafile {directory / AUTHORITY_FILE}",
            "require_certificate true",
            "use_identity_as_username true",
        ]
    return lines


def _limits(limits: Limits) -> list[str]:
    keep_alive = [f"max_keepalive {limits.keep_alive}"] if limits.keep_alive else []
    return [
        *keep_alive,
        f"max_packet_size {limits.packet_size}",
        f"max_queued_messages {limits.queue_messages}",
        f"max_queued_bytes {limits.queue_bytes}",
        f"max_inflight_messages {limits.inflight}",
    ]


def _flag(value: bool) -> str:  # noqa: FBT001
    return "true" if value else "false"


def _role(role: Role) -> dict[str, object]:
    entries = [
        {"acltype": kind, "topic": rule.topic_filter, "priority": priority, "allow": rule.allow}
        for priority, rule in enumerate(reversed(role.rules))  # the highest is asked first
        for kind in _KINDS[rule.action]
    ]
    return {"rolename": role.name, "acls": entries}


def _anonymous_group(role: str | None) -> dict[str, object]:
    return {"groupname": ANONYMOUS_GROUP, "roles": [{"rolename": role}] if role else []}


def _client(user: User) -> dict[str, object]:
    iterations, salt, digest = _verifier(user)
    return {
        "username": user.name,
        "password": digest,
        "salt": salt,
        "iterations": iterations,
        "roles": [{"rolename": user.role}],
    }


def _verifier(user: User) -> tuple[int, str, str]:
    parts = user.verifier.split("$")
    if len(parts) == 5 and parts[1] == "7" and parts[2].isdecimal():
        return int(parts[2]), parts[3], parts[4]
    if user.secret is not None:
        return _hash_token(user.secret)
    raise EngineError(
        f"mosquitto cannot check the password hash of user {user.name}; "
        "make a new one with: edge password --engine mosquitto"
    )


def _hash_token(token: str) -> tuple[int, str, str]:
    salt = secrets.token_bytes(SALT_SIZE)
    digest = hashlib.pbkdf2_hmac("sha512", token.encode(), salt, TOKEN_ITERATIONS)
    return TOKEN_ITERATIONS, base64.b64encode(salt).decode(), base64.b64encode(digest).decode()
