"""A bad file, environment or secret: one line that names the key, the value and the cure."""

from pathlib import Path

import pytest

from edge.errors import SettingsError
from edge.settings.file import load_settings, read_secret
from tests.shell.conftest import BASE, PAIR, WriteFile

ARGON = 'password_hash = "$argon2id$x"'
TLS = '[broker.tls]\ncertificate = "a"\nkey = "b"\n'
USER = f'[[access.user]]\nname = "operator"\n{ARGON}\nrole = "operate"\n'


def refusal(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


# What is replaced in BASE, by what, and the start of the line that answers it.
VALUES = [
    ('group = "RPI"', "", "group = (not set): "),
    ('group = "RPI"', 'group = "a/b"', 'group = "a/b": '),
    ('group = "RPI"', f'group = "{"x" * 65}"', "group = "),
    ('group = "RPI"', "group = 3", "group = 3: "),
    ('"white"', '"w+"', 'node.w+.name = "w+": '),
    ('"white"', '""', 'node..name = "": '),
    ('"black"', '"white"', 'node.name = "white": '),
    ('"router"', '"white"', 'node.name = "white": '),
    ("priority = 3", "priority = 256", "node.white.priority = 256: "),
    ("priority = 3", "priority = -1", "node.white.priority = -1: "),
    ("priority = 3", "priority = 2.5", "node.white.priority = 2.5: "),
    ("priority = 3", "priority = true", "node.white.priority = true: "),
    ('["192.168.2.84"]', '"192.168.2.84"', "node.white.addresses = "),
    ('["192.168.2.84"]', "[]", "node.white.addresses = []: "),
    ('["192.168.2.84"]', '["a:0"]', 'node.white.addresses.#1 = "a:0": '),
    ('["192.168.2.84"]', '["192.168.2.106"]', "node.black.addresses = "),
    ("192.168.2.1:1883", "192.168.2.84:1883", "witness.router.address = "),
    ('"witness"', '"democracy"', 'policy = "democracy": '),
    ('"witness"', '"safety"', 'policy = "safety": '),
    ('"witness"', '"availability"', 'policy = "availability": '),
    ('policy = "witness"', 'profile = "slow"', 'profile = "slow": '),
    ('policy = "witness"', 'preempt = "perhaps"', 'preempt = "perhaps": '),
    ('policy = "witness"', "preempt_delay = 0", "preempt_delay = 0: "),
    ('policy = "witness"', "preempt_delay = inf", "preempt_delay = Infinity: "),
    ('policy = "witness"', "preempt_delay = nan", "preempt_delay = NaN: "),
    ('policy = "witness"', "timing = 3", "timing = 3: "),
]

# What is added to BASE.
TABLES = [
    ("[timing]\nheartbeat = 0.26\n", "timing.heartbeat = 0.26: "),
    ("[timing]\nlease = 0\n", "timing.lease = 0: "),
    ("[timing]\nkeepalive = 1.5\n", "timing.keepalive = 1.5: "),
    ("[timing]\nlease = 4.1\n", "timing.keepalive = 3: "),
    ("[netcheck]\ninterval = 3.0\n", "netcheck.interval = 3.0: "),
    ('[netcheck]\ntcp = ["192.168.2.1"]\n', 'netcheck.tcp.#1 = "192.168.2.1": '),
    ('[netcheck]\nping = ["192.168.2.1:53"]\n', 'netcheck.ping.#1 = "192.168.2.1:53": '),
    ("[broker]\nport = 0\n", "broker.port = 0: "),
    ("[broker]\nport = 65536\n", "broker.port = 65536: "),
    ('[broker]\nengine = "emqx"\n', 'broker.engine = "emqx": '),
    ("[broker]\nlog_clients = 2\n", "broker.log_clients = 2: "),
    ("[broker.limits]\nconnections = 0\n", "broker.limits.connections = 0: "),
    ("[broker.limits]\nconnections = true\n", "broker.limits.connections = true: "),
    (
        "[broker.limits]\nconnections_per_address = -1\n",
        "broker.limits.connections_per_address = -1: ",
    ),
    ("[broker.limits]\nmessages_per_second = 1.5\n", "broker.limits.messages_per_second = 1.5: "),
    ("[broker.limits]\nbytes_per_second = 999\n", "broker.limits.bytes_per_second = 999: "),
    ("[broker.limits]\npacket_size = 9999\n", "broker.limits.packet_size = 9999: "),
    ("[broker.limits]\nqueue_messages = 0\n", "broker.limits.queue_messages = 0: "),
    ("[broker.limits]\nsessions = 1\n", "broker.limits.sessions = 1: "),
    ("[broker]\nwebsocket_port = -1\n", "broker.websocket_port = -1: "),
    ("[broker]\nwebsocket_port = 1883\n", "broker.websocket_port = 1883: is a port of the brokers"),
    (
        f"[broker]\nwebsocket_port = 1\nwebsocket_tls_port = 1\n{TLS}",
        "broker.websocket_tls_port = 1: ",
    ),
    ("[broker]\ntls_port = 8883\n", "broker.tls_port = 8883: needs a certificate"),
    ("[broker]\nwebsocket_tls_port = 9002\n", "broker.websocket_tls_port = 9002: needs a cert"),
    ('[broker.tls]\ncertificate = "a"\n', "broker.tls.key = (not set): is missing"),
    (f'{TLS}client_certificates = "maybe"\n', 'broker.tls.client_certificates = "maybe": '),
    (f'{TLS}client_certificates = "required"\n', 'broker.tls.client_certificates = "required": '),
    ('[broker]\nwebsocket_origins = ["a.example.org"]\n', "broker.websocket_origins.#1 = "),
    ('[access]\nanonymous = "write"\n', 'access.anonymous = "write": '),
    (USER.replace("$argon2id$x", "secret"), "access.user.operator.password_hash = (hidden): "),
    (USER.replace('"operate"', '"admin"'), 'access.user.operator.role = "admin": '),
    (USER.replace('"operator"', '"white"'), 'access.user.name = "white": '),
    (USER + USER, 'access.user.name = "operator": '),
    (f'[broker]\nengine = "mosquitto"\n{USER}', "access.user.operator.password_hash = "),
    ('[witness.credentials]\npassword = "p"\n', "witness.router.credentials = (hidden): "),
    ('[[duty.process]]\nname = "a"\n', "duty.process.a = "),
    ('[[duty.process]]\nname = "a"\nunit = "u"\ncommand = ["c"]\n', "duty.process.a = "),
    ("[[duty.hook]]\n", "duty.hook.#1 = {}: "),
    ('[[duty.address]]\naddress = "x"\ninterface = "eth0"\n', "duty.address.#1.address = "),
]


@pytest.mark.parametrize(("old", "new", "expected"), VALUES)
def test_a_bad_value(write_file: WriteFile, old: str, new: str, expected: str) -> None:
    assert old in BASE
    path = write_file(BASE.replace(old, new, 1))
    assert refusal(path).startswith(f"{path}: {expected}")


@pytest.mark.parametrize(("added", "expected"), TABLES)
def test_a_bad_table(write_file: WriteFile, added: str, expected: str) -> None:
    path = write_file(BASE + added)
    assert refusal(path).startswith(f"{path}: {expected}")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('policy = "availability"', "", "policy = (not set): "),
        ('"availability"', '"witness"', 'policy = "witness": '),
        ('"availability"', '"majority"', 'policy = "majority": '),
        ('ping = ["192.168.2.1"]', "", "netcheck.ping = (not set): "),
        ('"192.168.2.1"', '"192.168.2.106"', 'netcheck.ping = "192.168.2.106": '),
        ("ping = ", 'tcp = ["192.168.2.84:53"]\nping = ', 'netcheck.tcp = "192.168.2.84:53": '),
        ("ping = ", "timeout = 1.5\nping = ", "netcheck.timeout = 1.5: "),
    ],
)
def test_two_brokers_alone(write_file: WriteFile, old: str, new: str, expected: str) -> None:
    assert old in PAIR
    path = write_file(PAIR.replace(old, new, 1))
    assert refusal(path).startswith(f"{path}: {expected}")


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("group =", "gruop =", "group"),
        ("priority = 3", "prioritet = 3", "priority"),
        ("[[witness]]", "[netchek]\n[[witness]]", "netcheck"),
        ("[[witness]]", "[access]\nanonymus = 1\n[[witness]]", "anonymous"),
        ("[[witness]]", "[[duty.proces]]\n[[witness]]", "process"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(
    write_file: WriteFile, old: str, new: str, meant: str
) -> None:
    assert refusal(write_file(BASE.replace(old, new, 1))).endswith(f"did you mean {meant}?")


@pytest.mark.parametrize("key", ["_env_file", "_cli_parse_args", "self", "values"])
def test_a_key_cannot_reach_into_the_library(write_file: WriteFile, key: str) -> None:
    assert "there is no such key" in refusal(write_file(f"{key} = true\n{BASE}"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("EDGE_BROKER__PRT", "1", "did you mean EDGE_BROKER__PORT?"),
        ("EDGE_BROKER_PORT", "1", "did you mean EDGE_BROKER__PORT?"),
        ("EDGE_WITNESS_ROUTR_PASSWORD", "p", "did you mean EDGE_WITNESS_ROUTER_PASSWORD?"),
        ("EDGE_NODE__0", "x", "there is no such setting"),
        ("EDGE_BROKER__PORT", "many", 'EDGE_BROKER__PORT = "many": is not a whole number'),
        ("EDGE_PROFILE", "", 'EDGE_PROFILE = "": is not one of the choices'),
        ("EDGE_NETCHECK", "{", "netcheck"),
    ],
)
def test_a_bad_variable(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    line = refusal(write_file(BASE))
    assert line.startswith("the environment: ")
    assert expected in line


def test_bad_toml_is_answered_with_line_and_column(write_file: WriteFile) -> None:
    assert "at line 2, column 10" in refusal(write_file('group = "RPI"\npolicy = \n'))


def test_no_node(write_file: WriteFile) -> None:
    path = write_file('group = "g"\nnode = []\n')
    assert refusal(path).startswith(f"{path}: node = []: ")


def test_no_such_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "edge.toml")
    assert "is a folder" in refusal(tmp_path)


def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/etc/edge/edge.toml").exists():
        pytest.skip("this machine has a group file of its own")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="edge demo"):
        load_settings()


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_bytes(b'group = "\xff"\n')
    assert "is not UTF-8 text (byte 10)" in refusal(path)


def test_a_secret_is_needed_and_long_enough(write_file: WriteFile, tmp_path: Path) -> None:
    settings = load_settings(write_file(BASE + '[access]\nsecret_file = "secret"\n'))
    for content in (None, b"", b"  too short \n"):
        if content is not None:
            (tmp_path / "secret").write_bytes(content)
        with pytest.raises(SettingsError, match="head -c 32 /dev/urandom"):
            read_secret(settings)
