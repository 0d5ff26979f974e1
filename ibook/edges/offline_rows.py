"""Rows of Feast's offline store on this machine: one folder of Parquet files per view, appended by adding a file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from ibook.edges.feast_views import SERVED_VIEW, STATE_VIEWS, View
from ibook.entities import EntityName
from ibook.settings import Settings

TIMESTAMP = "event_timestamp"
SERVED_TIMESTAMP = "occurred_at"
"""Of a served row: when the purchase happened, so that a join as of the purchase finds it."""
ROWS_AT_ONCE = 10_000
_ARROW = {bytes: pa.binary(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def rows_folder(settings: Settings, view: View) -> Path:
    """Where a view's rows are, as an absolute path; what was served is in the archive of the evidence."""
    data_dir = settings.data_dir.absolute()
    return data_dir / "archive" / "fraud_evidence" if view is SERVED_VIEW else data_dir / "offline" / view.name


def timestamp_of(view: View) -> str:
    """The column that says from when on a row holds."""
    return SERVED_TIMESTAMP if view is SERVED_VIEW else TIMESTAMP


def schema_of(view: View) -> pa.Schema:
    """The columns of a view's files: key, columns, and since when the row holds, in microseconds of UTC."""
    columns = {view.join_key: view.key_type, **view.columns}
    fields = [pa.field(name, _ARROW[column]) for name, column in columns.items()]
    return pa.schema([*fields, pa.field(timestamp_of(view), pa.timestamp("us", tz="UTC"))])


def write_states(settings: Settings, entity: EntityName, rows: Iterable[tuple[str, bytes, int]]) -> Path | None:
    """Add (key, state, event time in microseconds) rows to a state view: one new file, there as a whole or not at all.

    A row answers for every instant from its own until the key's next. Two rows of one key and instant must not differ:
    which of them Feast would take is not said. None, and no file, without rows. Raises OSError.
    """
    view, remaining = STATE_VIEWS[entity], iter(rows)
    first = list(islice(remaining, ROWS_AT_ONCE))
    if not first:
        return None
    path = rows_folder(settings, view) / f"{uuid4().hex}.parquet"
    with _appearing(path) as hidden, pq.ParquetWriter(hidden, schema_of(view), compression="zstd") as file:
        while first:
            file.write_table(pa.table(list(map(list, zip(*first, strict=True))), schema=schema_of(view)))
            first = list(islice(remaining, ROWS_AT_ONCE))
    return path


def seed(settings: Settings, view: View) -> None:
    """Make a view's folder with one empty file of its schema, unless it is there: Feast warns of a missing source."""
    path = rows_folder(settings, view) / "empty.parquet"
    if not path.exists():
        with _appearing(path) as hidden:
            pq.write_table(schema_of(view).empty_table(), hidden)


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when all is written; a file half written has a name nobody reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        yield hidden
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)
