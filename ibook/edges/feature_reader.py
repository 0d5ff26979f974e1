"""One bounded read of the online store per batch: a slow or absent Redis never holds a verdict for long."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import structlog

from ibook.clock import Clock, to_us
from ibook.edges.online_store import OnlineStore
from ibook.entities import EntityName
from ibook.errors import FeatureUnavailable
from ibook.heartbeat import Heartbeat, decode_heartbeat, oldest

log = structlog.get_logger()

PAUSE_SECONDS = 0.5
"""After a failed read the store is left alone for so long; verdicts go on without it."""

Found = dict[EntityName, list[bytes | None]]


@dataclass(frozen=True)
class Reading:
    """What the online store held for a batch."""

    states: Found
    heartbeats: list[Heartbeat | None]

    def staleness_seconds(self, now_us: int) -> float | None:
        """Age of the oldest heartbeat; None when one is missing, so the store is not whole."""
        beat = oldest(self.heartbeats)
        return None if beat is None else max(0.0, (now_us - beat) / 1e6)


class FeatureReader:
    """Reads states and heartbeats in a thread of its own, within a bound of time."""

    def __init__(self, store: OnlineStore, partitions: int, bound_seconds: float, clock: Clock) -> None:
        self._store = store
        self._partitions = partitions
        self._bound_seconds = bound_seconds
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="features")
        self._pending: asyncio.Future[Reading] | None = None
        self._paused_until_us = 0

    async def read(self, keys: Mapping[EntityName, Sequence[str]]) -> Reading:
        """States of the keys and all heartbeats. Raises FeatureUnavailable, at the latest after the bound."""
        if to_us(self._clock.now()) < self._paused_until_us or not self._idle():
            raise FeatureUnavailable("the online store is left alone after a failed read")
        self._pending = asyncio.get_running_loop().run_in_executor(self._thread, self._read, keys)
        try:
            return await asyncio.wait_for(asyncio.shield(self._pending), self._bound_seconds)
        except (FeatureUnavailable, TimeoutError) as error:
            if self._paused_until_us == 0:
                log.warning("verdicts go on without features", error=repr(error))
            self._paused_until_us = to_us(self._clock.now()) + int(PAUSE_SECONDS * 1e6)
            raise FeatureUnavailable("the online store did not answer in time") from error

    def recovered(self) -> None:
        """A read came through: the next failure is news again."""
        self._paused_until_us = 0

    def _idle(self) -> bool:
        """Whether the thread is free; an overdue read that has ended meanwhile is taken note of and forgotten."""
        if self._pending is None or not self._pending.done():
            return self._pending is None
        if not self._pending.cancelled():
            self._pending.exception()
        return True

    def _read(self, keys: Mapping[EntityName, Sequence[str]]) -> Reading:
        return reading_of(self._store, keys, self._partitions)


def reading_of(store: OnlineStore, keys: Mapping[EntityName, Sequence[str]], partitions: int) -> Reading:
    """States and the heartbeats that vouch for them, of one instant: no row can be lost in between.

    Raises FeatureUnavailable.
    """
    states, heartbeats = store.read(keys, partitions)
    return Reading(states, [_heartbeat(row) for row in heartbeats])


def _heartbeat(row: bytes | None) -> Heartbeat | None:
    """A row that can't be read vouches for nothing."""
    try:
        return decode_heartbeat(row) if row else None
    except msgspec.DecodeError:
        return None
