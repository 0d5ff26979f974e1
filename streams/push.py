"""Pushes of window states to the online store: coalesced per entity, in a thread, and only then acknowledged."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

import structlog

from ibook import metrics
from ibook.clock import Clock, to_us
from ibook.edges.feast_views import STATE_VIEWS
from ibook.edges.online_store import OnlineStore
from ibook.entities import EntityName, Watermark
from ibook.errors import FeatureUnavailable
from ibook.heartbeat import Watermarks, encode_heartbeat, expected_sources
from ibook.states import state_in
from streams.app import Event
from streams.batches import acknowledge
from streams.state_table import StateTable

log = structlog.get_logger()

FLUSH_SECONDS = 0.15
MAX_PENDING = 5000
"""Unacknowledged records after which folding waits for the online store."""
MAX_STATES = 50_000
"""States, a kilobyte or less each but for a few, that may wait for the online store."""
PUSH_ROWS = 500
FRESH_US = 5 * 60 * 1_000_000
"""Older facts came late to the shop or are read again: they say nothing of how fresh the store is."""

EntityKey = tuple[EntityName, str]
_NAMES: dict[str, EntityName] = {name: name for name in get_args(EntityName)}


class Row(NamedTuple):
    """A state for the online store."""

    payload: bytes
    stamp_us: int
    occurred_us: int
    """When the newest fact folded since the last push happened; 0 when there was none."""


class Beat(NamedTuple):
    """A heartbeat for the online store. Its stamp is a place in the log: no clock that was ahead once holds it up."""

    payload: bytes
    broker_us: int
    stamp: int


@dataclass
class Unpushed:
    """What was folded since the last push."""

    rows: dict[EntityKey, Row] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def put_back(self, failed: "Unpushed") -> None:
        """Return what a failed push took; what was folded since then is newer and stays."""
        self.rows = {**failed.rows, **self.rows}
        self.events = [*failed.events, *self.events]


@dataclass
class Heard:
    """What one partition of `entity-updates` has said of the sources."""

    marks: Watermarks
    offset: int = -1
    """Of the newest record, with marks or without: it has changed rows, so its heartbeat is one of its own."""

    def beat(self) -> Beat | None:
        """The heartbeat they add up to; None while a source was not heard of."""
        heartbeat = self.marks.heartbeat(self.offset)
        return None if heartbeat is None else Beat(encode_heartbeat(heartbeat), heartbeat.broker_us, self.offset + 1)


class Pusher:
    """Coalesces states, pushes them every `FLUSH_SECONDS`, then the heartbeats that vouch for them."""

    def __init__(self, store: OnlineStore, table: StateTable, partitions: int, clock: Clock) -> None:
        self._vouching = Vouching(store, table, partitions, clock)
        self._expected = expected_sources(partitions)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="push")
        self._unpushed = Unpushed()
        self._heard: dict[int, Heard] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._healthy = True

    @property
    def thread(self) -> ThreadPoolExecutor:
        """The one thread that speaks to the online store."""
        return self._thread

    def add(
        self, partition: int, rows: Mapping[EntityKey, Row], marks: Iterable[Watermark], events: Sequence[Event]
    ) -> None:
        """Take over what a batch changed, the watermarks it brought, and its acknowledgement."""
        self._unpushed.rows.update(rows)
        heard = self._heard.setdefault(partition, Heard(Watermarks(self._expected)))
        heard.marks.hear(marks)
        heard.offset = max([heard.offset, *(event.message.offset for event in events)])
        self._unpushed.events.extend(events)
        if len(self._unpushed.events) > MAX_PENDING or len(self._unpushed.rows) > MAX_STATES:
            self._room.clear()

    async def room(self) -> None:
        """Wait while too much is unacknowledged."""
        await self._room.wait()

    def forget(self) -> None:
        """Partitions have moved: their progress is somebody else's to vouch for, and is heard of anew."""
        self._unpushed.events.clear()
        self._heard.clear()
        self._vouching.forget()
        self._room.set()

    def reading(self, held: set[int]) -> set[int]:
        """Those of the partitions held whose records are being read: their tables are restored."""
        return held & self._heard.keys()

    def eras(self) -> dict[int, int]:
        """The era of each partition that heartbeats are written for: when it changes, the store had lost rows."""
        return dict(self._vouching.eras)

    async def flush(self, held: set[int]) -> None:
        """Push what is unpushed, then a heartbeat for each partition held, then acknowledge."""
        taken, self._unpushed = self._unpushed, Unpushed()
        beats = {p: beat for p in sorted(self.reading(held)) if (beat := self._heard[p].beat()) is not None}
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._vouching.push, taken.rows, beats)
        except FeatureUnavailable as error:
            self._unpushed.put_back(taken)
            self.unhealthy(error)
            await asyncio.sleep(0.5)
            return
        self._healthy = True
        acknowledge(taken.events)
        self._room.set()

    def unhealthy(self, error: FeatureUnavailable) -> None:
        """A push failed; the first failure is news."""
        metrics.PUSH_FAILURES.inc()
        if self._healthy:
            log.warning("the online store does not take pushes; folding goes on, retrying", error=str(error))
        self._healthy = False


class Vouching:
    """States first, heartbeats last; all of it in the push thread.

    A heartbeat counts only in its partition's era, and an era begins before every state of the partition is written
    again: when the heartbeat is gone (an emptied store), or is not one we wrote (a store that came back older). Until
    then readers see `no_features`. A store that is emptied at any later instant loses the era with the rest.

    Rows of newly read records are always followed by a heartbeat that differs from every earlier one and has a newer
    stamp: both tell the newest record's offset. So a store that came back without the rows lacks the heartbeat too.
    Rows that are pushed again without a newer record are those of a push that failed, or of records read again after
    a restart: the heartbeat of their record, written after them, is theirs, and an older stamp is dropped.
    """

    def __init__(self, store: OnlineStore, table: StateTable, partitions: int, clock: Clock) -> None:
        self._store = store
        self._table = table
        self._partitions = partitions
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Whoever held the partitions in between may have written other heartbeats."""
        self.eras: dict[int, int] = {}
        self._written: dict[int, list[bytes]] = {}
        """The last heartbeat we know to be written, and those after it of which we do not know."""
        self._inherited: dict[int, bytes | None] = {}
        """What the worker before us wrote; ours are dropped while we read again what it had read."""

    def push(self, rows: Mapping[EntityKey, Row], beats: Mapping[int, Beat]) -> None:
        """Write states, then the heartbeats that vouch for them. Raises FeatureUnavailable: then do it all again."""
        with metrics.PUSH_SECONDS.time():
            self._write((entity, key, row) for (entity, key), row in rows.items())
        if not beats:
            return
        present = self._store.read_heartbeats(self._partitions)
        for partition, beat in beats.items():
            self._vouch(partition, beat, present[partition])
        oldest_us = min(beat.broker_us for beat in beats.values())
        metrics.HEARTBEAT_LAG.set((to_us(self._clock.now()) - oldest_us) / 1e6)

    def _vouch(self, partition: int, beat: Beat, present: bytes | None) -> None:
        eras, written = self.eras, self._written.setdefault(partition, [])  # of this assignment, if another comes
        if present in written:
            self._inherited.pop(partition, None)
        elif present is None or (partition in eras and present != self._inherited.get(partition)):
            eras[partition] = self._restore(partition, beat.stamp)
            written.clear()
        elif partition not in eras:
            eras[partition] = self._store.read_eras(self._partitions)[partition] or self._restore(partition, beat.stamp)
            self._inherited[partition] = present
        if [beat.payload] != written[-1:] or beat.payload != present:
            written.append(beat.payload)
            self._store.write_heartbeat(partition, beat.payload, beat.stamp, eras[partition])
            del written[:-1]

    def _restore(self, partition: int, stamp: int) -> int:
        """Push every state of a partition, in a new era, which is returned."""
        log.info("pushing every state of a partition: the online store has lost rows", partition=partition)
        self._store.begin_era(partition, stamp)
        self._write(self._stored(partition))
        metrics.STORE_RESTORED.inc()
        return self._store.read_eras(self._partitions)[partition] or stamp

    def _stored(self, partition: int) -> Iterable[tuple[EntityName, str, Row]]:
        for key, value in self._table.items(partition):
            entity, _, name = key.decode().partition(":")
            payload, head = state_in(value)
            yield _NAMES[entity], name, Row(payload, head.stamp_us, 0)

    def _write(self, rows: Iterable[tuple[EntityName, str, Row]]) -> None:
        waiting: dict[EntityName, list[tuple[str, Row]]] = {}
        for entity, key, row in rows:
            waiting.setdefault(entity, []).append((key, row))
            if len(waiting[entity]) == PUSH_ROWS:
                self._write_rows(entity, waiting.pop(entity))
        for entity, rest in waiting.items():
            self._write_rows(entity, rest)

    def _write_rows(self, entity: EntityName, rows: list[tuple[str, Row]]) -> None:
        self._store.write_states(entity, [(key, row.payload, row.stamp_us) for key, row in rows])
        metrics.STATES_PUSHED.labels(entity).inc(len(rows))
        now_us, freshness = to_us(self._clock.now()), metrics.FEATURE_FRESHNESS.labels(STATE_VIEWS[entity].name)
        for _, row in rows:
            if now_us - row.occurred_us < FRESH_US:
                freshness.observe(max(0.0, (now_us - row.occurred_us) / 1e6))
