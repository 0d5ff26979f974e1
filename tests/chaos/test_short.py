"""The short part of `make chaos`, which `make test` runs as well: one platform, no model, two bad nights."""

from collections.abc import Iterator

import pytest

from ibook.settings import Settings
from tests.chaos.platform import VERDICTS, ChaosPlatform, platform_on
from tests.chaos.report import Row
from tests.chaos.scenario import scenario
from tests.chaos.traffic import Mix

pytestmark = pytest.mark.chaos(short=True)


@pytest.fixture(scope="module")
def platform(shared_platform_settings: Settings) -> Iterator[ChaosPlatform]:
    settings = shared_platform_settings.model_copy(update={"session_timeout_seconds": 6.0})
    with platform_on(settings) as running:
        yield running


def test_verdict_worker_killed_under_load(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with scenario(platform, row, seed, rate=300.0) as night:
        night.let_flow(3)
        platform.end(VERDICTS)
        night.let_flow(3)


def test_a_tenth_of_the_traffic_is_unreadable(platform: ChaosPlatform, row: Row, seed: str) -> None:
    mix = Mix(unreadable=0.10, repeated=0.05, changed=0.02, late=0.1, equal=0.1, future=0.02)
    with scenario(platform, row, seed, mix) as night:
        night.let_flow(6)
