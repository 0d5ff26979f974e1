"""The feature worker's parts on real Kafka and Redis: recovery in bulk, heartbeats that tell the truth, folding."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import rocksdict
from faust.types import TP
from redis import Redis

from ibook import metrics
from ibook.clock import ManualClock, to_us
from ibook.edges.kafka import Outgoing, producer, publish
from ibook.edges.online_store import OnlineStore
from ibook.entities import EntityUpdate, Fact, source_slot
from ibook.features import ENTITY_FEATURES, RealtimeMetrics
from ibook.settings import Settings
from ibook.states import StoredState, decode_state, encode_stored
from streams.activity_to_entities import Progress
from streams.folding import Folding, StateCache
from streams.push import Beat, Row, Vouching
from streams.realtime_metrics import RealtimeTicker
from streams.recovery import OFFSET_KEY, fill
from tests.feature_log import CHANGELOG, rows_of
from tests.traffic import read_all
from tests.workers import END_SECONDS, environment, wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_US = to_us(NOW)
DELETED_SHARE = 0.1

RECOVER = """
import os, sys
import faust
from ibook.settings import load_settings
from streams.app import create_app, raw_topic
from streams.state_table import StateTable
app = create_app("entities-to-features", load_settings())
StateTable(app, "states", load_settings().partitions)
if sys.argv[1] == "stock":
    app.tables._recovery = None
@app.agent(raw_topic(app, "entity-updates"), concurrency=1)
async def idle(stream):
    async for event in stream.noack().events():
        pass
sys.argv = sys.argv[:1]
faust.Worker(app, loglevel="warn", redirect_stdouts=False, quiet=True).execute_from_commandline()
"""
"""A worker that restores the table and does nothing else."""


def fill_changelog(settings: Settings, records: int, keys: int, seed: int = 0) -> None:
    """Values written over and over, and some deleted, in every partition."""
    rng = Random(seed)
    out = []
    for _ in range(records):
        key = rng.randrange(keys)
        value = None if rng.random() < DELETED_SHARE else rng.randbytes(rng.randrange(1, 400))
        partition = key % settings.partitions
        out.append(Outgoing(topic=CHANGELOG, key=f"card:{key}".encode(), value=value, partition=partition))
    publish(producer(settings), out)


def last_values(settings: Settings, partition: int) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    for at, _, key, value in sorted(read_all(settings, CHANGELOG), key=lambda row: row[:2]):
        if at == partition:
            assert key is not None
            rows.pop(key, None)
            if value is not None:
                rows[key] = value
    return rows


def open_table(path: Path) -> Any:
    return rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))


def contents(db: Any) -> tuple[dict[bytes, bytes], int]:
    rows = dict(db.items())
    return rows, int(rows.pop(OFFSET_KEY))


def recovered(settings: Settings, how: str) -> dict[str, dict[bytes, bytes]]:
    """The tables that a worker with this recovery makes of the changelog."""
    own = settings.model_copy(update={"data_dir": settings.data_dir / how})
    own.data_dir.mkdir()
    ready, log = own.data_dir / "ready", own.data_dir / "log"
    env = environment(own, IBOOK_READY_FILE=str(ready), IBOOK_WORKER_NAME=how)
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", RECOVER, how], env=env, stdout=output, stderr=output)
    try:
        wait_until(ready.exists, 60, f"the {how} recovery")
    finally:
        process.terminate()
        process.wait(END_SECONDS)
    tables = (own.data_dir / "tables" / f"entities-to-features-{how}").rglob("*.db")
    return {path.name: rows_of(str(path)) for path in tables}


def test_recovery_in_bulk_restores_what_fausts_own_does(platform_settings: Settings) -> None:
    fill_changelog(platform_settings, 8000, 1500)
    bulk = recovered(platform_settings, "bulk")
    assert bulk == recovered(platform_settings, "stock")
    found = [rows for rows in bulk.values() if rows]
    expected = [last_values(platform_settings, partition) for partition in range(platform_settings.partitions)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))


def test_a_table_is_filled_from_where_it_stands(platform_settings: Settings, tmp_path: Path) -> None:
    settings = platform_settings.model_copy()
    db, tp, go_on = open_table(tmp_path / "table"), TP(CHANGELOG, 1), threading.Event()
    fill_changelog(settings, 2000, 300)
    first = fill(settings.kafka_bootstrap, {tp: db}, go_on)
    assert fill(settings.kafka_bootstrap, {tp: db}, go_on) == 0
    fill_changelog(settings, 400, 300, seed=1)
    second = fill(settings.kafka_bootstrap, {tp: db}, go_on)
    assert contents(db) == (last_values(settings, 1), first + second - 1)


def test_a_table_ahead_of_its_changelog_is_restored_anew(platform_settings: Settings, tmp_path: Path) -> None:
    db, tp = open_table(tmp_path / "table"), TP(CHANGELOG, 0)
    db[b"card:of another life"] = b"x"
    db[OFFSET_KEY] = b"1000000"
    fill_changelog(platform_settings, 500, 100)
    taken = fill(platform_settings.kafka_bootstrap, {tp: db}, threading.Event())
    assert contents(db) == (last_values(platform_settings, 0), taken - 1)


def test_a_fill_that_is_stopped_leaves_a_prefix(platform_settings: Settings, tmp_path: Path) -> None:
    db, tp, stop = open_table(tmp_path / "table"), TP(CHANGELOG, 2), threading.Event()
    fill_changelog(platform_settings, 500, 100)
    stop.set()
    assert fill(platform_settings.kafka_bootstrap, {tp: db}, stop) == 0
    assert fill(platform_settings.kafka_bootstrap, {tp: db}, threading.Event()) > 0
    assert contents(db)[0] == last_values(platform_settings, 2)


# ----------------------------------------------------------------------------------------------------------- heartbeats
class Table:
    """A partition's table in memory."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def items(self, partition: int, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return ((key, value) for key, value in sorted(self.rows.items()) if key.startswith(prefix))

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def hold(self, offset: int, *updates: EntityUpdate) -> dict[tuple[Any, str], Row]:
        """Fold updates into it; the rows to push."""
        folding = Folding(StateCache(), self.rows.get)
        folding.fold(offset, updates)
        stored, rows = folding.encode()
        self.rows |= stored
        return rows


def seen(number: int, *, event: str = "e1", seconds: float = 0.0) -> EntityUpdate:
    """A look at an event."""
    fact = Fact("view", f"m-{number}", NOW_US + int(seconds * 1e6), {}, {"user": f"u{number}", "event": event})
    return EntityUpdate(source_slot("ticket-activity", 0), number, NOW_US // 1000, ["user", "event"], fact)


def beat(number: int) -> Beat:
    return Beat(f"beat {number}".encode(), NOW_US, number)


@pytest.fixture
def store(platform_settings: Settings) -> Iterator[OnlineStore]:
    online = OnlineStore(platform_settings)
    yield online
    online.close()


@pytest.fixture
def table() -> Table:
    return Table()


def vouching(store: OnlineStore, table: Table, now: datetime = NOW) -> Vouching:
    return Vouching(store, table, 1, ManualClock(now))  # type: ignore[arg-type]


def online_users(store: OnlineStore, *numbers: int) -> list[bool]:
    return [row is not None for row in store.read_states({"user": [f"u{n}" for n in numbers]})["user"]]


def test_a_clock_that_was_ahead_holds_no_heartbeat_up(store: OnlineStore, table: Table) -> None:
    vouching(store, table, NOW + timedelta(days=400)).push({}, {0: beat(1)})
    vouching(store, table, NOW).push({}, {0: beat(2)})
    assert store.read_heartbeats(1) == [b"beat 2"]


def test_a_store_emptied_between_reading_and_writing_a_heartbeat_has_none(
    store: OnlineStore, table: Table, platform_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, read = vouching(store, table), store.read_heartbeats
    worker.push(table.hold(1, seen(1)), {0: beat(1)})

    def read_then_lose(n_partitions: int) -> list[bytes | None]:
        found = read(n_partitions)
        with Redis.from_url(platform_settings.redis_url) as client:
            client.flushall()
        return found

    monkeypatch.setattr(store, "read_heartbeats", read_then_lose)
    worker.push(table.hold(2, seen(2)), {0: beat(2)})
    monkeypatch.undo()
    assert store.read_heartbeats(1) == [None]
    worker.push({}, {0: beat(3)})
    assert store.read_heartbeats(1) == [b"beat 3"]
    assert online_users(store, 1, 2) == [True, True]


def test_a_store_emptied_while_it_is_restored_is_restored_again(
    store: OnlineStore, table: Table, platform_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.hold(1, seen(1))
    worker, write = vouching(store, table), store.write_states

    def lose_then_write(*arguments: Any) -> None:
        with Redis.from_url(platform_settings.redis_url) as client:
            client.flushall()
        write(*arguments)

    monkeypatch.setattr(store, "write_states", lose_then_write)
    worker.push({}, {0: beat(1)})
    assert store.read_heartbeats(1) == [None]
    monkeypatch.undo()
    worker.push({}, {0: beat(1)})
    assert store.read_heartbeats(1) == [b"beat 1"]
    assert online_users(store, 1) == [True]


def test_a_store_that_came_back_older_is_restored(
    store: OnlineStore, table: Table, platform_settings: Settings
) -> None:
    worker = vouching(store, table)
    worker.push(table.hold(1, seen(1)), {0: beat(1)})
    with Redis.from_url(platform_settings.redis_url) as client:
        snapshot = {key: client.dump(key) for key in client.scan_iter()}
        worker.push(table.hold(2, seen(2)), {0: beat(2)})
        client.flushall()
        for key, value in snapshot.items():
            client.restore(key, 0, value)
    assert store.read_heartbeats(1) == [b"beat 1"]
    worker.push({}, {0: beat(3)})
    assert store.read_heartbeats(1) == [b"beat 3"]
    assert online_users(store, 1, 2) == [True, True]


def test_a_worker_that_reads_again_what_was_read_keeps_the_newer_heartbeat(store: OnlineStore, table: Table) -> None:
    vouching(store, table).push(table.hold(1, seen(1)), {0: beat(5)})
    worker, restored = vouching(store, table), _restored()
    for number in (3, 4):
        worker.push({}, {0: beat(number)})
        assert store.read_heartbeats(1) == [b"beat 5"]
    for number in (6, 7):
        worker.push({}, {0: beat(number)})
        assert store.read_heartbeats(1) == [f"beat {number}".encode()]
    assert _restored() == restored


def _restored() -> float:
    return float(metrics.STORE_RESTORED._value.get())


def test_a_worker_that_takes_over_goes_on_without_restoring(store: OnlineStore, table: Table) -> None:
    vouching(store, table).push(table.hold(1, seen(1)), {0: beat(1)})
    restored = _restored()
    vouching(store, table).push(table.hold(2, seen(2)), {0: beat(2)})
    assert store.read_heartbeats(1) == [b"beat 2"]
    assert _restored() == restored


def test_what_is_sent_before_the_broker_has_said_where_we_stand_counts() -> None:
    tp, other = TP("ticket-activity", 0), TP("ticket-activity", 1)
    progress = Progress()
    progress.advance(tp, 41, NOW_US)
    progress.assign({tp: 30, other: 7})
    assert progress.sent() == {tp: 41, other: 6}
    progress.forget()
    progress.assign({tp: 30})
    assert progress.sent() == {tp: 29}


# ----------------------------------------------------------------------------------------------- folding, plain columns
def test_a_late_update_is_counted_and_still_pushed(store: OnlineStore, table: Table) -> None:
    worker = vouching(store, table)
    worker.push(table.hold(1, seen(1)), {0: beat(1)})
    late = metrics.UPDATES_SKIPPED.labels("late")._value.get()
    rows = table.hold(2, seen(2, seconds=-40 * 86400))
    assert metrics.UPDATES_SKIPPED.labels("late")._value.get() > late
    worker.push(rows, {0: beat(2)})
    row = store.read_states({"event": ["e1"]})["event"][0]
    assert row is not None
    assert decode_state(row).positions == {source_slot("ticket-activity", 0): 2}


def test_a_cache_gives_back_what_it_was_given_and_keeps_its_bound() -> None:
    cache, states = StateCache(limit_bytes=250), {}
    for number in range(10):
        states[number] = StoredState(ENTITY_FEATURES["card"].layout.empty(), [number])
        cache.put(str(number).encode(), states[number], 100)
    assert cache.take(b"9") is states[9]
    assert cache.take(b"8") is states[8]
    assert [cache.take(str(number).encode()) for number in range(8)] == [None] * 8
    assert cache.take(b"9") is None


def test_folding_with_a_warm_cache_gives_the_same_rows_as_without() -> None:
    updates = [seen(number, event=f"e{number % 3}", seconds=number / 7) for number in range(300)]
    rows: list[dict[bytes, bytes]] = []
    for cache in (StateCache(), StateCache(limit_bytes=0)):
        held: dict[bytes, bytes] = {}
        for start in range(0, len(updates), 20):
            folding = Folding(cache, held.get)
            folding.fold(start, updates[start : start + 20])
            held |= folding.encode()[0]
        rows.append(held)
    expected: dict[bytes, StoredState] = {}
    layout = ENTITY_FEATURES["event"].layout
    for number, update in enumerate(updates):
        stored = expected.setdefault(f"event:{update.fact.ids['event']}".encode(), StoredState(layout.empty(), []))
        layout.fold_stored(stored, update, number // 20 * 20)
    assert rows[0] == rows[1]
    assert {key: rows[0][key] for key in expected} == {key: encode_stored(value) for key, value in expected.items()}


class Columns:
    """Notes the plain columns that are written."""

    def __init__(self) -> None:
        self.written: list[tuple[str, int]] = []

    def write_realtime_metrics(self, rows: list[tuple[str, RealtimeMetrics, int]]) -> None:
        self.written += [(key, row.concurrent_viewers) for key, row, _ in rows]


async def test_quiet_events_are_pushed_until_their_windows_are_empty_and_again_in_a_new_era(table: Table) -> None:
    from concurrent.futures import ThreadPoolExecutor

    class Pusher:
        thread = ThreadPoolExecutor(max_workers=1)
        era = 1

        def eras(self) -> dict[int, int]:
            return {0: self.era}

    clock, columns, pusher = ManualClock(NOW), Columns(), Pusher()
    ticker = RealtimeTicker(columns, table, pusher, clock)  # type: ignore[arg-type]
    ticker.touched(0, table.hold(1, seen(1)))
    await ticker.tick({0})
    clock.advance(timedelta(minutes=9))
    await ticker.tick({0})
    clock.advance(timedelta(minutes=2))
    await ticker.tick({0})
    await ticker.tick({0})
    assert columns.written == [("e1", 1), ("e1", 0), ("e1", 0)]
    pusher.era = 2
    await ticker.tick({0})
    assert columns.written[3:] == [("e1", 0)]
    pusher.thread.shutdown()
