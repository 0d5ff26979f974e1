"""What the workers' consumers tell of themselves."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from ibook.settings import Settings
from streams.app import create_app

BUSY = SimpleNamespace(highwater=900, position=200, timestamp=1)
SILENT = SimpleNamespace(highwater=None, position=None, timestamp=None)


async def complaints(settings: Settings, state: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is logged of a partition in this state a quarter of an hour after the start."""
    app = create_app("test-complaints", settings)
    app.finalize()
    thread: Any = app.consumer._new_consumer_thread()  # type: ignore[attr-defined]
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    subscriptions = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    thread._consumer = SimpleNamespace(_fetcher=SimpleNamespace(_subscriptions=subscriptions))
    app.topics.acks_enabled_for = lambda topic: True  # type: ignore[method-assign]
    thread.time_started = -900.0
    with caplog.at_level(logging.ERROR):
        thread.verify_event_path(0.0, TP("ticket-purchases", 0))
    return [record.message for record in caplog.records]


async def test_a_partition_that_is_read_but_not_at_its_end_is_no_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert await complaints(Settings(data_dir=tmp_path), BUSY, caplog) == []


async def test_a_partition_that_was_never_fetched_is_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (complaint,) = await complaints(Settings(data_dir=tmp_path), SILENT, caplog)
    assert "fetch" in complaint
