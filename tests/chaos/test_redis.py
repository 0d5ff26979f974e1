"""The online store is killed, frozen, slow and flushed, and its writers are frozen.

Verdicts go on without it, nearly as fast as ever, and come back to it by themselves.
"""

import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from redis import Redis

from ibook import codec
from ibook.edges.kafka_admin import apply_topics
from ibook.messages import FraudVerdict
from ibook.settings import Settings
from ibook.topics import FRAUD_VERDICTS
from infra.local.processes import free_port
from infra.local.redis import LocalRedis
from tests.chaos.judge import waits
from tests.chaos.models import Models
from tests.chaos.platform import ChaosPlatform, platform_on
from tests.chaos.proxy import SlowProxy
from tests.chaos.reader import read_since
from tests.chaos.report import Row
from tests.chaos.scenario import Scenario, scenario
from tests.workers import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

AWAY_SECONDS = 6.0
FROZEN_SECONDS = 14.0
"""Of traffic's verdicts, about ten by the clock: longer than features may be old."""
BUSY_SECONDS = 3.0
"""What an answer may take beyond the bound of a read, on a machine where everything runs at once."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> LocalRedis:
    """One of our own, that can be taken away."""
    return LocalRedis(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="module")
def proxy(redis: LocalRedis) -> Iterator[SlowProxy]:
    with SlowProxy(redis.port, free_port()) as passing:
        yield passing


@pytest.fixture(scope="module")
def platform(
    shared_platform_settings: Settings, redis: LocalRedis, proxy: SlowProxy, models: Models
) -> Iterator[ChaosPlatform]:
    settings = shared_platform_settings.model_copy(
        update={"redis_url": f"redis://127.0.0.1:{proxy.port}/0", "session_timeout_seconds": 6.0}
    )
    apply_topics(settings)
    models.install(settings)
    with platform_on(settings, [redis]) as running:
        yield running


def postures(night: Scenario) -> Counter[str]:
    """How often each posture was the answer's."""
    return Counter(codec.decode(each.value, FraudVerdict).posture for each in night.logs[FRAUD_VERDICTS.name])


def assert_left_and_came_back(night: Scenario) -> None:
    """Some verdicts were given without features, and the last ones, still under load, with them."""
    given = [codec.decode(each.value, FraudVerdict) for each in night.logs[FRAUD_VERDICTS.name]]
    given.sort(key=lambda verdict: verdict.occurred_at)
    assert "no_features" in {verdict.posture for verdict in given}
    assert "no_features" not in {verdict.posture for verdict in given[-50:]}, postures(night)


def assert_answered_in_time(night: Scenario, row: Row) -> None:
    """An online store that does not answer holds up nobody's verdict for longer than a read may take."""
    assert row.p99_seconds is not None
    assert row.p99_seconds <= night.settings.feature_read_seconds + BUSY_SECONDS, waits(night.logs)[-20:]


def latest_postures(night: Scenario) -> set[str]:
    """Of the last verdict of each partition."""
    began = {place: offset for place, offset in night.began.items() if place[0] == FRAUD_VERDICTS.name}
    last = {each.partition: each for each in read_since(night.settings, began)[FRAUD_VERDICTS.name]}
    return {codec.decode(each.value, FraudVerdict).posture for each in last.values()}


@pytest.mark.chaos(scenario="Redis killed")
def test_redis_is_killed(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with scenario(platform, row, seed) as night:
        for _ in range(2):
            night.let_flow(2)
            platform.end("redis", signal.SIGKILL)
        night.let_flow(6)
    assert_left_and_came_back(night)
    assert_answered_in_time(night, row)


@pytest.mark.chaos(scenario="Redis frozen")
def test_redis_is_frozen(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with scenario(platform, row, seed) as night:
        night.let_flow(2)
        with platform.frozen("redis"):
            night.let_flow(AWAY_SECONDS)
        night.let_flow(6)
    assert_left_and_came_back(night)
    assert_answered_in_time(night, row)


@pytest.mark.chaos(scenario="Redis slow")
def test_redis_is_slow(platform: ChaosPlatform, row: Row, seed: str, proxy: SlowProxy) -> None:
    with scenario(platform, row, seed) as night:
        night.let_flow(2)
        with proxy.slowed(2 * platform.settings.feature_read_seconds):
            night.let_flow(AWAY_SECONDS)
        with proxy.slowed(platform.settings.feature_read_seconds / 8):  # slow, but within the bound
            night.let_flow(AWAY_SECONDS)
        night.let_flow(6)
    assert_left_and_came_back(night)
    assert_answered_in_time(night, row)


@pytest.mark.chaos(scenario="Redis flushed")
def test_redis_is_flushed(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with scenario(platform, row, seed) as night, Redis.from_url(platform.settings.redis_url) as client:
        for _ in range(3):
            night.let_flow(2)
            client.flushall()
            wait_until(lambda: client.dbsize() > 0, 30, "pushes to go on")
        night.let_flow(6)
    assert_left_and_came_back(night)
    assert_answered_in_time(night, row)


@pytest.mark.chaos(scenario="feature workers frozen, features grow stale")
def test_the_feature_workers_are_frozen(platform: ChaosPlatform, row: Row, seed: str) -> None:
    with scenario(platform, row, seed) as night:
        wait_until(lambda: latest_postures(night) == {"normal"}, 60, "features")
        with platform.frozen("entities-to-features"):
            night.let_flow(FROZEN_SECONDS)
        wait_until(lambda: latest_postures(night) == {"normal"}, 60, "features to be fresh again")
        night.let_flow(4)
    given = postures(night)
    assert given["stale_features"] > 0, given
    assert_answered_in_time(night, row)
