"""Heartbeats vouch for no row that a store lost, whatever moment it comes back from."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ibook.clock import ManualClock
from ibook.entities import EntityName, Watermark
from ibook.errors import FeatureUnavailable
from ibook.heartbeat import Heartbeat, decode_heartbeat, expected_sources
from ibook.states import StoredState, WindowState, encode_measures, encode_stored
from streams.push import Pusher, Row

MARKS = [Watermark(source, 10, 500) for source in sorted(expected_sources(1))]


class Store:
    """The online store in a dictionary: rows that are not newer are dropped, a heartbeat counts in its era alone."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[int, bytes]] = {}
        self.beats: dict[int, tuple[int, int, bytes]] = {}
        self.eras: dict[int, int] = {}
        self.beats_fail = False

    def snapshot(self) -> dict[str, Any]:
        return deepcopy(self.__dict__)

    def come_back_as(self, snapshot: dict[str, Any]) -> None:
        self.__dict__.update(deepcopy(snapshot))

    def write_states(self, entity: EntityName, rows: Sequence[tuple[str, bytes, int]]) -> None:
        for key, payload, stamp in rows:
            if stamp > self.states.get(key, (0, b""))[0]:
                self.states[key] = stamp, payload

    def read_heartbeats(self, n_partitions: int) -> list[bytes | None]:
        found = [self.beats.get(p) for p in range(n_partitions)]
        return [beat[2] if beat and beat[1] == self.eras.get(p) else None for p, beat in enumerate(found)]

    def write_heartbeat(self, partition: int, payload: bytes, stamp_us: int, era: int = 0) -> None:
        if self.beats_fail:
            raise FeatureUnavailable("no heartbeat is taken")
        if partition not in self.beats or stamp_us > self.beats[partition][0]:
            self.beats[partition] = stamp_us, era, payload

    def begin_era(self, partition: int, era: int) -> None:
        self.eras[partition] = max(era, self.eras.get(partition, 0))

    def read_eras(self, n_partitions: int) -> list[int]:
        return [self.eras.get(p, 0) for p in range(n_partitions)]

    def beat(self) -> Heartbeat | None:
        (payload,) = self.read_heartbeats(1)
        return None if payload is None else decode_heartbeat(payload)


class Table:
    """What the worker knows: the newest row of every card."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, bytes]] = {}

    def items(self, partition: int, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return ((f"card:{key}".encode(), stored) for key, (_, stored) in self.rows.items())


class Worker:
    """Folds records of partition 0 and pushes."""

    def __init__(self, store: Store, table: Table) -> None:
        self._table = table
        app = SimpleNamespace(flow_control=SimpleNamespace(is_active=lambda: True), consumer_generation_id=1)
        self._app = app
        self.acknowledged: list[int] = []
        clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
        self._pusher = Pusher(store, table, 1, clock)  # type: ignore[arg-type]

    def fold(self, offset: int, key: str, *, marks: Sequence[Watermark] = ()) -> None:
        """A record changes a card."""
        state = WindowState(
            layout=1, measures=encode_measures({}), resolution="fine", stamp_us=offset + 1, updates_offset=offset
        )
        stored = encode_stored(StoredState(state, []))
        self._table.rows[key] = offset + 1, stored
        message = SimpleNamespace(offset=offset, partition=0, generation_id=1)
        event: Any = SimpleNamespace(app=self._app, message=message, ack=lambda: self.acknowledged.append(offset))
        self._pusher.add(0, {("card", key): Row(stored, offset + 1, 0)}, marks, [event])

    async def flush(self) -> None:
        await self._pusher.flush({0})


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def table() -> Table:
    return Table()


async def test_rows_lost_without_a_change_of_marks_are_found_out(store: Store, table: Table) -> None:
    worker = Worker(store, table)
    worker.fold(0, "a", marks=MARKS)
    await worker.flush()
    replica = store.snapshot()
    worker.fold(1, "b")
    await worker.flush()
    store.come_back_as(replica)
    worker.fold(2, "c", marks=[Watermark(MARKS[0].source, 11, 600)])
    await worker.flush()
    assert set(store.states) == {"a", "b", "c"}
    beat = store.beat()
    assert beat is not None
    assert beat.updates_offset == 2


async def test_every_push_of_new_rows_is_followed_by_a_newer_heartbeat(store: Store, table: Table) -> None:
    worker, seen = Worker(store, table), []
    for offset in range(3):
        worker.fold(offset, "a", marks=MARKS if offset == 0 else ())
        await worker.flush()
        seen.append(store.beats[0])
    assert [stamp for stamp, *_ in seen] == [1, 2, 3]
    assert len({payload for *_, payload in seen}) == 3


async def test_a_restarted_worker_goes_on_from_the_offsets(store: Store, table: Table) -> None:
    before = Worker(store, table)
    for offset in range(3):
        before.fold(offset, "a", marks=MARKS)
        await before.flush()
    after = Worker(store, table)
    for offset, expected in ((1, 2), (2, 2), (3, 3)):  # offset 1 on was not committed
        after.fold(offset, "a", marks=MARKS)
        await after.flush()
        beat = store.beat()
        assert beat is not None
        assert beat.updates_offset == expected


async def test_a_heartbeat_that_was_not_taken_is_written_with_the_next_push(
    store: Store, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.push.asyncio.sleep", _no_sleep)
    worker = Worker(store, table)
    worker.fold(0, "a", marks=MARKS)
    await worker.flush()
    worker.fold(1, "b")
    store.beats_fail = True
    await worker.flush()
    assert worker.acknowledged == [0]
    store.beats_fail = False
    await worker.flush()
    beat = store.beat()
    assert beat is not None
    assert beat.updates_offset == 1
    assert worker.acknowledged == [0, 1]


async def _no_sleep(_: float) -> None:
    return None
