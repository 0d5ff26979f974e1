"""What scenarios share."""

import pytest

from ibook.settings import Settings
from tests.chaos.models import Models, train_two
from tests.chaos.plugin import ROW, ChaosPlugin
from tests.chaos.report import Row


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """This test's line of the table."""
    found: Row = request.node.stash[ROW]
    return found


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> str:
    """What all randomness of the run comes from."""
    plugin: ChaosPlugin = pytestconfig.pluginmanager.get_plugin("ibook-chaos")  # type: ignore[assignment]
    return plugin.seed


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Two models to release."""
    return train_two(tmp_path_factory.mktemp("chaos-models"))


@pytest.fixture(scope="module")
def shared_platform_settings(shared_platform_settings: Settings) -> Settings:
    """The platform as it is delivered: verdicts wait no longer for an online store than they do in a shop."""
    delivered = {"feature_read_seconds": Settings.model_fields["feature_read_seconds"].default}
    return shared_platform_settings.model_copy(update=delivered)
