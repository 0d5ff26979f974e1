"""The journal's buffer when no Kafka is there."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ibook import metrics
from ibook.clock import ManualClock
from ibook.messages import QuoteIssued
from ibook.settings import Settings
from infra.local.processes import free_port, wait_until
from serving.journal import KafkaJournal, misfit
from tests.unit.test_spool import break_under

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(number: int) -> QuoteIssued:
    return QuoteIssued(
        message_id=f"q{number}", occurred_at=NOW, quote_id=f"q{number}", event_id="e", ticket_type="stalls",
        currency="GBP", price_minor=5000, slot=3, arm=1, propensity=0.4, policy_version=2, expires_at=NOW,
    )  # fmt: skip


def dropped() -> float:
    [metric] = metrics.JOURNAL_DROPPED.collect()
    return metric.samples[0].value


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(kafka_bootstrap=f"127.0.0.1:{free_port()}", journal_buffer=3, data_dir=tmp_path)


def test_a_full_buffer_refuses_entries_at_once_and_the_rest_waits_for_the_next_start(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = ManualClock(NOW)
    journal = KafkaJournal(settings, clock)
    journal.start()
    before = dropped()
    assert [journal.record(entry(number)) for number in range(5)] == [True, True, True, False, False]
    assert dropped() == before + 2
    assert journal.waiting() == 3
    assert wait_until(lambda: "does not answer" in journal.problem(), timeout_seconds=150)
    assert "3 quotes wait on disk, which has room for 3" in journal.problem()
    journal.stop()
    assert dropped() == before + 2
    assert "rdkafka" not in capfd.readouterr().err
    again = KafkaJournal(settings, clock)
    assert again.waiting() == 3
    assert not again.record(entry(9))
    again.stop()


def test_what_nobody_waits_for_any_more_is_dropped_and_counted(settings: Settings) -> None:
    clock = ManualClock(NOW)
    journal = KafkaJournal(settings, clock)
    before = dropped()
    assert all(journal.record(entry(number)) for number in range(3))
    clock.advance(timedelta(days=1))
    journal.start()
    assert wait_until(lambda: journal.waiting() == 0, timeout_seconds=150)
    assert dropped() == before + 3
    journal.stop()


def test_a_file_that_breaks_in_use_refuses_entries_and_the_journal_goes_on_in_a_new_one(settings: Settings) -> None:
    journal = KafkaJournal(settings, ManualClock(NOW))
    before = dropped()
    assert all(journal.record(entry(number)) for number in range(2))
    break_under(settings.data_dir / "serving" / f"journal-{settings.worker_name}.db")
    assert not journal.record(entry(2))
    assert "The quotes on disk can't be read" in journal.problem()
    assert dropped() == before + 1
    journal.start()
    assert wait_until(lambda: dropped() == before + 3, timeout_seconds=150), "what was on disk is lost, and counted"
    assert journal.record(entry(3))
    assert journal.waiting() == 1
    journal.stop()


@pytest.mark.parametrize(("found", "says"), [(0, "ibook topics apply"), (8, "8 partitions"), (4, "")])
def test_a_journal_whose_partitions_are_not_the_declared_ones_is_said(found: int, says: str) -> None:
    assert says in misfit(found, 4)
    assert bool(misfit(found, 4)) == bool(says)
