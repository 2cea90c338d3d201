"""A valid file: what its values mean, which defaults are filled in, what the environment does."""

from pathlib import Path

import pytest

from broker.settings import Limits, Listener, TlsFiles, Transport
from edge.access import MEMBER_ROLE, broker_settings
from edge.errors import SettingsError
from edge.settings.file import find_file, find_node, load_settings, read_secret
from edge.settings.values import Policy, split_address
from tests.shell.conftest import BASE, PAIR, WriteFile


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.2.84", ("192.168.2.84", None)),
        ("white.local:1884", ("white.local", 1884)),
        ("[fd00::84]:1884", ("fd00::84", 1884)),
        ("[fd00::84]", ("fd00::84", None)),
        ("fd00::84", ("fd00::84", None)),
    ],
)
def test_address_forms(text: str, expected: tuple[str, int | None]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a b", "a:0", "a:65536", "a:x", "[nope]:1", "-a", "a/b", ":1"]
)
def test_not_an_address(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  each kind of parser has its own sentence
        split_address(text)


def test_endpoints_take_the_port_of_the_address_or_of_the_broker(write_file: WriteFile) -> None:
    text = BASE.replace('["192.168.2.84"]', '["192.168.2.84", "10.0.0.84:1999", "[fd00::1]"]')
    settings = load_settings(write_file(text + "[broker]\nport = 1884\n"))
    expected = (("192.168.2.84", 1884), ("10.0.0.84", 1999), ("fd00::1", 1884))
    assert settings.node_endpoints("white") == expected
    assert settings.listen_ports("white") == (1884, 1999)


def test_a_witness_without_a_port_is_at_the_mqtt_port(write_file: WriteFile) -> None:
    text = BASE.replace("192.168.2.1:1883", "192.168.2.1") + "[broker]\nport = 1884\n"
    settings = load_settings(write_file(text))
    assert settings.witness_endpoint("router") == ("192.168.2.1", 1883)
    assert settings.listen_ports("router") == (1883,)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("normal", (0.25, 1.0, 0.1, 0.15)),
        ("fast", (0.06, 0.25, 0.05, 0.05)),
        ("safe", (1.25, 5.0, 0.1, 0.5)),
    ],
)
def test_profiles(write_file: WriteFile, profile: str, expected: tuple[float, ...]) -> None:
    timing = load_settings(write_file(f'profile = "{profile}"\n{BASE}')).timing
    assert (timing.heartbeat, timing.lease, timing.fence_delay, timing.stagger) == expected


def test_timing_overrides_single_values_of_the_profile(write_file: WriteFile) -> None:
    text = f'profile = "fast"\n{BASE}[timing]\nheartbeat = 0.05\n'
    timing = load_settings(write_file(text)).timing
    assert (timing.heartbeat, timing.lease) == (0.05, 0.25)


def test_netcheck_defaults_follow_the_lease(write_file: WriteFile) -> None:
    fast = load_settings(write_file(f'profile = "fast"\n{PAIR}')).netcheck
    assert (fast.interval, fast.timeout) == (0.0625, 0.25)
    safe = load_settings(write_file(f'profile = "safe"\n{PAIR}')).netcheck
    assert (safe.interval, safe.timeout) == (0.25, 5.0)
    assert load_settings(write_file(BASE)).netcheck.timeout == 3.0


def test_only_two_brokers_wait_for_all_by_default(write_file: WriteFile) -> None:
    assert load_settings(write_file(PAIR)).wait_for_all
    assert not load_settings(write_file(BASE)).wait_for_all
    assert not load_settings(write_file(f"wait_for_all = false\n{PAIR}")).wait_for_all


def test_a_majority_is_implied_by_three_brokers(write_file: WriteFile) -> None:
    settings = load_settings(write_file(BASE.replace('policy = "witness"', "")))
    assert settings.policy is Policy.MAJORITY


def test_one_node_is_a_group_to_try_out(write_file: WriteFile) -> None:
    settings = load_settings(write_file('group = "g"\n[[node]]\nname = "a"\naddresses = ["a"]\n'))
    assert settings.members == ("a",)


def test_the_environment_overrides_the_file(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_BROKER__PORT", "1884")
    monkeypatch.setenv("EDGE_PREEMPT", "true")
    monkeypatch.setenv("EDGE_NETCHECK__PING", '["192.168.2.2"]')
    monkeypatch.setenv("EDGE_TIMING__LEASE", "2.5")
    settings = load_settings(write_file(BASE + '[broker]\nhost = "127.0.0.1"\nport = 1\n'))
    assert settings.preempt
    assert (settings.broker.host, settings.broker.port) == ("127.0.0.1", 1884)
    assert settings.netcheck.ping == ("192.168.2.2",)
    assert settings.timing.lease == 2.5


def test_a_witness_gets_its_credentials_from_the_environment(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_WITNESS_MY_ROUTER_USER", "u")
    monkeypatch.setenv("EDGE_WITNESS_MY_ROUTER_PASSWORD", "p")
    settings = load_settings(write_file(BASE.replace('"router"', '"my-router"')))
    credentials = settings.witnesses[0].credentials
    assert (credentials.user, credentials.password) == ("u", "p")
    assert "'p'" not in repr(settings)


def test_the_environment_of_a_duty_process_changes_nothing(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(BASE)
    before = load_settings(path)
    values = {"GROUP": "RPI", "NODE": "white", "TERM": "7", "ROLE": "hot", "REASON": "lost"}
    for key, value in values.items():
        monkeypatch.setenv(f"EDGE_{key}", value)
    assert load_settings(path) == before


def test_state_is_kept_for_each_member_apart(write_file: WriteFile, tmp_path: Path) -> None:
    settings = load_settings(write_file(f'state_dir = "state"\n{BASE}'))
    assert settings.state_path("white") == tmp_path / "state" / "RPI" / "white"


def test_relative_paths_start_at_the_file(
    write_file: WriteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(BASE + '[access]\nsecret_file = "secret"\n')
    monkeypatch.chdir("/")
    (tmp_path / "secret").write_text("0123456789abcdef\n")
    assert read_secret(load_settings(path)) == b"0123456789abcdef"


HASH_CHANGES = [
    ("priority = 3", "priority = 4"),
    ("192.168.2.84", "192.168.2.85"),
    ('"router"', '"switch"'),
    ('group = "RPI"', 'group = "RPX"'),
    ('policy = "witness"', "preempt = true"),
    ('policy = "witness"', "trust_will = false"),
    ('policy = "witness"', 'profile = "fast"'),
]


@pytest.mark.parametrize(("old", "new"), HASH_CHANGES)
def test_hash_covers_the_group(write_file: WriteFile, old: str, new: str) -> None:
    assert old in BASE
    before = load_settings(write_file(BASE)).config_hash()
    assert load_settings(write_file(BASE.replace(old, new))).config_hash() != before


@pytest.mark.parametrize(
    "changed",
    [
        BASE.replace('policy = "witness"', ""),
        BASE.replace("\n", "\n\n# a comment\n"),
        f'state_dir = "/elsewhere"\n{BASE}',
        f'{BASE}[witness.credentials]\nuser = "u"\npassword = "p"\n',
        f'{BASE}[broker]\nhost = "127.0.0.1"\nengine = "mosquitto"\n',
        f'{BASE}[access]\nsecret_file = "/elsewhere"\nanonymous = "none"\n',
        f"{BASE}[console]\nport = 1\n",
        f'{BASE}[[duty.address]]\naddress = "192.168.2.50/24"\ninterface = "eth0"\n',
    ],
)
def test_hash_leaves_out_what_may_differ(write_file: WriteFile, changed: str) -> None:
    before = load_settings(write_file(BASE)).config_hash()
    assert load_settings(write_file(changed)).config_hash() == before


def test_hash_does_not_depend_on_the_order_of_nodes(write_file: WriteFile) -> None:
    start, white, rest = BASE.split("[[node]]")
    black, mark, witness = rest.partition("[[witness]]")
    turned = f"{start}[[node]]{black}[[node]]{white}{mark}{witness}"
    expected = load_settings(write_file(BASE)).config_hash()
    assert load_settings(write_file(turned)).config_hash() == expected


def test_node_is_found_by_option_environment_and_host_name(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(write_file(BASE))
    monkeypatch.setattr("socket.gethostname", lambda: "white.example.org")
    assert find_node(settings, None) == "white"
    monkeypatch.setenv("EDGE_NODE", "black")
    assert find_node(settings, None) == "black"
    assert find_node(settings, "router") == "router"


@pytest.mark.parametrize("given", [None, "grey"])
def test_an_unknown_node_is_answered_with_the_names(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    with pytest.raises(SettingsError, match="white, black, router"):
        find_node(load_settings(write_file(BASE)), given)


def test_the_file_is_searched_for(
    write_file: WriteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(BASE)
    monkeypatch.chdir(tmp_path)
    assert find_file(None) == Path("edge.toml")
    monkeypatch.setenv("EDGE_CONFIG", str(path))
    assert find_file(None) == path
    assert find_file(Path("other")) == Path("other")


def test_what_is_not_done_yet_is_said(write_file: WriteFile) -> None:
    assert load_settings(write_file(BASE)).not_yet() == ()
    more = '[[duty.hook]]\non_hot = ["a"]\n[console]\n[database]\ndsn = "d"\n'
    sentences = load_settings(write_file(BASE + more)).not_yet()
    assert [each.partition(":")[0] for each in sentences] == ["[database]"]


def test_limits_bind_clients_and_not_the_nodes(write_file: WriteFile) -> None:
    text = "[broker]\nlog_clients = false\n[broker.limits]\nbytes_per_second = 50000\n"
    settings = broker_settings(load_settings(write_file(BASE + text)), "white", b"x" * 16, ())
    assert settings.limits == Limits(bytes_per_second=50_000)
    assert not settings.log_clients
    assert {each.name for each in settings.roles if each.unlimited} == {MEMBER_ROLE}


def test_larger_packets_find_room_to_wait(write_file: WriteFile) -> None:
    text = "[broker.limits]\npacket_size = 10485760\n"
    limits = broker_settings(load_settings(write_file(BASE + text)), "white", b"x" * 16, ()).limits
    assert limits.send_buffer == 10 * Limits().send_buffer
    assert limits.queue_bytes == 10 * Limits().queue_bytes


def test_the_limits_are_those_of_the_broker_where_the_file_says_nothing(
    write_file: WriteFile,
) -> None:
    settings = broker_settings(load_settings(write_file(BASE)), "white", b"x" * 16, ())
    assert settings.limits == Limits()
    assert settings.log_clients


def test_more_ports_and_the_files_of_tls(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths start at the file; a node may switch a port off, or have its own key."""
    more = (
        "[broker]\ntls_port = 8883\nwebsocket_port = 9001\n"
        '[broker.tls]\ncertificate = "broker.pem"\nkey = "broker.key"\nca = "/etc/ca.pem"\n'
    )
    plain_hash = load_settings(write_file(BASE)).config_hash()
    path = write_file(BASE + more)
    monkeypatch.setenv("EDGE_BROKER__WEBSOCKET_PORT", "0")
    monkeypatch.setenv("EDGE_BROKER__TLS__KEY", "/run/own.key")
    settings = load_settings(path)
    assert broker_settings(settings, "white", b"s" * 32, ()).listeners == (
        Listener("0.0.0.0", 1883),
        Listener("0.0.0.0", 8883, Transport.TLS),
    )
    assert broker_settings(settings, "white", b"s" * 32, ()).tls == TlsFiles(
        str(path.parent / "broker.pem"), "/run/own.key", "/etc/ca.pem"
    )
    assert settings.config_hash() == plain_hash
