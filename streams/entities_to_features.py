"""Entity updates -> window states in a table -> the online store.

Order, always: changelog acknowledged, pushed to the online store, input acknowledged. A redelivered update changes no
state but still marks its entity for a push.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import faust
import structlog
from faust.types import TP, AppT

from ibook import metrics
from ibook.clock import Clock, SystemClock
from ibook.edges.online_store import OnlineStore
from ibook.entities import EntityName, EntityUpdate, EntityUpdates, unpack
from ibook.errors import InvalidMessage
from ibook.features import ENTITY_FEATURES
from ibook.settings import Settings
from ibook.topics import ENTITY_UPDATES
from ibook.windows import FoldResult, StoredState, decode_stored, encode_stored
from streams.app import Event, Stream, assigned_partitions, create_app, every, raw_topic
from streams.batches import each_batch
from streams.push import FLUSH_SECONDS, Pusher
from streams.state_table import StateTable

log = structlog.get_logger()

NAME = "entities-to-features"
TABLE = "states"
LINGER_SECONDS = 0.02
"""What folds together shares one changelog batch; the online store is written every 100 ms anyway."""


@dataclass
class Fold:
    """What a batch made of one partition: states by table key, and the states to push."""

    stored: dict[bytes, StoredState] = field(default_factory=dict)
    entities: dict[bytes, tuple[EntityName, str]] = field(default_factory=dict)

    def update(self, entity: EntityName, update: EntityUpdate, offset: int, table: "StateReader") -> FoldResult:
        """Fold an update of the record at `offset` into one of its entities."""
        name = update.fact.ids[entity]
        key = f"{entity}:{name}".encode()
        stored = self.stored.get(key)
        if stored is None:
            stored = self.stored[key] = _load(table(key), entity)
            self.entities[key] = (entity, name)
        stored.state.updates_offset = max(stored.state.updates_offset, offset)
        return ENTITY_FEATURES[entity].layout.fold_stored(stored, update)


def fold_records(records: Sequence[tuple[int, EntityUpdates]], table: "StateReader") -> Fold:
    """Fold records of one partition, (offset, updates) in order, over what the table holds."""
    fold = Fold()
    for offset, record in records:
        for update in record.updates:
            for entity in update.entities:
                result = fold.update(entity, update, offset, table)
                if result == "folded":
                    metrics.UPDATES_FOLDED.labels(entity).inc()
                else:
                    metrics.UPDATES_SKIPPED.labels(result).inc()
    return fold


class StateReader:
    """Reads one partition of the table."""

    def __init__(self, table: StateTable, partition: int) -> None:
        self._table = table
        self._partition = partition

    def __call__(self, key: bytes) -> bytes | None:
        """The stored bytes of a table key."""
        return self._table.get(self._partition, key)


def _load(payload: bytes | None, entity: EntityName) -> StoredState:
    """A stored state, or an empty one; a state of older declarations keeps what these declare too."""
    layout = ENTITY_FEATURES[entity].layout
    if payload is None:
        return StoredState(layout.empty(), [])
    stored = decode_stored(payload)
    if stored.state.layout != layout.fingerprint:
        metrics.STATES_ADOPTED.labels("folded").inc()
        stored.state = layout.adopt(stored.state)
    return stored


class Folder:
    """Folds batches into the table and hands the states to the pusher."""

    def __init__(self, table: StateTable, pusher: Pusher) -> None:
        self._table = table
        self._pusher = pusher

    async def handle(self, batch: Sequence[Event]) -> None:
        """Fold a batch partition by partition. The pusher acknowledges it."""
        by_partition: dict[int, list[Event]] = {}
        for event in batch:
            by_partition.setdefault(event.message.partition, []).append(event)
        await asyncio.gather(*(self._fold(partition, events) for partition, events in by_partition.items()))
        await self._pusher.room()

    async def _fold(self, partition: int, events: Sequence[Event]) -> None:
        records = [(event.message.offset, updates) for event in events if (updates := _read(event)) is not None]
        fold = fold_records(records, StateReader(self._table, partition))
        await self._table.write(partition, {key: encode_stored(stored) for key, stored in fold.stored.items()})
        states = [(fold.entities[key], stored.state) for key, stored in fold.stored.items()]
        marks = [mark for _, record in records for mark in record.watermarks]
        self._pusher.add(partition, states, marks, events)


def _read(event: Event) -> EntityUpdates | None:
    try:
        return unpack(event.message.value or b"")
    except InvalidMessage as error:
        # Only we write this topic: nothing is lost that its source topic does not hold.
        metrics.DEAD_LETTERS.labels(ENTITY_UPDATES.name, error.reason).inc()
        log.error("unreadable entity update", partition=event.message.partition, offset=event.message.offset)
        return None


def create(settings: Settings, clock: Clock | None = None) -> faust.App:
    """The worker's Faust app."""
    app = create_app(NAME, settings)
    table = StateTable(app, TABLE, settings.partitions)
    store = OnlineStore(settings)
    pusher = Pusher(store, table, settings.partitions, clock or SystemClock())
    folder = Folder(table, pusher)

    @app.on_partitions_revoked.connect(weak=False)
    async def _forget(sender: AppT, revoked: set[TP], **_: object) -> None:
        pusher.forget()

    @app.agent(raw_topic(app, ENTITY_UPDATES.name), concurrency=1)
    async def entities_to_features(stream: Stream) -> None:
        await each_batch(stream, folder.handle, limit=200, linger_seconds=LINGER_SECONDS)

    async def _flush() -> None:
        await pusher.flush(assigned_partitions(app, ENTITY_UPDATES.name))

    async def _realtime() -> None:
        await pusher.push_realtime_metrics(assigned_partitions(app, ENTITY_UPDATES.name))

    every(app, FLUSH_SECONDS, _flush)
    every(app, 1.0, _realtime)
    return app
