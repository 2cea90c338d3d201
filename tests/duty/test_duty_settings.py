"""`[duty]` in the group file: defaults, and one line for each mistake."""

import re
import tomllib
from pathlib import Path

import pytest

from edge.errors import SettingsError
from edge.settings import Settings
from edge.settings.duty import DutyHook, DutyProcess, Health, RunOn
from edge.settings.file import load_settings
from edge.settings.values import Watchdog
from tests.shell.conftest import BASE

CONFIG = Path(__file__).parents[2] / "config"
PROCESS = '[[duty.process]]\nname = "a"\ncommand = ["c"]\n'


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "edge.toml"
    path.write_text(text)
    return load_settings(path)


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    (process,) = load(tmp_path, BASE + PROCESS).duty.process
    assert (process.run_on, process.instance, process.health) == (RunOn.HOT, False, None)
    assert (process.start_timeout, process.stop_timeout, process.max_restarts) == (30.0, 5.0, 3)
    assert load(tmp_path, BASE).duty.is_empty


@pytest.mark.parametrize(("profile", "grace"), [("normal", 0.25), ("fast", 0.0625), ("safe", 1.25)])
def test_the_grace_is_a_quarter_of_the_lease(tmp_path: Path, profile: str, grace: float) -> None:
    assert load(tmp_path, f'profile = "{profile}"\n{BASE}').duty.grace == grace
    given = load(tmp_path, f'profile = "{profile}"\n{BASE}[duty]\ngrace = 0.01\n')
    assert given.duty.grace == 0.01


def test_a_watchdog_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert load(tmp_path, BASE).watchdog is Watchdog.OFF
    assert load(tmp_path, f'watchdog = "required"\n{BASE}').watchdog_timeout == 1


def test_a_required_watchdog_must_bite_before_anybody_else_is_hot(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"watchdog .*whole seconds.*use a lease of 1 s"):
        load(tmp_path, f'watchdog = "required"\nprofile = "fast"\n{BASE}')
    load(tmp_path, f'watchdog = "auto"\nprofile = "fast"\n{BASE}')


def test_the_topics_of_health_checks_are_named_once(tmp_path: Path) -> None:
    health = 'health = { topic = "plant/clock" }\n'
    text = BASE + PROCESS + health + PROCESS.replace('"a"', '"b"') + health
    assert load(tmp_path, text).duty.health_topics == ("plant/clock",)


def test_who_orders_a_switchover_waits_also_for_those_who_may_object(tmp_path: Path) -> None:
    hooks = (
        '[[duty.hook]]\nmay_switch = ["a"]\ntimeout = 30.0\n'
        '[[duty.hook]]\non_standby = ["b"]\ntimeout = 7.0\n'
    )
    duty = load(tmp_path, BASE + PROCESS + "stop_timeout = 2.0\n" + hooks).duty
    assert (duty.stop_limit, duty.switch_limit) == (9.0, 39.0)


def test_the_reference_shows_the_defaults_of_processes_and_hooks() -> None:
    given = tomllib.loads((CONFIG / "reference.toml").read_text())["duty"]
    process, hook = given["process"][0], given["hook"][0]
    defaults = DutyProcess(name="a", command=("c",)).model_dump(mode="json")
    own = {"name", "command", "directory", "user", "environment", "health"}
    assert {key: process[key] for key in process if key not in own} == {
        key: defaults[key] for key in process if key not in own
    }
    health = Health(tcp="h:1").model_dump()
    assert {**health, **process["health"]} == {**health, "http": process["health"]["http"]}
    defaults = DutyHook(on_hot=("c",)).model_dump()
    assert (hook["timeout"], hook["required"]) == (defaults["timeout"], defaults["required"])


@pytest.mark.parametrize("key", ["TERM", "ROLE", "REASON", "ALERT", "TARGET"])
def test_a_command_of_edge_runs_within_a_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(f"EDGE_{key}", "7")
    monkeypatch.setenv("EDGE_DUTY", "RPI/white/1/hook")
    assert load(tmp_path, BASE).duty.is_empty


def test_the_environment_overrides_the_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DUTY__GRACE", "0.125")
    duty = load(tmp_path, BASE + PROCESS).duty
    assert duty.grace == 0.125
    assert len(duty.process) == 1


MISTAKES = [
    ('[[duty.process]]\nname = "a"\n', "duty.process.a = ", "either command or unit"),
    (PROCESS + 'unit = "u"\n', "duty.process.a = ", "either command or unit"),
    (PROCESS + PROCESS, 'duty.process.name = "a": ', "is used 2 times"),
    (PROCESS.replace('"a"', '"a b"'), 'duty.process.a b.name = "a b": ', "usable name"),
    (PROCESS.replace('["c"]', "[]"), "duty.process.a.command = []: ", "is empty"),
    (PROCESS.replace('["c"]', '[""]'), 'duty.process.a.command = [""]: ', "name the program"),
    (PROCESS.replace('["c"]', '"c"'), 'duty.process.a.command = "c": ', "write it in brackets"),
    (PROCESS.replace('"c"', '"c", "\\u0000"'), "duty.process.a.command.#2 = ", "NUL"),
    (PROCESS + 'directory = "here"\n', "duty.process.a.directory = ", "absolute"),
    (PROCESS + 'run_on = "cold"\n', 'duty.process.a.run_on = "cold": ', "'hot', 'standby'"),
    (PROCESS + "instance = true\n", "duty.process.a = ", 'run_on = "always"'),
    (PROCESS + "environment = { X = 3 }\n", "duty.process.a.environment.X = 3: ", "not text"),
    (PROCESS + 'environment = { EDGE_TERM = "3" }\n', "duty.process.a.environment", "reserved"),
    (PROCESS + 'environment = { "A=B" = "3" }\n', "duty.process.a.environment", "variable"),
    (PROCESS + "max_restarts = -1\n", "duty.process.a.max_restarts = -1: ", "too small"),
    (PROCESS + "max_restarts = true\n", "duty.process.a.max_restarts = true: ", "not a number"),
    (PROCESS + "stop_timeout = 0\n", "duty.process.a.stop_timeout = 0: ", "too small"),
    (PROCESS + "restart_delay = 31\n", "duty.process.a = ", "restart_delay_max"),
    (PROCESS + "start_timeout = 121\n", "duty.process.a.start_timeout = 121.0: ", "at most 120"),
    (PROCESS + "health = {}\n", "duty.process.a.health = {}: ", "exactly one"),
    (
        PROCESS + 'health = { tcp = "h:1", topic = "t" }\n',
        "duty.process.a.health = ",
        "exactly one",
    ),
    (PROCESS + 'health = { tcp = "h" }\n', 'duty.process.a.health.tcp = "h": ', "has no port"),
    (PROCESS + 'health = { http = "h:1" }\n', "duty.process.a.health.http = ", "web address"),
    (PROCESS + 'health = { http = "http://h:x/" }\n', "duty.process.a.health.http", "web address"),
    (PROCESS + 'health = { topic = "a/#" }\n', "duty.process.a.health.topic = ", "wildcard"),
    (
        PROCESS + 'health = { comand = ["x"] }\n',
        "duty.process.a.health.comand = ",
        "did you mean command?",
    ),
    ('[[duty.process]]\nname = "a"\nunit = "-x"\n', "duty.process.a.unit = ", "systemd unit"),
    (
        '[[duty.process]]\nname = "a"\nunit = "u"\nuser = "pi"\n',
        "duty.process.a = ",
        "the unit's own file",
    ),
    (
        '[[duty.process]]\nname = "a"\nunit = "u"\nrun_on = "always"\ninstance = true\n',
        "duty.process.a = ",
        "cannot be told",
    ),
    ("[[duty.hook]]\n", "duty.hook.#1 = {}: ", "does nothing"),
    ('[[duty.hook]]\non_hto = ["x"]\n', "duty.hook.#1.on_hto = ", "did you mean on_hot?"),
    ('[[duty.hook]]\non_hot = ["x"]\ntimeout = 121\n', "duty.hook.#1.timeout = ", "at most 120"),
    ("[duty]\ngrace = 0.51\n", "duty.grace = 0.51: ", "at most 0.5"),
    ("[duty]\ngrace = 0\n", "duty.grace = 0: ", "too small"),
    (
        '[[duty.address]]\naddress = "192.168.2.84/24"\ninterface = "eth0"\n',
        'duty.address.address = "192.168.2.84/24": ',
        "address of white itself",
    ),
    *(
        (
            f'[[duty.address]]\naddress = "{address}"\ninterface = "eth0"\n',
            f'duty.address.address = "{address}": ',
            "choose a free one",
        )
        for address in ("10.0.0.0/24", "10.0.0.255/24", "224.0.0.5/24", "127.0.0.1/8", "::/64")
    ),
    (
        '[[duty.address]]\naddress = "10.0.0.1/24"\ninterface = "eth0"\n'
        '[[duty.address]]\naddress = "10.0.0.1/32"\ninterface = "eth1"\n',
        'duty.address.address = "10.0.0.1/32": ',
        "is there twice",
    ),
    ('[[duty.address]]\naddress = "10.0.0.1/24"\n', "duty.address.#1.interface = ", "is missing"),
]


@pytest.mark.parametrize(("added", "start", "cure"), MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, added: str, start: str, cure: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, BASE + added)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'edge.toml'}: {start}")
    assert cure in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        ("10.0.0.50/255.255.255.0", 'write it like "192.168.2.50/24"'),
        ("10.0.0.50/0.0.0.255", 'write it like "192.168.2.50/24"'),
        ("fd00::50%eth0/64", 'write it like "192.168.2.50/24"'),
        ("::ffff:10.0.0.50/128", "choose a free one of the network"),
        ("255.255.255.255/32", "choose a free one of the network"),
    ],
)
def test_an_address_that_the_guard_could_not_hold(tmp_path: Path, address: str, cure: str) -> None:
    table = f'[[duty.address]]\naddress = "{address}"\ninterface = "eth0"\n'
    with pytest.raises(SettingsError, match=re.escape(cure)):
        load(tmp_path, BASE + table)


@pytest.mark.parametrize("address", ["10.0.0.0/31", "10.0.0.1/32", "fd00::/128", "fd00::50/64"])
def test_an_address_that_one_machine_can_have(tmp_path: Path, address: str) -> None:
    table = f'[[duty.address]]\naddress = "{address}"\ninterface = "eth0"\n'
    assert load(tmp_path, BASE + table).duty.address[0].address == address


def test_an_address_of_a_witness_is_refused(tmp_path: Path) -> None:
    table = '[[duty.address]]\naddress = "192.168.2.1/24"\ninterface = "eth0"\n'
    with pytest.raises(SettingsError, match="is the address of router itself"):
        load(tmp_path, BASE + table)
