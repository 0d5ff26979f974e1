"""States count with the heartbeats that were read with them."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from ibook.clock import ManualClock
from ibook.edges.feature_reader import PAUSE_SECONDS, FeatureReader
from ibook.entities import EntityName
from ibook.errors import FeatureUnavailable
from ibook.heartbeat import Heartbeat, encode_heartbeat

KEYS: dict[EntityName, list[str]] = {"card": ["c"], "user": []}
BEAT = Heartbeat(200, {1: 20}, 5)


class Store:
    """One partition, with what its heartbeat row holds."""

    def __init__(self, beat: bytes | None) -> None:
        self._beat = beat

    def read(
        self, keys: Mapping[EntityName, Sequence[str]], n_partitions: int
    ) -> tuple[dict[EntityName, list[bytes | None]], list[bytes | None]]:
        return {entity: [b"state" for _ in wanted] for entity, wanted in keys.items()}, [self._beat] * n_partitions


def reader(beat: bytes | None) -> FeatureReader:
    return FeatureReader(Store(beat), 1, 5.0, ManualClock(datetime(2026, 3, 1, tzinfo=UTC)))  # type: ignore[arg-type]


async def test_states_are_as_old_as_the_heartbeat_read_with_them() -> None:
    reading = await reader(encode_heartbeat(BEAT)).read(KEYS)
    assert reading.heartbeats == [BEAT]
    assert reading.states == {"card": [b"state"], "user": []}
    assert reading.staleness_seconds(1_000_200) == 1.0


async def test_a_store_without_a_heartbeat_is_read_and_vouched_for_by_nobody() -> None:
    assert (await reader(None).read(KEYS)).staleness_seconds(300) is None


async def test_a_heartbeat_that_can_not_be_read_vouches_for_nothing() -> None:
    assert (await reader(b"\xc1").read(KEYS)).staleness_seconds(300) is None


class SilentStore(Store):
    """Answers only while it is not silent."""

    def __init__(self) -> None:
        super().__init__(encode_heartbeat(BEAT))
        self.begun, self.answers = threading.Event(), threading.Event()
        self.asked = 0

    def read(
        self, keys: Mapping[EntityName, Sequence[str]], n_partitions: int
    ) -> tuple[dict[EntityName, list[bytes | None]], list[bytes | None]]:
        self.asked += 1
        self.begun.set()
        self.answers.wait(120)
        return super().read(keys, n_partitions)


async def test_a_silent_store_holds_one_batch_for_the_bound_and_the_next_ones_not_at_all() -> None:
    store, clock = SilentStore(), ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    reading = FeatureReader(store, 1, 0.01, clock)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(FeatureUnavailable):
            await reading.read(KEYS)
        clock.advance(timedelta(seconds=2 * PAUSE_SECONDS))
    assert await asyncio.to_thread(store.begun.wait, 60)
    assert store.asked == 1, "while a read hangs none is begun"
    store.answers.set()


async def test_a_store_that_answers_again_is_read_again_by_itself() -> None:
    store, clock = SilentStore(), ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    reading = FeatureReader(store, 1, 0.01, clock)  # type: ignore[arg-type]
    with pytest.raises(FeatureUnavailable):
        await reading.read(KEYS)
    store.answers.set()
    with pytest.raises(FeatureUnavailable, match="left alone"):
        await reading.read(KEYS)
    assert reading._pending is not None
    await asyncio.wait([reading._pending], timeout=60)
    clock.advance(timedelta(seconds=2 * PAUSE_SECONDS))
    reading._bound_seconds = 60.0
    assert (await reading.read(KEYS)).heartbeats == [BEAT]
