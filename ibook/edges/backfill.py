"""Tables of keys and instants, with the features of each row from the archive."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ibook.backfill import Wanted, states_at
from ibook.clock import to_us
from ibook.edges.archive import Archive
from ibook.edges.archive_files import name_holes
from ibook.edges.offline_rows import write_states
from ibook.entities import ENTITIES, EntityName, EntityUpdate
from ibook.errors import ConfigurationError
from ibook.features import ENTITY_FEATURES
from ibook.settings import Settings
from ibook.states import encode_state
from ibook.topics import ENTITY_UPDATES

INSTANT = "as_of"
KEY_COLUMNS: Mapping[str, EntityName] = {name: e for e in ENTITIES for name in (e, f"{e}_id")}
"""What a column of keys may be called."""
StateRow = tuple[str, bytes, int]


def read_keys(path: Path) -> pa.Table:
    """A table of keys and instants from CSV or Parquet; ids are text. Raises ConfigurationError."""
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        options = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(KEY_COLUMNS, pa.string()), strings_can_be_null=True
        )
        return pyarrow.csv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(f"{path} can't be read: {error}.") from error


def backfill(
    archive: Archive, keys: pa.Table, *, features: Collection[str] | None = None,
    staleness_us: NDArray[np.int64] | int = 0, write_offline: Settings | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> pa.Table:  # fmt: skip
    """The table with a column for each feature of its entities (or for each of `features`) as of its instants.

    An instant is a time, an ISO 8601 text or a number of microseconds; without a zone it is UTC. A row without a key
    has the features of an entity nothing is known of. `staleness_us` is how old the states are, one for all rows or
    one for each. `write_offline` also adds the states to Feast's offline store. An archive that lacks something is
    computed from all the same, and `say` is told. Raises ConfigurationError.
    """
    columns = {name: KEY_COLUMNS[name] for name in keys.column_names if name in KEY_COLUMNS}
    names = _chosen(columns.values(), features)
    as_of_us = instants_of(keys)
    _warn(archive, say)
    seen_us = as_of_us - staleness_us
    rows: list[int] = []
    wanted: list[Wanted] = []
    for column, entity in columns.items():
        for row, key in enumerate(keys.column(column).cast(pa.string()).to_pylist()):
            if key is not None and names[entity]:
                rows.append(row)
                wanted.append(Wanted(entity, key, int(as_of_us[row]), int(seen_us[row])))
    values = {entity: _nothing(entity, len(as_of_us)) for entity in columns.values()}
    states = _fill(archive, wanted, rows, values, keep=write_offline is not None)
    if write_offline is not None:
        for entity, found in states.items():
            write_states(write_offline, entity, found)
    for entity, chosen in names.items():
        for name in chosen:
            found_values = values[entity][:, ENTITY_FEATURES[entity].names.index(name)]
            keys = keys.append_column(name, pa.array(found_values, pa.float64(), from_pandas=True))
    return keys


def _warn(archive: Archive, say: Callable[[str], None]) -> None:
    """Archives that were cut on purpose are common: one sentence."""
    if found := archive.holes(ENTITY_UPDATES.name):
        days = [each.until for each in found if each.until is not None]
        end = f" ({max(days)})" if days else ""
        say(
            f"The archive lacks {name_holes(found, ENTITY_UPDATES.name)}: values whose windows begin before the end of "
            f"that{end} may be too low."
        )


def _chosen(entities: Iterable[EntityName], features: Collection[str] | None) -> dict[EntityName, list[str]]:
    """The features asked for, by entity. Raises ConfigurationError for one that no column has the key of."""
    chosen = {
        entity: [name for name in ENTITY_FEATURES[entity].names if features is None or name in features]
        for entity in entities
    }
    unknown = set(features or ()) - {name for names in chosen.values() for name in names}
    if unknown or not chosen:
        what = f"no key for {', '.join(sorted(unknown))}" if unknown else "no column of keys"
        raise ConfigurationError(f"The table has {what}: columns are {', '.join(f'{e}_id' for e in ENTITIES)}.")
    return chosen


def _nothing(entity: EntityName, n_rows: int) -> NDArray[np.float64]:
    return np.tile(np.array(ENTITY_FEATURES[entity].compute(None, 0)), (n_rows, 1))


def _fill(
    archive: Archive, wanted: Sequence[Wanted], rows: Sequence[int], values: dict[EntityName, NDArray[np.float64]], *,
    keep: bool,
) -> dict[EntityName, list[StateRow]]:  # fmt: skip
    """Compute what the archive knows of, one partition after the other; the states too, when they are to be kept."""
    states: dict[EntityName, dict[tuple[str, int], StateRow]] = {}
    for partition in sorted(archive.next_offsets(ENTITY_UPDATES.name)):
        for index, state in states_at(_updates(archive, partition), wanted, known_only=True):
            one = wanted[index]
            values[one.entity][rows[index]] = ENTITY_FEATURES[one.entity].compute(state, one.as_of_us)
            if keep:
                row = (one.key, encode_state(state), one.as_of_us)
                states.setdefault(one.entity, {})[one.key, one.as_of_us] = row
    return {entity: list(found.values()) for entity, found in states.items()}


def _updates(archive: Archive, partition: int) -> Iterable[EntityUpdate]:
    return (logged.update for logged in archive.updates(partition=partition))


def instants_of(keys: pa.Table) -> NDArray[np.int64]:
    """The instants of a table of keys, in microseconds. Raises ConfigurationError."""
    if INSTANT not in keys.column_names:
        raise ConfigurationError(f"The table has no column {INSTANT}: the instant to compute as of.")
    column = keys.column(INSTANT)
    if column.null_count:
        raise ConfigurationError(f"The column {INSTANT} has rows without an instant.")
    try:
        if pa.types.is_timestamp(column.type):
            column = pc.cast(column, pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pa.array([_us(text) for text in column.to_pylist()], pa.int64())
        return np.array(column.cast(pa.int64()).to_pylist(), np.int64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, TypeError) as error:
        raise ConfigurationError(f"The column {INSTANT} can't be read as instants: {error}.") from error


def _us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def measured_staleness_us(archive: Archive, as_of_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """How stale states were when the last verdict before each instant was decided, or the first after it.

    Raises ConfigurationError when the archive has no verdict with features.
    """
    measured = sorted(
        (to_us(each.occurred_at), round(each.staleness_seconds * 1e6))
        for each in archive.evidence() if each.staleness_seconds is not None
    )  # fmt: skip
    if not measured:
        raise ConfigurationError("No verdict in the archive tells how stale its features were: name the seconds.")
    times, stale = np.array(measured, np.int64).T
    places: NDArray[np.int64] = np.maximum(np.searchsorted(times, as_of_us, side="right") - 1, 0)
    found: NDArray[np.int64] = stale[places]
    return found
