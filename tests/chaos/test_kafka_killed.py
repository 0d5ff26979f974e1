"""Kafka dies under load, again and again, while every worker of the platform is at work: nothing is lost or doubled."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ibook.edges.audit import Auditor
from ibook.edges.kafka_admin import apply_topics
from ibook.edges.lag import features_behind, lag_of_groups, wait_until_nothing_lags
from ibook.edges.online_store import OnlineStore
from ibook.edges.running_platform import run_dir
from ibook.settings import Settings
from infra.local import processes
from infra.local.kafka import LocalKafka
from infra.local.redis import LocalRedis
from infra.local.running import Platform
from infra.local.workers import WORKERS
from simulator.realtime import RealtimeShop
from simulator.world import World
from tests.workers import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.chaos(scenario="Kafka killed three times, all workers"),
    pytest.mark.timeout(600),
]

RATE = 50.0
KILLS = 3
VERDICTS_BETWEEN = 150
"""Three seconds of verdicts: the platform is at full work again when Kafka is killed next."""
RECOVERY_SECONDS = 60.0


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A Kafka and a Redis of its own and all workers, supervised as `ibook up` does; no model, so rules decide."""
    kafka, redis = LocalKafka(tmp_path), LocalRedis(tmp_path)
    settings = Settings(
        data_dir=tmp_path, kafka_bootstrap=kafka.bootstrap, redis_url=redis.url, session_timeout_seconds=6,
        serving_port=processes.free_port(), slot_seconds=5, quote_ttl_seconds=10, quote_grace_seconds=5,
        policy_seconds=1,
    )  # fmt: skip
    run_dir(tmp_path).mkdir(parents=True)
    with (tmp_path / "logs.txt").open("w") as said:
        metrics = {worker.name: processes.free_port() for worker in WORKERS}
        running = Platform(settings, metrics, lambda sentence: print(sentence, file=said, flush=True))
        try:
            running.start_parts([kafka, redis])
            apply_topics(settings)
            running.start_workers(WORKERS)
            yield running
        finally:
            running.stop()


def kill_kafka(platform: Platform) -> None:
    """kill -9; returns when the supervisor has it back on the same data and port."""
    before, pid = platform.restarts("kafka"), platform.pid("kafka")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: platform.restarts("kafka") > before, 30, "Kafka to be started again")
    platform.wait_ready("kafka", timeout_seconds=60)


def wait_for_verdicts(shop: RealtimeShop, more: int) -> None:
    before = shop.stats().verdicts
    wait_until(lambda: shop.stats().verdicts >= before + more, RECOVERY_SECONDS, f"{more} more verdicts")


def test_every_purchase_is_answered_once_though_kafka_is_killed_three_times(platform: Platform) -> None:
    settings = platform.settings
    shop = RealtimeShop(World(0, datetime.now(UTC)), settings, RATE, seed=0)
    shop.start()
    try:
        for _ in range(KILLS):
            wait_for_verdicts(shop, VERDICTS_BETWEEN)
            kill_kafka(platform)
        wait_for_verdicts(shop, VERDICTS_BETWEEN)
        shop.end_load()
        assert shop.drain(RECOVERY_SECONDS), f"{shop.stats().missing} purchases have no verdict"
    finally:
        shop.stop()
    assert shop.failure is None
    with Auditor(settings) as auditor:
        audit = auditor.look(to_the_end=True)
    assert (audit.missing, audit.conflicting) == ([], [])
    sent, lost = shop.stats().purchases, len(shop.board.lost)  # lost: the shop was told that Kafka did not take it
    assert sent - lost <= audit.purchases <= sent, f"what was acknowledged is there; {lost} were not"
    assert audit.purchases > 4 * VERDICTS_BETWEEN
    store = OnlineStore(settings)
    caught_up = wait_until_nothing_lags(settings, store, RECOVERY_SECONDS)
    assert caught_up, f"{lag_of_groups(settings)}, features {features_behind(settings, store)}"
    store.close()
    logs = {name: platform.log(name).read_text(errors="replace") for name in platform.names}
    hung = [name for name, text in logs.items() if "a commit does not end" in text]
    assert hung == [], "a broker that comes back is found again without the help of the guard"
