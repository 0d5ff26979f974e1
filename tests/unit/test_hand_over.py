"""Partitions that move while the verdict worker reads: nobody is judged without a past."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ibook.answered import Answered
from ibook.clock import ManualClock
from ibook.codec import encode
from ibook.edges.champion import Running
from ibook.edges.feature_reader import Reading
from ibook.fraud import load_policy
from ibook.heartbeat import Heartbeat
from ibook.settings import Settings
from streams import purchases_to_verdicts
from streams.publish import Record
from streams.purchases_to_verdicts import Worker
from streams.verdict_log import TRANSACTION_HEADER
from tests.traffic import purchase

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Reader:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(self, keys: dict[Any, Sequence[str]]) -> Reading:
        if keys:
            self.asked.set()
            await self.go_on.wait()
        return Reading({entity: [None] * len(wanted) for entity, wanted in keys.items()}, [Heartbeat(0, {}, 1)])

    def recovered(self) -> None:
        pass


class Stage:
    """A worker, its assignment and what it published."""

    def __init__(self) -> None:
        self.app: Any = SimpleNamespace(flow_control=SimpleNamespace(is_active=lambda: True), consumer_generation_id=1)
        self.reader = Reader()
        self.published: list[Record] = []
        self.acknowledged: list[int] = []
        self.learned = 0
        champion: Any = SimpleNamespace(running=Running(), wait=lambda seconds: True)
        self.worker = Worker(self.app, Settings(), self.reader, champion, load_policy(), ManualClock(NOW))  # type: ignore[arg-type]

    def learn(self, *_: object) -> Answered:
        self.learned += 1
        return Answered()

    async def publish_all(self, app: object, topic: str, records: dict[int, list[Record]]) -> None:
        self.published += [record for found in records.values() for record in found]

    def batch(self) -> list[Any]:
        """A purchase, and one that nobody can read."""
        return [self._event(0, encode(purchase("t0", now=NOW))), self._event(1, b"?")]

    def _event(self, offset: int, value: bytes) -> Any:
        message = SimpleNamespace(
            topic="ticket-purchases", partition=0, offset=offset, timestamp=NOW.timestamp(), value=value, key=b"",
            headers=[(TRANSACTION_HEADER, f"t{offset}".encode())], generation_id=self.app.consumer_generation_id,
        )  # fmt: skip
        return SimpleNamespace(app=self.app, message=message, ack=lambda: self.acknowledged.append(offset))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    async def nothing(*_: object, **__: object) -> None:
        return None

    made = Stage()
    monkeypatch.setattr(purchases_to_verdicts, "HAND_OVER_SECONDS", 0.01)
    monkeypatch.setattr(purchases_to_verdicts, "answered_before", made.learn)
    monkeypatch.setattr(purchases_to_verdicts, "purchases_before", lambda *_: [])
    monkeypatch.setattr(purchases_to_verdicts, "publish_all", made.publish_all)
    monkeypatch.setattr(purchases_to_verdicts, "publish_dead_letters", nothing)
    return made


async def test_a_batch_whose_partitions_moved_while_it_was_read_is_left_to_the_next_holder(stage: Stage) -> None:
    at_work = asyncio.create_task(stage.worker.handle(stage.batch()))
    await stage.reader.asked.wait()
    await stage.worker.hand_over()
    stage.app.consumer_generation_id = 2
    stage.reader.go_on.set()
    await at_work
    assert (stage.published, stage.acknowledged) == ([], [])
    await stage.worker.handle(stage.batch())
    await stage.worker.hand_over()
    assert {record.key for record in stage.published} == {b"t0", b"t1"}
    assert (stage.acknowledged, stage.learned) == ([0, 1], 2)


async def test_a_batch_that_is_dropped_before_the_hand_over_is_not_taken_for_answered(stage: Stage) -> None:
    at_work = asyncio.create_task(stage.worker.handle(stage.batch()))
    await stage.reader.asked.wait()
    stage.app.consumer_generation_id = 2
    stage.reader.go_on.set()
    await at_work
    assert stage.published == []
    await stage.worker.handle(stage.batch())
    await stage.worker.hand_over()
    assert {record.key for record in stage.published} == {b"t0", b"t1"}


async def test_a_hand_over_that_cannot_wait_takes_nothing_from_the_batch_at_work(stage: Stage) -> None:
    at_work = asyncio.create_task(stage.worker.handle(stage.batch()))
    await stage.reader.asked.wait()
    await stage.worker.hand_over()
    stage.reader.go_on.set()
    await at_work
    await stage.worker.hand_over()
    assert {record.key for record in stage.published} == {b"t0", b"t1"}
