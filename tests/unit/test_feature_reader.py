"""States count only with heartbeats that were there before them and still are after."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from ibook.clock import ManualClock
from ibook.entities import EntityName
from ibook.errors import FeatureUnavailable
from ibook.heartbeat import Heartbeat, encode_heartbeat
from streams.feature_reader import FeatureReader

KEYS: dict[EntityName, list[str]] = {"card": ["c"], "user": []}
OLD, NEW = Heartbeat(100, {1: 10}, 4), Heartbeat(200, {1: 20}, 5)


class Store:
    """One partition; something happens right before the states are read."""

    def __init__(self, beat: Heartbeat | None, happens: Callable[["Store"], None] = lambda _: None) -> None:
        self.beat = beat
        self.rows: dict[str, bytes] = {"c": b"state"}
        self.beats_read = 0
        self._happens = happens

    def read_heartbeats(self, n_partitions: int) -> list[bytes | None]:
        self.beats_read += 1
        return [encode_heartbeat(self.beat) if self.beat else None]

    def read_states(self, keys: Mapping[EntityName, Sequence[str]]) -> dict[EntityName, list[bytes | None]]:
        self._happens(self)
        return {entity: [self.rows.get(key) for key in wanted] for entity, wanted in keys.items()}


def reader(store: Store) -> FeatureReader:
    return FeatureReader(store, 1, 5.0, ManualClock(datetime(2026, 3, 1, tzinfo=UTC)))  # type: ignore[arg-type]


def emptied(store: Store) -> None:
    store.beat, store.rows = None, {}


def becomes(beat: Heartbeat) -> Callable[[Store], Any]:
    return lambda store: setattr(store, "beat", beat)


@pytest.mark.parametrize("happens", [emptied, becomes(OLD)], ids=["emptied", "came back older"])
async def test_rows_lost_while_states_are_read_make_the_reading_void(happens: Callable[[Store], None]) -> None:
    with pytest.raises(FeatureUnavailable):
        await reader(Store(NEW, happens)).read(KEYS)


async def test_the_heartbeat_read_before_the_states_is_the_one_that_counts() -> None:
    reading = await reader(Store(OLD, becomes(NEW))).read(KEYS)
    assert reading.heartbeats == [OLD]
    assert reading.states == {"card": [b"state"], "user": []}


async def test_a_store_that_is_not_whole_is_read_and_vouched_for_by_nobody() -> None:
    reading = await reader(Store(None, becomes(NEW))).read(KEYS)
    assert reading.staleness_seconds(300) is None


async def test_heartbeats_alone_are_read_once() -> None:
    store = Store(OLD)
    assert (await reader(store).read({})).heartbeats == [OLD]
    assert store.beats_read == 1
