"""The broker stands still, ends, dies, and refuses what it is sent; in the end everything breaks at once."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from ibook.settings import Settings
from ibook.topics import FRAUD_EVIDENCE, FRAUD_VERDICTS
from infra.local.kafka import LocalKafka
from infra.local.redis import LocalRedis
from tests.chaos.models import Models
from tests.chaos.platform import ChaosPlatform, platform_on
from tests.chaos.report import Row
from tests.chaos.scenario import Scenario, scenario
from tests.chaos.traffic import Mix

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[ChaosPlatform]:
    """A Kafka and a Redis of its own: others go on using the shared ones."""
    folder = tmp_path_factory.mktemp("platform")
    kafka, redis = LocalKafka(folder), LocalRedis(folder)
    settings = Settings(
        data_dir=folder, kafka_bootstrap=kafka.bootstrap, redis_url=redis.url, session_timeout_seconds=6.0
    )
    with platform_on(settings, [kafka, redis]) as running:
        models.install(settings)
        yield running


@pytest.mark.parametrize("seconds", [
    pytest.param(seconds, marks=pytest.mark.chaos(scenario=f"broker frozen {seconds} s")) for seconds in (5, 25, 90)
])  # fmt: skip
def test_the_broker_is_frozen(platform: ChaosPlatform, row: Row, seed: str, seconds: int) -> None:
    with scenario(platform, row, seed, rate=60.0) as night:
        night.let_flow(3)
        with platform.frozen("kafka"):
            time.sleep(seconds)  # there is no effect to wait for: nothing moves
        night.let_flow(4, patience=120)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGTERM, marks=pytest.mark.chaos(scenario="broker restarted")),
        pytest.param(signal.SIGKILL, marks=pytest.mark.chaos(scenario="broker killed")),
    ],
)
def test_the_broker_ends_and_is_started_again(
    platform: ChaosPlatform, row: Row, seed: str, how: signal.Signals
) -> None:
    with scenario(platform, row, seed) as night:
        for _ in range(2):
            night.let_flow(3)
            platform.end("kafka", how)
        night.let_flow(5)


@pytest.mark.chaos(scenario="sends refused")
def test_the_broker_refuses_what_workers_send(platform: ChaosPlatform, row: Row, seed: str) -> None:
    """Too few replicas is tried again until the work counts as lost; too large a message is refused at once."""
    with scenario(platform, row, seed) as night:
        for topic in (FRAUD_EVIDENCE.name, FRAUD_VERDICTS.name):
            for refusal in ({"min.insync.replicas": "2"}, {"max.message.bytes": "100"}):
                night.let_flow(2)
                refuse(night, topic, refusal, seconds=6.0)
        night.let_flow(5)


def refuse(night: Scenario, topic: str, configuration: Mapping[str, str], seconds: float) -> None:
    """Have the broker refuse what is sent to a topic for a while."""
    admin = AdminClient({"bootstrap.servers": night.settings.kafka_bootstrap})
    for operation in (AlterConfigOpType.SET, AlterConfigOpType.DELETE):
        entries = [ConfigEntry(name, value, incremental_operation=operation) for name, value in configuration.items()]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(10)
        if operation == AlterConfigOpType.SET:
            time.sleep(seconds)  # the workers stand still meanwhile, or come and go


@pytest.mark.chaos(scenario="everything at once")
def test_everything_breaks_while_models_are_swapped(
    platform: ChaosPlatform, row: Row, seed: str, models: Models
) -> None:
    with scenario(
        platform, row, seed, Mix(unreadable=0.1, repeated=0.05, changed=0.02, late=0.05, equal=0.05)
    ) as night:
        faults = everything(night, models)
        night.rng.shuffle(faults)
        for fault in faults:
            fault()
            night.let_flow(night.rng.uniform(0.2, 2))
        night.let_flow(5)


def everything(night: Scenario, models: Models) -> list[Callable[[], object]]:
    """Each of these breaks something and returns at once."""
    platform, rng = night.platform, night.rng
    workers = [partial(platform.send, rng.choice(platform.names), signal.SIGKILL) for _ in range(4)]
    parts = [
        partial(platform.send, name, how) for name in ("kafka", "redis") for how in (signal.SIGKILL, signal.SIGTERM)
    ]
    swaps = [partial(models.release, platform.settings, which) for which in (1, 0)]
    backlog = [partial(night.traffic.burst, 1000), partial(models.release_a_bad_one, platform.settings)]
    return [*workers, *parts, *swaps, *backlog]
