"""What scenarios share."""

import pytest

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
