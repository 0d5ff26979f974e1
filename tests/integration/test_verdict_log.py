"""What a partition's verdict log says of the past, on real Kafka."""

from datetime import date

import pytest

from ibook.edges.kafka import Outgoing, producer, publish
from ibook.exploration import Spent
from ibook.settings import Settings
from ibook.topics import FRAUD_VERDICTS
from streams import verdict_log


def test_a_group_that_was_set_back_knows_its_oldest_answers_too(
    platform_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict_log, "MAX_TRANSACTIONS", 10)
    given = [
        Outgoing(topic=FRAUD_VERDICTS.name, key=f"t-{number}".encode(), value=b"{}", partition=0)
        for number in range(50)
    ]
    publish(producer(platform_settings), given)
    answered = verdict_log.answered_before(platform_settings, 0, broker_ms=0).answered
    assert [answered.known(f"t-{number}", b"") for number in (0, 49, 50)] == ["answered", "answered", "new"]


def test_what_chance_approved_on_the_latest_day_is_read_back(platform_settings: Settings) -> None:
    def given(name: str, *headers: tuple[str, bytes]) -> Outgoing:
        return Outgoing(topic=FRAUD_VERDICTS.name, key=name.encode(), value=b"{}", partition=1, headers=headers)

    today = [verdict_log.spent_header(Spent(date(2026, 3, 14), amount)) for amount in (4_000, 9_000)]
    before = verdict_log.spent_header(Spent(date(2026, 3, 13), 60_000))
    publish(producer(platform_settings), [given("a", before), given("b", today[0]), given("c", today[1]), given("d")])
    assert verdict_log.answered_before(platform_settings, 1, broker_ms=0).spent == Spent(date(2026, 3, 14), 9_000)
    assert verdict_log.answered_before(platform_settings, 2, broker_ms=0).spent is None
    publish(producer(platform_settings), [given("e", ("explored", b"?")), given("f", ("explored", b"2026-03-14 \xff"))])
    assert verdict_log.answered_before(platform_settings, 1, broker_ms=0).spent == Spent(date(2026, 3, 14), 9_000)
