"""Window states, heartbeats and plain columns in Feast's online store.

`FeatureStore`'s own methods parse the registry on every call, its provider makes a Redis command per row, and importing
either takes seconds. The hot path writes and reads the same rows by `feast_format` and `feast_rows`: a batch is one
request. Redis keeps, per row, the newest event timestamp; an older or equal one is dropped.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ibook.edges import feast_rows
from ibook.edges.feast_config import PROJECT, redis_options
from ibook.edges.feast_format import Key, bytes_of, column_field, row_key, stamp_field, timestamp_bytes, value_bytes
from ibook.edges.feast_views import HEARTBEAT_VIEW, REALTIME_VIEW, STATE_VIEWS, VIEWS, View
from ibook.entities import EntityName
from ibook.errors import FeatureUnavailable
from ibook.features import RealtimeMetrics
from ibook.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

Result = TypeVar("Result")
_ERA = struct.Struct(">q")
_NO_ERA = _ERA.pack(0)
Place = tuple[View, Key]
"""A row."""
Row = tuple[Key, Mapping[str, bytes | int | float], int]
"""Key, columns and event timestamp in microseconds."""


class OnlineStore:
    """The platform's rows in Redis, through Feast. One thread at a time; connects on first use and again by itself.

    Every method raises FeatureUnavailable when Redis can't be reached or leaves a request unanswered for
    `settings.feature_read_seconds`. Nothing here tells a flushed Redis from an empty one: both read as None.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare the views; Redis need not be there yet. Raises ConfigurationError."""
        from redis.exceptions import RedisError

        self._redis_error = RedisError
        self._options = redis_options(settings.redis_url, settings.feature_read_seconds)
        self._client: Redis | None = None
        self._fields = {view.name: [column_field(view.name, column) for column in view.columns] for view in VIEWS}
        """View -> Redis field of each column."""

    def read(
        self, keys: Mapping[EntityName, Sequence[str]], n_partitions: int
    ) -> tuple[dict[EntityName, list[bytes | None]], list[bytes | None]]:
        """States as `read_states` and heartbeats as `read_heartbeats` give them, of one and the same instant."""
        places = [*_heartbeat_places(n_partitions), *_state_places(keys)]
        rows = iter(self._read(places))
        heartbeats = _counting(list(islice(rows, 2 * n_partitions)))
        return {entity: list(islice(rows, len(wanted))) for entity, wanted in keys.items()}, heartbeats

    def read_states(self, keys: Mapping[EntityName, Sequence[str]]) -> dict[EntityName, list[bytes | None]]:
        """The stored window state of every key, in the order asked for; None where there is none."""
        return self.read(keys, 0)[0]

    def write_states(self, entity: EntityName, rows: Sequence[tuple[str, bytes, int]]) -> None:
        """Write (key, state, event timestamp in microseconds) rows; one that is not newer than the stored is dropped.

        Some rows may have been written when this raises: write them all again.
        """
        view = STATE_VIEWS[entity]
        (column,) = view.columns
        self._write(view, [(key, {column: state}, stamp_us) for key, state, stamp_us in rows])

    def read_heartbeats(self, n_partitions: int) -> list[bytes | None]:
        """The heartbeat of every partition of `entity-updates`, None where there is none that counts.

        One written in an era counts while the row that began the era is there: a store that was emptied after its
        era began, even between reading and writing a heartbeat, has none.
        """
        return self.read({}, n_partitions)[1]

    def begin_era(self, partition: int, era: int) -> None:
        """From now on every state of a partition is written again; `era` is larger than any before, and positive.

        Heartbeats of another era count no more.
        """
        (column,) = HEARTBEAT_VIEW.columns
        self._write(HEARTBEAT_VIEW, [(-1 - partition, {column: _ERA.pack(era)}, era)])

    def write_heartbeat(self, partition: int, payload: bytes, stamp_us: int, era: int = 0) -> None:
        """Write the heartbeat of one partition; dropped unless `stamp_us` is newer than the stored one's.

        `era` is the one that began before its states were written; 0 for one that counts whatever happened.
        """
        (column,) = HEARTBEAT_VIEW.columns
        self._write(HEARTBEAT_VIEW, [(partition, {column: _ERA.pack(era) + payload}, stamp_us)])

    def read_eras(self, n_partitions: int) -> list[int]:
        """The era each partition is in; 0 where none has begun."""
        rows = self._read([(HEARTBEAT_VIEW, -1 - p) for p in range(n_partitions)])
        return [0 if row is None else int(_ERA.unpack(row)[0]) for row in rows]

    def write_realtime_metrics(self, rows: Sequence[tuple[str, RealtimeMetrics, int]]) -> None:
        """Write (event id, metrics, event timestamp in microseconds) rows as typed columns."""
        names = list(REALTIME_VIEW.columns)
        self._write(
            REALTIME_VIEW,
            [(event_id, {name: getattr(row, name) for name in names}, stamp_us) for event_id, row, stamp_us in rows],
        )

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _read(self, places: Sequence[Place]) -> list[bytes | None]:
        """The only column of rows of views of bytes, all as of one instant. A row asked for twice is read once."""
        if not places:
            return []
        cells = [(row_key(PROJECT, view.join_key, key), self._fields[view.name][0]) for view, key in places]
        unique = list(dict.fromkeys(cells))
        found = dict(zip(unique, self._asked(lambda: self._fetched(unique)), strict=True))
        return [found[cell] for cell in cells]

    def _fetched(self, cells: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
        return [None if row is None else bytes_of(row) for row in feast_rows.read(self._connected(), cells)]

    def _connected(self) -> "Redis":
        if self._client is None:
            from redis import Redis

            self._client = Redis(**self._options)
        return self._client

    def _write(self, view: View, rows: Sequence[Row]) -> None:
        if not rows:
            return
        encoded = [
            (
                row_key(PROJECT, view.join_key, key),
                timestamp_bytes(us),
                [value_bytes(columns[name]) for name in view.columns],
            )
            for key, columns, us in rows
        ]
        fields = self._fields[view.name]
        self._asked(lambda: feast_rows.write(self._connected(), stamp_field(view.name), fields, encoded))

    def _asked(self, request: Callable[[], Result]) -> Result:
        try:
            return request()
        except self._redis_error as error:
            raise FeatureUnavailable(f"the online store does not answer: {error}") from error


def _state_places(keys: Mapping[EntityName, Sequence[str]]) -> list[Place]:
    return [(STATE_VIEWS[entity], key) for entity, wanted in keys.items() for key in wanted]


def _heartbeat_places(n_partitions: int) -> list[Place]:
    """Heartbeats, then the rows that began their eras."""
    return [(HEARTBEAT_VIEW, number) for number in (*range(n_partitions), *(-1 - p for p in range(n_partitions)))]


def _counting(rows: Sequence[bytes | None]) -> list[bytes | None]:
    """Heartbeats without their eras, and None in place of those that don't count."""
    half = len(rows) // 2
    return [
        beat[_ERA.size :] if beat is not None and beat[: _ERA.size] in (_NO_ERA, era) else None
        for beat, era in zip(rows[:half], rows[half:], strict=True)
    ]
