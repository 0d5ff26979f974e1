"""The journal's buffer when no Kafka is there."""

from datetime import UTC, datetime

import pytest

from ibook import metrics
from ibook.messages import QuoteIssued
from ibook.settings import Settings
from infra.local.processes import free_port, wait_until
from serving.journal import KafkaJournal


def entry(number: int) -> QuoteIssued:
    now = datetime.now(UTC)
    return QuoteIssued(
        message_id=f"q{number}", occurred_at=now, quote_id=f"q{number}", event_id="e", ticket_type="stalls",
        currency="GBP", price_minor=5000, slot=3, arm=1, propensity=0.4, policy_version=2, expires_at=now,
    )  # fmt: skip


def dropped() -> float:
    [metric] = metrics.JOURNAL_DROPPED.collect()
    return metric.samples[0].value


def test_a_full_buffer_refuses_entries_at_once_and_counts_them(capfd: pytest.CaptureFixture[str]) -> None:
    journal = KafkaJournal(Settings(kafka_bootstrap=f"127.0.0.1:{free_port()}", journal_buffer=3))
    journal.start()
    before = dropped()
    assert [journal.record(entry(number)) for number in range(5)] == [True, True, True, False, False]
    assert dropped() == before + 2
    assert journal.waiting() == 3
    assert wait_until(lambda: bool(journal.problem()), timeout_seconds=150)
    assert "3 quotes wait in memory, which has room for 3" in journal.problem()
    journal.stop()
    assert dropped() == before + 5
    assert "rdkafka" not in capfd.readouterr().err
