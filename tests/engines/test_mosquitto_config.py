"""The translation of our settings into mosquitto's words, without a mosquitto."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from broker.admission.access import hash_password, hash_password_for_mosquitto, verify_password
from broker.engines.mosquitto_config import access_list, public_configuration
from broker.errors import EngineError
from broker.settings import (
    Action,
    BrokerSettings,
    ClientCertificates,
    Limits,
    Listener,
    Role,
    Rule,
    TlsFiles,
    Transport,
    User,
)
from tests.engines.tools import HOST, open_settings

SECRET = "0123456789abcdef0123456789abcdef"


def test_listeners_and_limits_are_there() -> None:
    settings = replace(
        open_settings(1883),
        listeners=(Listener(HOST, 1883), Listener("0.0.0.0", 1884)),
        limits=Limits(packet_size=1, connections=2, queue_messages=3, queue_bytes=4, inflight=5),
    )
    lines = public_configuration(settings, Path("/run/x"), Path("/lib/y.so")).splitlines()
    assert {
        f"listener 1883 {HOST}",
        "listener 1884 0.0.0.0",
        "max_packet_size 1",
        "max_connections 2",
        "max_queued_messages 3",
        "max_queued_bytes 4",
        "max_inflight_messages 5",
        "set_tcp_nodelay true",
        "allow_anonymous true",
        "plugin /lib/y.so",
    } <= set(lines)


def test_nobody_is_anonymous_without_a_role() -> None:
    settings = replace(open_settings(1883), anonymous=None)
    text = public_configuration(settings, Path("/run/x"), Path("/lib/y.so"))
    assert "allow_anonymous false" in text.splitlines()


def test_the_first_rule_has_the_highest_priority() -> None:
    rules = (Rule(Action.PUBLISH, "a/#", True), Rule(Action.PUBLISH, "#", False))
    document = json.loads(access_list(BrokerSettings((), roles=(Role("guest", rules),))))
    entries = {each["topic"]: each for each in document["roles"][0]["acls"]}
    assert entries["a/#"]["priority"] > entries["#"]["priority"]
    assert (entries["a/#"]["allow"], entries["#"]["allow"]) == (True, False)


def test_a_token_becomes_a_hash_that_matches_it() -> None:
    user = User("white", "token:0", "node", secret=SECRET)
    document = json.loads(access_list(BrokerSettings((), users=(user,))))
    (client,) = document["clients"]
    verifier = f"$7${client['iterations']}${client['salt']}${client['password']}"
    assert verify_password(verifier, SECRET.encode())
    assert SECRET not in json.dumps(document)


def test_a_mosquitto_hash_is_taken_as_it_is() -> None:
    verifier = hash_password_for_mosquitto("password", 10)
    user = User("operator", verifier, "operate")
    document = json.loads(access_list(BrokerSettings((), users=(user,))))
    (client,) = document["clients"]
    assert verifier == f"$7${client['iterations']}${client['salt']}${client['password']}"


@pytest.mark.parametrize("hash_kind", ["argon2", "token:0", "$7$x", ""])
def test_a_hash_that_mosquitto_cannot_check_names_user_and_cure(hash_kind: str) -> None:
    verifier = hash_password("password") if hash_kind == "argon2" else hash_kind
    user = User("operator", verifier, "operate")
    with pytest.raises(EngineError, match="user operator") as caught:
        access_list(BrokerSettings((), users=(user,)))
    assert "edge password --engine mosquitto" in str(caught.value)


def test_a_secret_is_not_in_the_representation() -> None:
    assert SECRET not in repr(User("white", "token:0", "node", secret=SECRET))


def test_tls_and_websocket_are_lines_of_their_listener() -> None:
    files = TlsFiles("/etc/a.pem", "/etc/a.key", "/etc/ca.pem", ClientCertificates.REQUIRED)
    settings = replace(
        open_settings(1883),
        listeners=(
            Listener(HOST, 1883),
            Listener(HOST, 9001, Transport.WEBSOCKET),
            Listener(HOST, 9002, Transport.WEBSOCKET_TLS),
        ),
        tls=files,
    )
    text = public_configuration(settings, Path("/run/x"), Path("/lib/y.so"))
    _, plain, websocket, both = text.split("listener ")
    assert "protocol" not in plain
    assert "certfile" not in websocket
    assert websocket.splitlines()[-1] == "protocol websockets"
    assert {
        "protocol websockets",
        "tls_version tlsv1.2",
        "certfile /run/x/certificate.pem",
        "keyfile /run/x/key.pem",
        "cafile /run/x/authority.pem",
        "require_certificate true",
        "use_identity_as_username true",
    } <= set(both.splitlines())
