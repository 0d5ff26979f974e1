"""One platform without a model: `make test` runs the short ones, `make chaos` all."""

from collections.abc import Iterator

import pytest

from ibook.settings import Settings
from tests.chaos.platform import VERDICTS, ChaosPlatform, platform_on
from tests.chaos.report import Row
from tests.chaos.scenario import scenario
from tests.chaos.traffic import Mix


@pytest.fixture(scope="module")
def platform(shared_platform_settings: Settings) -> Iterator[ChaosPlatform]:
    settings = shared_platform_settings.model_copy(update={"session_timeout_seconds": 6.0})
    with platform_on(settings) as running:
        yield running


@pytest.mark.chaos(scenario="verdict worker killed under load", short=True)
def test_verdict_worker_killed_under_load(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with scenario(platform, row, seed, rate=200.0) as night:
        night.let_flow(3)
        platform.end(VERDICTS)
        night.let_flow(3)


@pytest.mark.chaos(scenario="a tenth of the traffic is unreadable", short=True)
def test_a_tenth_of_the_traffic_is_unreadable(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with scenario(platform, row, seed, Mix(unreadable=0.10)) as night:
        night.let_flow(6)


@pytest.mark.chaos(scenario="repeated, out of order, at one instant, from the future")
def test_times_and_order_are_of_no_use(platform: ChaosPlatform, row: Row, seed: str) -> None:
    mix = Mix(repeated=0.15, changed=0.03, late=0.20, equal=0.20, future=0.05)
    with scenario(platform, row, seed, mix) as night:
        night.let_flow(5)
        platform.end(VERDICTS)
        night.let_flow(3)
