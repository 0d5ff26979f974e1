"""Pushes of window states to the online store: coalesced per entity, in a thread, and only then acknowledged."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from ibook import metrics
from ibook.clock import Clock, to_us
from ibook.edges.online_store import OnlineStore
from ibook.entities import EntityName, Watermark
from ibook.errors import FeatureUnavailable
from ibook.features import realtime_metrics
from ibook.heartbeat import Heartbeat, Watermarks, encode_heartbeat, expected_sources
from ibook.windows import WindowState, decode_stored, encode_state
from streams.app import Event
from streams.batches import acknowledge
from streams.state_table import StateTable

log = structlog.get_logger()

FLUSH_SECONDS = 0.1
MAX_PENDING = 5000
"""Unacknowledged records after which folding waits for the online store."""
MAX_STATES = 100_000
"""States, some kilobytes each, that may wait for the online store."""
PUSH_ROWS = 500

EntityKey = tuple[EntityName, str]


@dataclass
class Unpushed:
    """What was folded since the last push."""

    states: dict[EntityKey, WindowState] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def put_back(self, failed: "Unpushed") -> None:
        """Return what a failed push took; what was folded since then is newer and stays."""
        self.states = {**failed.states, **self.states}
        self.events = [*failed.events, *self.events]


class Pusher:
    """Coalesces states, pushes them every `FLUSH_SECONDS`, then the heartbeats that vouch for them.

    A partition whose heartbeat is gone (an emptied store) gets all its states again before the next heartbeat, so
    readers see `no_features` until the store is whole.
    """

    def __init__(self, store: OnlineStore, table: StateTable, partitions: int, clock: Clock) -> None:
        self._store = store
        self._table = table
        self._partitions = partitions
        self._clock = clock
        self._expected = expected_sources(partitions)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="push")
        self._unpushed = Unpushed()
        self._marks: dict[int, Watermarks] = {}
        self._events: dict[int, dict[str, WindowState]] = {}
        self._loaded: set[int] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._healthy = True

    def add(
        self,
        partition: int,
        states: Iterable[tuple[EntityKey, WindowState]],
        marks: Sequence[Watermark],
        events: Sequence[Event],
    ) -> None:
        """Take over what a batch changed, and its acknowledgement."""
        for key, state in states:
            self._unpushed.states[key] = state
            if key[0] == "event":
                self._events.setdefault(partition, {})[key[1]] = state
        self._marks.setdefault(partition, Watermarks(self._expected)).hear(marks)
        self._unpushed.events.extend(events)
        if len(self._unpushed.events) > MAX_PENDING or len(self._unpushed.states) > MAX_STATES:
            self._room.clear()

    async def room(self) -> None:
        """Wait while too much is unacknowledged."""
        await self._room.wait()

    def forget(self) -> None:
        """Partitions have moved: their progress is somebody else's to vouch for, and is heard of anew."""
        self._unpushed.events.clear()
        self._marks.clear()
        self._events.clear()
        self._loaded.clear()
        self._room.set()

    async def flush(self, held: set[int]) -> None:
        """Push what is unpushed, then a heartbeat for each partition held, then acknowledge."""
        taken, self._unpushed = self._unpushed, Unpushed()
        heartbeats = {p: beat for p in sorted(held) if (beat := self._heartbeat(p)) is not None}
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._push, taken.states, heartbeats)
        except FeatureUnavailable as error:
            self._unpushed.put_back(taken)
            self._unhealthy(error)
            await asyncio.sleep(0.5)
            return
        self._healthy = True
        acknowledge(taken.events)
        self._room.set()

    def _heartbeat(self, partition: int) -> Heartbeat | None:
        marks = self._marks.get(partition)
        return marks.heartbeat() if marks else None

    def _unhealthy(self, error: FeatureUnavailable) -> None:
        metrics.PUSH_FAILURES.inc()
        if self._healthy:
            log.warning("the online store does not take pushes; folding goes on, retrying", error=str(error))
        self._healthy = False

    def _push(self, states: dict[EntityKey, WindowState], heartbeats: dict[int, Heartbeat]) -> None:
        """In the thread: states first, heartbeats last."""
        with metrics.PUSH_SECONDS.time():
            self._write(states.items())
        if not heartbeats:
            return
        present = self._store.read_heartbeats(self._partitions)
        now_us = to_us(self._clock.now())
        for partition, heartbeat in heartbeats.items():
            if present[partition] is None:
                self._restore(partition)
            self._store.write_heartbeat(partition, encode_heartbeat(heartbeat), now_us)
        metrics.HEARTBEAT_LAG.set((now_us - min(beat.broker_us for beat in heartbeats.values())) / 1e6)

    def _restore(self, partition: int) -> None:
        """Push every state of a partition: the store does not know it, or was emptied."""
        log.info("pushing every state of a partition whose heartbeat is gone", partition=partition)
        self._write(self._stored(partition))

    def _stored(self, partition: int, prefix: bytes = b"") -> Iterator[tuple[EntityKey, WindowState]]:
        for key, value in self._table.items(partition, prefix):
            entity, _, name = key.decode().partition(":")
            yield (entity, name), decode_stored(value).state  # type: ignore[misc]

    def _write(self, states: Iterable[tuple[EntityKey, WindowState]]) -> None:
        rows: dict[EntityName, list[tuple[str, bytes, int]]] = {}
        for (entity, key), state in states:
            rows.setdefault(entity, []).append((key, encode_state(state), state.stamp_us))
            if len(rows[entity]) == PUSH_ROWS:
                self._write_rows(entity, rows.pop(entity))
        for entity, rest in rows.items():
            self._write_rows(entity, rest)

    def _write_rows(self, entity: EntityName, rows: list[tuple[str, bytes, int]]) -> None:
        self._store.write_states(entity, rows)
        metrics.STATES_PUSHED.labels(entity).inc(len(rows))

    async def push_realtime_metrics(self, held: set[int]) -> None:
        """Push the typed columns of every event of the partitions held, as of now: quiet windows empty out."""
        now_us = to_us(self._clock.now())
        for partition in held - self._loaded:
            stored = {key[1]: state for key, state in self._stored(partition, b"event:")}
            self._events[partition] = stored | self._events.get(partition, {})  # what was folded since is newer
            self._loaded.add(partition)
        rows = [
            (key, realtime_metrics(state, now_us), now_us)
            for partition in held
            for key, state in self._events.get(partition, {}).items()
        ]
        if rows:
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._store.write_realtime_metrics, rows)
            except FeatureUnavailable as error:
                self._unhealthy(error)
