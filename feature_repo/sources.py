"""Where rows come from: pushed online by the feature workers, backfilled offline as Parquet."""

from feast import BigQuerySource, Field, FileSource, PushSource, RequestSource
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.types import Int64, String

from ibook.edges.feast_on_demand import AS_OF, PURCHASE_COLUMNS
from ibook.edges.feast_views import HEARTBEAT_VIEW, REALTIME_VIEW, SERVED_VIEW, STATE_VIEWS, View
from ibook.edges.offline_rows import rows_folder, seed, timestamp_of
from ibook.settings import load_settings

SETTINGS = load_settings()


def stored_rows(view: View) -> DataSource:
    """A view's rows offline: Parquet files in its folder, or the table of its name."""
    name, timestamp = f"{view.name}_rows", timestamp_of(view)
    if SETTINGS.offline_store == "bigquery":
        table = f"{SETTINGS.bigquery_project}.{SETTINGS.bigquery_dataset}.{view.name}"
        return BigQuerySource(name=name, table=table, timestamp_field=timestamp)
    # Feast's command looks into every source before any code of ours runs, and warns of a missing one.
    seed(SETTINGS, view)
    path = str(rows_folder(SETTINGS, view))
    return FileSource(name=name, path=path, file_format=ParquetFormat(), timestamp_field=timestamp)


def push_source(view: View) -> PushSource:
    """Rows pushed online, and the view's rows offline."""
    return PushSource(name=f"{view.name}_push", batch_source=stored_rows(view))


STATES = {entity: push_source(view) for entity, view in STATE_VIEWS.items()}
heartbeats = push_source(HEARTBEAT_VIEW)
realtime_metrics = push_source(REALTIME_VIEW)
served = stored_rows(SERVED_VIEW)

instant = RequestSource(name="instant", schema=[Field(name=AS_OF, dtype=Int64)])
purchase_request = RequestSource(
    name="purchase_request",
    schema=[Field(name=name, dtype=Int64 if type_ is int else String) for name, type_ in PURCHASE_COLUMNS.items()],
)
