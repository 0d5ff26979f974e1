"""What a partition's verdict log says of the past, on real Kafka."""

import pytest

from ibook.edges.kafka import Outgoing, producer, publish
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
    answered = verdict_log.answered_before(platform_settings, 0, broker_ms=0)
    assert [answered.known(f"t-{number}", b"") for number in (0, 49, 50)] == ["answered", "answered", "new"]
