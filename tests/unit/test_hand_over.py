"""Partitions that move while the verdict worker reads: nobody is judged without a past."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ibook.answered import Answered
from ibook.clock import ManualClock
from ibook.codec import encode
from ibook.edges import scoring
from ibook.edges.champion import Running
from ibook.edges.feature_reader import Reading
from ibook.edges.policy_in_force import PolicyInForce
from ibook.errors import OwnCodeFails
from ibook.exploration import Spent
from ibook.failing import MANY
from ibook.features import vector_of
from ibook.fraud import Decision, decide_all
from ibook.heartbeat import Heartbeat
from ibook.letters import TRANSACTION_HEADER
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from streams import purchases_to_verdicts
from streams.holding import HOLD
from streams.publish import Record
from streams.purchases_to_verdicts import Worker
from streams.verdict_log import Told
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
        self.learned = self.read = 0
        self.clock = ManualClock(NOW)
        self.spent: Spent | None = None
        champion: Any = SimpleNamespace(running=Running(), wait=lambda seconds: True)
        self.worker = Worker(self.app, Settings(own_failures=3), self.reader, champion, PolicyInForce(), self.clock)  # type: ignore[arg-type]

    def learn(self, *_: object) -> Told:
        self.learned += 1
        return Told(Answered(), self.spent)

    async def publish_all(self, app: object, topic: str, records: dict[int, list[Record]]) -> None:
        self.published += [record for found in records.values() for record in found]

    def actions(self) -> dict[str, str]:
        """What the verdicts say, by transaction."""
        told = (json.loads(record.value or b"") for record in self.published)
        return {each["transaction_id"]: each["action"] for each in told if each["type"] == "fraud_verdict.v1"}

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


# ---------------------------------------------------------------------------------------------- our own code that fails
def breaks(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deploy whose features fail on these transactions."""
    sound = vector_of

    def broken(bought: PurchaseRequested, *others: Any) -> Any:
        if bought.transaction_id[0] in names:
            raise KeyError("amount")
        return sound(bought, *others)

    monkeypatch.setattr(scoring, "vector_of", broken)


async def handled(stage: Stage, *names: str) -> None:
    """Purchases read one by one; a name with `?` is unreadable."""
    stage.reader.go_on.set()
    for name in names:
        offset = stage.read
        stage.read += 1
        payload = b"?" if "?" in name else encode(purchase(name, now=NOW, key=str(offset)))
        await stage.worker.handle([stage._event(offset, payload)])
        await stage.worker._arrived()


async def test_a_purchase_our_code_fails_on_is_reviewed_once_the_next_one_goes_well(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks("x", monkeypatch)
    await handled(stage, "a0", "x1", "x2")
    assert stage.acknowledged == [0]
    await handled(stage, "a3")
    assert stage.acknowledged == [0, 1, 2, 3]
    assert stage.actions() == {"a0": "approve", "x1": "review", "x2": "review", "a3": "approve"}


async def test_a_lone_one_is_reviewed_after_a_while(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks("x", monkeypatch)
    await handled(stage, "x0")
    await stage.worker.answer_held()
    assert stage.acknowledged == []
    stage.clock.advance(HOLD)
    await stage.worker.answer_held()
    await stage.worker._arrived()
    assert (stage.acknowledged, stage.actions()) == ([0], {"x0": "review"})


async def test_its_dead_letter_is_durable_before_its_verdict(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    answered_by_then: list[dict[str, str]] = []

    async def letters(app: object, rejected: Sequence[Any], **_: object) -> None:
        if rejected:
            await asyncio.sleep(0)
            answered_by_then.append(stage.actions())

    monkeypatch.setattr(purchases_to_verdicts, "publish_dead_letters", letters)
    await handled(stage, "?")
    assert (answered_by_then, stage.actions()) == ([{}], {"t0": "review"})


async def test_one_after_another_stops_the_worker_and_none_is_acknowledged_or_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks("x", monkeypatch)
    await handled(stage, "a0")
    with pytest.raises(OwnCodeFails, match="3 different messages in a row"):
        await handled(stage, "x1", "?", "x2", "?", "x3")
    assert set(stage.actions()) == {"a0", "t2", "t4"}
    assert stage.acknowledged == [0, 2, 4], "an offset is committed only when all before it are acknowledged"


async def test_a_bug_in_every_other_purchase_stops_the_worker_after_few_were_answered_with_review(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks("x", monkeypatch)
    with pytest.raises(OwnCodeFails, match="41 of the last 82 messages"):
        await handled(stage, *(f"{'ax'[number % 2]}{number}" for number in range(200)))
    assert list(stage.actions().values()).count("review") == MANY
    assert max(stage.acknowledged) == 80
    assert len(stage.acknowledged) == 41 + MANY, "what is held keeps the offsets behind it from being committed"


async def test_a_purchase_that_cannot_be_decided_takes_nobody_of_its_batch_with_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decides(scores: Any, matrix: Any, wanted: Sequence[PurchaseRequested], *others: Any) -> Any:
        if any(each.transaction_id.startswith("x") for each in wanted):
            raise ZeroDivisionError
        return decide_all(scores, matrix, wanted, *others)

    monkeypatch.setattr(scoring, "decide_all", decides)
    stage.reader.go_on.set()
    names = ["a0", "x1", "a2"]
    await stage.worker.handle([
        stage._event(offset, encode(purchase(name, now=NOW, key=name))) for offset, name in enumerate(names)
    ])  # fmt: skip
    await stage.worker._arrived()
    assert stage.actions() == {"a0": "approve", "x1": "review", "a2": "approve"}
    assert stage.acknowledged == [0, 1, 2]


async def test_what_a_publisher_broke_never_stops_the_worker(stage: Stage) -> None:
    await handled(stage, *["?"] * 50)
    assert stage.acknowledged == list(range(50))


async def test_what_is_held_when_partitions_move_is_left_to_the_next_holder(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks("x", monkeypatch)
    await handled(stage, "x0")
    await stage.worker.hand_over()
    stage.clock.advance(HOLD)
    await stage.worker.answer_held()
    assert (stage.acknowledged, stage.actions()) == ([], {})


# ------------------------------------------------------------------------------------------ what chance may approve
def lets_chance_approve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each purchase is a would-be decline that the slice has drawn."""
    drawn = Decision("approve", "highest", 0.6, (), 0.02, True)
    monkeypatch.setattr(scoring, "decide_all", lambda scores, *_: [drawn] * len(scores))


def told_of(record: Record) -> dict[str, bytes]:
    return {str(name): value for name, value in record.headers}


async def test_what_chance_approves_is_counted_on_the_verdicts_until_the_partitions_part_of_the_day_is_spent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lets_chance_approve(monkeypatch)
    await handled(stage, "a0", "a1", "a2", "a3")  # 5,000 each, of a part of 15,000
    assert list(stage.actions().values()) == ["approve"] * 3 + ["decline"]
    verdicts = [record for record in stage.published if record.headers]
    assert [told_of(each)["explored"] for each in verdicts] == [
        b"2026-03-01 5000", b"2026-03-01 10000", b"2026-03-01 15000", b"2026-03-01 15000",
    ]  # fmt: skip


async def test_the_next_holder_of_a_partition_goes_on_with_what_was_spent_there(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lets_chance_approve(monkeypatch)
    stage.spent = Spent(NOW.date(), 8_000)
    await handled(stage, "a0", "a1")
    assert stage.actions() == {"a0": "approve", "a1": "decline"}
    evidence = [json.loads(each.value or b"") for each in stage.published if not each.headers]
    assert [(each["explored"], each["propensity"]) for each in evidence] == [(True, 0.02), (False, 1.0)]
    assert [each.get("exploration_closed", False) for each in evidence] == [False, True]
    await stage.worker.hand_over()
    stage.clock.advance(timedelta(days=1))
    await handled(stage, "b2", "b3", "b4", "b5")
    assert [stage.actions()[name] for name in ("b2", "b3", "b4", "b5")] == ["approve"] * 3 + ["decline"]
