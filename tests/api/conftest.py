"""What all tests of the API need."""

import pytest

from serving import degradation


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness says what a test has just done, instead of what held half a second ago."""
    monkeypatch.setattr(degradation, "HOLD_SECONDS", 0.0)
