"""A worker that finds a new model broken goes back by itself, on real Kafka and Redis."""

import json
from datetime import UTC, datetime

from ibook.clock import to_us
from ibook.edges.online_store import OnlineStore
from ibook.heartbeat import Heartbeat, encode_heartbeat
from ibook.settings import Settings
from tests.integration.test_models_commands import ibook
from tests.tiny_models import TRAINED, suspicious, write
from tests.traffic import missing, publish, purchases, verdicts
from tests.workers import WorkerProcess, wait_until

BOUNDS = {"IBOOK_GUARD_PURCHASES": "100", "IBOOK_GUARD_MIN_PURCHASES": "50", "IBOOK_BESIDE_SECONDS": "30"}
"""Few purchases suffice, and on a busy machine, too, the former model scores beside the new one."""


def test_a_worker_takes_back_a_model_that_would_approve_nobody_and_answers_go_on(platform_settings: Settings) -> None:
    _make_fresh(platform_settings)
    worker = WorkerProcess("purchases-to-verdicts", platform_settings, **BOUNDS).start()
    try:
        ibook(platform_settings, "release", str(write(platform_settings.data_dir / "good", TRAINED)))
        _answered(platform_settings, "before", {TRAINED.model.version})
        bad = write(platform_settings.data_dir / "bad", suspicious(TRAINED))
        assert ibook(platform_settings, "release", str(bad)).exit_code == 0
        _answered(platform_settings, "during", {TRAINED.model.version, "suspicious"})
        wait_until(lambda: "ROLLBACK" in ibook(platform_settings, "timeline").stdout, 20, "the rollback")
        _answered(platform_settings, "after", {TRAINED.model.version})
    finally:
        worker.kill()
    spans = json.loads(ibook(platform_settings, "timeline", "--json").stdout)
    assert [(span["version"], span["by"]) for span in spans][2:] == [(TRAINED.model.version, "guard")]
    assert spans[2]["why"].startswith("its scores shifted by")


def test_a_worker_that_was_started_after_the_release_takes_it_back_too(platform_settings: Settings) -> None:
    _make_fresh(platform_settings)
    for trained in (TRAINED, suspicious(TRAINED)):
        ibook(platform_settings, "release", str(write(platform_settings.data_dir / "elsewhere", trained)))
    worker = WorkerProcess("purchases-to-verdicts", platform_settings, **BOUNDS).start()
    try:
        _answered(platform_settings, "during", {TRAINED.model.version, "suspicious"})
        wait_until(lambda: "ROLLBACK" in ibook(platform_settings, "timeline").stdout, 20, "the rollback")
        _answered(platform_settings, "after", {TRAINED.model.version})
    finally:
        worker.kill()


def _make_fresh(settings: Settings) -> None:
    """Heartbeats as of feature workers, none of which run here."""
    fresh = Heartbeat(to_us(datetime.now(UTC)) + 3600 * 1_000_000, {}, 0)
    store = OnlineStore(settings)
    for partition in range(settings.partitions):
        store.write_heartbeat(partition, encode_heartbeat(fresh), 1)
    store.close()


def _answered(settings: Settings, run: str, versions: set[str]) -> None:
    """Publish 150 purchases in batches of some, and wait until each has its verdict, by one of these models."""
    sent = purchases(run, 150)
    for start in range(0, len(sent), 50):
        publish(settings, sent[start : start + 50])
        wait_until(lambda start=start: not missing(sent[: start + 50], verdicts(settings)), 30, "verdicts")  # type: ignore[misc]
    found = verdicts(settings)
    assert {found[each.transaction_id][0].model_version for each in sent} <= versions
