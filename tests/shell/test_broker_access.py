"""What a group's file makes of its broker."""

from pathlib import Path

import pytest

from broker.protocol.topics import covers
from broker.settings import Persistence
from edge.access import broker_settings
from edge.settings.file import load_settings
from edge.wire import Topics

EXAMPLE = Path(__file__).parents[2] / "config" / "reference.toml"


@pytest.mark.parametrize("persistence", list(Persistence))
def test_the_groups_own_topics_are_never_kept(
    persistence: Persistence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_BROKER__PERSISTENCE", persistence)
    monkeypatch.setenv("EDGE_STATE_DIR", str(tmp_path))
    settings = load_settings(EXAMPLE)
    found = broker_settings(settings, settings.node[0].name, b"secret" * 8, ())
    assert found.persistence is persistence
    assert Path(found.directory) == settings.state_path(settings.node[0].name) / "broker"
    assert Path(found.directory).is_relative_to(tmp_path)
    topics = Topics(settings.group)
    for topic in (topics.lease, topics.hot, topics.state, topics.states, topics.history):
        assert any(covers(each, topic) for each in found.not_kept)
    assert not any(covers(each, "application") for each in found.not_kept)
