"""Every example file is loaded by this test, so none of them can go stale."""

import tomllib
from pathlib import Path

import pytest

from edge.settings import Settings
from edge.settings.file import load_settings
from edge.settings.names import table_keys
from edge.settings.values import Policy

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLES = {
    "two-nodes-and-witness.toml": (Policy.WITNESS, 2, 1),
    "three-nodes.toml": (Policy.MAJORITY, 3, 0),
    "two-nodes-availability.toml": (Policy.AVAILABILITY, 2, 0),
    "two-nodes-safety.toml": (Policy.SAFETY, 2, 0),
    "reference.toml": (Policy.WITNESS, 2, 1),
}


def test_every_example_is_known() -> None:
    assert {path.name for path in CONFIG.glob("*.toml")} == {*EXAMPLES, "broker.toml"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_loads(name: str) -> None:
    settings = load_settings(CONFIG / name)
    found = (settings.policy, len(settings.nodes), len(settings.witnesses))
    assert found == EXAMPLES[name]


@pytest.mark.parametrize(
    "table", ["timing", "netcheck", "broker", "access", "duty", "recording", "console", "database"]
)
def test_the_reference_shows_every_key(table: str) -> None:
    data = tomllib.loads((CONFIG / "reference.toml").read_text())
    assert set(data) == set(Settings.model_fields)
    assert sorted(data[table]) == table_keys(Settings, (table,))


def test_the_reference_shows_every_key_of_tls() -> None:
    tls = tomllib.loads((CONFIG / "reference.toml").read_text())["broker"]["tls"]
    assert sorted(tls) == table_keys(Settings, ("broker", "tls"))


def test_the_reference_shows_every_key_of_the_duty() -> None:
    duty = tomllib.loads((CONFIG / "reference.toml").read_text())["duty"]
    for table, entries in (("process", duty["process"]), ("hook", duty["hook"])):
        shown = {key for entry in entries for key in entry} | {"unit"}
        assert shown - {"unit"} == set(table_keys(Settings, ("duty", table))) - {"unit"}
    health = set(duty["process"][0]["health"]) | {"tcp", "command", "topic"}
    assert health == set(table_keys(Settings, ("duty", "process", "health")))


def test_the_reference_shows_the_defaults() -> None:
    data = tomllib.loads((CONFIG / "reference.toml").read_text())
    given = {key: data[key] for key in ("group", "node", "witness")}
    defaults = Settings(**given).model_dump(mode="json")
    given_duty = {key: data["duty"][key] for key in ("grace",)}
    assert given_duty == {"grace": defaults["duty"]["grace"]}
    for table in ("timing", "broker", "recording"):
        assert data[table] | {"tls": None} == defaults[table] | {"tls": None}
    assert data["broker"]["tls"]["client_certificates"] == "off"
    for key in ("profile", "preempt", "preempt_delay", "trust_will", "wait_for_all"):
        assert data[key] == defaults[key], key
