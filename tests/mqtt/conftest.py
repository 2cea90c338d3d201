"""What several of these modules share."""

import pytest
from hypothesis import settings

from broker.settings import Transport
from tests.mqtt.certificates import Authority

# How long an example takes says something about the machine, not about the code.
settings.register_profile("edge", deadline=None)
settings.load_profile("edge")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def transport(
    request: pytest.FixtureRequest, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Transport:
    """What `serving` and `Raw` use in this test."""
    from tests.mqtt.test_server import Raw  # noqa: PLC0415 - after pytest has rewritten it

    chosen: Transport = request.param
    monkeypatch.setattr(Raw, "transport", chosen)
    if chosen.has_tls:
        monkeypatch.setattr(Raw, "tls", authority.files())
        monkeypatch.setattr(Raw, "context", authority.client_context())
    return chosen
