"""Where rows come from: pushed online by the feature workers, backfilled offline as Parquet."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Field, FileSource, PushSource, RequestSource
from feast.data_format import ParquetFormat
from feast.types import Int64, String

from ibook.edges.feast_on_demand import AS_OF, PURCHASE_COLUMNS
from ibook.edges.feast_views import HEARTBEAT_VIEW, REALTIME_VIEW, STATE_VIEWS, View
from ibook.settings import load_settings

TIMESTAMP = "event_timestamp"
_ARROW = {bytes: pa.binary(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def rows_folder(data_dir: Path, view: View) -> Path:
    """Where a view's offline rows are: any number of Parquet files, appended by adding one."""
    return data_dir.absolute() / "offline" / view.name


def seed(folder: Path, view: View) -> None:
    """Make the folder with one empty Parquet file of the view's schema, unless it is there."""
    path = folder / "empty.parquet"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    columns = {view.join_key: view.key_type, **view.columns}
    schema = pa.schema([(name, _ARROW[column]) for name, column in columns.items()])
    pq.write_table(schema.append(pa.field(TIMESTAMP, pa.timestamp("us", tz="UTC"))).empty_table(), path)


def push_source(view: View) -> PushSource:
    """Rows pushed online; the same rows offline in the view's folder."""
    folder = rows_folder(load_settings().data_dir, view)
    # Feast's command looks into every source before any code of ours runs, and warns of a missing one.
    seed(folder, view)
    rows = FileSource(
        name=f"{view.name}_rows", path=str(folder), file_format=ParquetFormat(), timestamp_field=TIMESTAMP
    )
    return PushSource(name=f"{view.name}_push", batch_source=rows)


card_states = push_source(STATE_VIEWS["card"])
device_states = push_source(STATE_VIEWS["device"])
user_states = push_source(STATE_VIEWS["user"])
event_states = push_source(STATE_VIEWS["event"])
heartbeats = push_source(HEARTBEAT_VIEW)
realtime_metrics = push_source(REALTIME_VIEW)

instant = RequestSource(name="instant", schema=[Field(name=AS_OF, dtype=Int64)])
purchase_request = RequestSource(
    name="purchase_request",
    schema=[Field(name=name, dtype=Int64 if type_ is int else String) for name, type_ in PURCHASE_COLUMNS.items()],
)
