"""What all tests of the API need."""

from collections.abc import Iterator

import pytest

from serving import degradation
from tests.api.test_prices import Api


@pytest.fixture
def api() -> Iterator[Api]:
    """A price API that knows one event and its policy."""
    api = Api()
    with api.client:
        yield api


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness says what a test has just done, instead of what held half a second ago."""
    monkeypatch.setattr(degradation, "HOLD_SECONDS", 0.0)
