"""Entity updates -> window states in a table -> the online store.

Order, always: changelog acknowledged, pushed to the online store, input acknowledged. A redelivered update changes no
state but still marks its entity for a push.
"""

import asyncio
from collections.abc import Iterator, Sequence

import faust
import structlog
from faust.types import TP, AppT

from ibook import metrics
from ibook.clock import Clock, SystemClock
from ibook.edges.online_store import OnlineStore
from ibook.entities import EntityUpdates, unpack
from ibook.errors import InvalidMessage
from ibook.settings import Settings
from ibook.topics import ENTITY_UPDATES
from streams.app import Event, Stream, assigned_partitions, create_app, raw_topic
from streams.batches import each_batch, is_ours
from streams.fetching import GATHERING_SECONDS
from streams.folding import Folding, StateCache
from streams.leaving import every
from streams.push import FLUSH_SECONDS, EntityKey, Pusher, Row
from streams.realtime_metrics import RealtimeTicker
from streams.state_table import StateTable

log = structlog.get_logger()

NAME = "entities-to-features"
TABLE = "states"
LINGER_SECONDS = 0.01
"""What one fetch brought is folded together and shares one changelog batch: it takes a moment to be handed over."""
UPDATES_AT_ONCE = 1000
"""The event loop stands still while they are folded, some 0.1 s: heartbeats and the watchdog must not wait longer."""

Read = tuple[Event, EntityUpdates]


class Folder:
    """Folds batches into the table and hands the states to the pusher."""

    def __init__(self, table: StateTable, pusher: Pusher, ticker: RealtimeTicker) -> None:
        self._table = table
        self._pusher = pusher
        self._ticker = ticker
        self._cache = StateCache()
        self._lock = asyncio.Lock()

    async def handle(self, batch: Sequence[Event]) -> None:
        """Fold a batch. The pusher acknowledges it."""
        for records in _portions(batch):
            async with self._lock:
                await self._fold(records)
            await self._pusher.room()

    async def hand_over(self) -> None:
        """Partitions are about to move: finish the write at hand and touch them no more.

        A write ends within `DURABLE_WITHIN_SECONDS`, or the process does: a later one would undo the next holder's.
        """
        async with self._lock:
            self._cache.clear()
            self._pusher.forget()
            self._ticker.forget()

    async def _fold(self, records: Sequence[Read]) -> None:
        """Fold all partitions, then write them at once: their changelogs share a request to the broker."""
        ours: dict[int, list[Read]] = {}
        for event, record in records:
            if is_ours(event):
                ours.setdefault(event.message.partition, []).append((event, record))
        folded = {partition: self._folded(partition, each) for partition, each in ours.items()}
        await asyncio.gather(*(self._table.write(partition, stored) for partition, (stored, _) in folded.items()))
        for partition, (_, rows) in folded.items():
            marks = [mark for _, record in ours[partition] for mark in record.watermarks]
            self._pusher.add(partition, rows, marks, [event for event, _ in ours[partition]])
            self._ticker.touched(partition, rows)

    def _folded(self, partition: int, records: Sequence[Read]) -> tuple[dict[bytes, bytes], dict[EntityKey, Row]]:
        folding = Folding(self._cache, lambda key: self._table.get(partition, key))
        for event, record in records:
            folding.fold(event.message.offset, record.updates)
        return folding.encode()


def _portions(events: Sequence[Event]) -> Iterator[list[Read]]:
    """Records of all partitions in order, so many at once as hold no more than `UPDATES_AT_ONCE` updates."""
    portion: list[Read] = []
    count = 0
    for event in events:
        record = _read(event)
        if portion and count + len(record.updates) > UPDATES_AT_ONCE:
            yield portion
            portion, count = [], 0
        portion.append((event, record))
        count += len(record.updates)
    yield portion


def _read(event: Event) -> EntityUpdates:
    try:
        return unpack(event.message.value or b"")
    except InvalidMessage as error:
        # Only we write this topic: nothing is lost that its source topic does not hold.
        metrics.DEAD_LETTERS.labels(ENTITY_UPDATES.name, error.reason).inc()
        log.error("unreadable entity update", partition=event.message.partition, offset=event.message.offset)
        return EntityUpdates()


def create(settings: Settings, clock: Clock | None = None) -> faust.App:
    """The worker's Faust app."""
    clock = clock or SystemClock()
    app = create_app(NAME, settings, GATHERING_SECONDS)
    table = StateTable(app, TABLE, settings.partitions)
    store = OnlineStore(settings)
    pusher = Pusher(store, table, settings.partitions, clock)
    ticker = RealtimeTicker(store, table, pusher, clock)
    folder = Folder(table, pusher, ticker)

    @app.on_partitions_revoked.connect(weak=False)
    async def _hand_over(sender: AppT, revoked: set[TP], **_: object) -> None:
        await folder.hand_over()

    @app.agent(raw_topic(app, ENTITY_UPDATES.name), concurrency=1)
    async def entities_to_features(stream: Stream) -> None:
        await each_batch(stream, folder.handle, limit=200, linger_seconds=LINGER_SECONDS)

    async def _flush() -> None:
        await pusher.flush(assigned_partitions(app, ENTITY_UPDATES.name))

    async def _tick() -> None:
        await ticker.tick(assigned_partitions(app, ENTITY_UPDATES.name))

    every(app, FLUSH_SECONDS, _flush)
    every(app, 1.0, _tick)
    return app
