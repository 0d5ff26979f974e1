"""The plain typed columns of events, pushed on a tick as of now, so that quiet windows empty out."""

import asyncio
from collections.abc import Iterable
from functools import partial

from ibook.clock import Clock, to_us
from ibook.edges.online_store import OnlineStore
from ibook.errors import FeatureUnavailable
from ibook.features import RealtimeMetrics, realtime_metrics
from ibook.measures import SECOND
from ibook.states import WindowState, decode_stored
from streams.push import EntityKey, Pusher
from streams.state_table import StateTable

QUIET_US = 10 * 60 * SECOND
"""An event so long without a fact has empty windows: it was pushed so, and is left alone."""
PREFIX = b"event:"


class RealtimeTicker:
    """Knows which events are not quiet; their states are read from the table on each tick, never held."""

    def __init__(self, store: OnlineStore, table: StateTable, pusher: Pusher, clock: Clock) -> None:
        self._store = store
        self._table = table
        self._pusher = pusher
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Partitions have moved: what is in them is looked up anew."""
        self._busy: dict[int, set[str]] = {}
        self._eras: dict[int, int] = {}
        """Partition -> the pusher's era in which all its events were pushed."""

    def touched(self, partition: int, keys: Iterable[EntityKey]) -> None:
        """These states were folded into."""
        self._busy.setdefault(partition, set()).update(key for entity, key in keys if entity == "event")

    async def tick(self, held: set[int]) -> None:
        """Push every event that is not quiet, of the partitions held; all events when the store had lost rows."""
        eras = {partition: era for partition, era in self._pusher.eras().items() if partition in held}
        work = partial(self._push, eras, self._eras, self._busy)
        try:
            await asyncio.get_running_loop().run_in_executor(self._pusher.thread, work)
        except FeatureUnavailable as error:
            self._pusher.unhealthy(error)

    def _push(self, eras: dict[int, int], pushed: dict[int, int], all_busy: dict[int, set[str]]) -> None:
        now_us, rows = to_us(self._clock.now()), []
        for partition, era in eras.items():
            busy = all_busy.setdefault(partition, set())
            if pushed.get(partition) != era:
                busy.update(key[len(PREFIX) :].decode() for key, _ in self._table.items(partition, PREFIX))
            for event in list(busy):
                busy.discard(event)  # before its state is read: what is folded after that adds it again
                if (state := self._state(partition, event)) is not None:
                    rows.append((event, realtime_metrics(state, now_us), now_us))
                    if state.latest_us > now_us - QUIET_US:
                        busy.add(event)
        self._write(rows, eras, pushed)

    def _write(
        self, rows: list[tuple[str, RealtimeMetrics, int]], eras: dict[int, int], pushed: dict[int, int]
    ) -> None:
        try:
            if rows:
                self._store.write_realtime_metrics(rows)
        except FeatureUnavailable:
            pushed.clear()  # some quiet event may not have been written: all of them again
            raise
        pushed |= eras

    def _state(self, partition: int, event: str) -> WindowState | None:
        stored = self._table.get(partition, PREFIX + event.encode())
        return None if stored is None else decode_stored(stored).state
