"""Feast's DuckDB offline store with an as-of join, named by the `feature_store.yaml` that we write. Imports Feast.

Feast 0.67 pairs every asked row with every earlier row of its key before it keeps the newest: time and memory grow with
the square of what a busy event has. DuckDB's own ASOF join walks both sides once.
"""

from collections.abc import Sequence
from typing import Any, Literal

from ibook.edges.feast_import import import_feast

import_feast()
import ibis  # noqa: E402
import pandas as pd  # noqa: E402
from feast import FeatureView, FileSource, OnDemandFeatureView, RepoConfig  # noqa: E402
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig  # noqa: E402
from feast.infra.offline_stores.ibis import IbisRetrievalJob  # noqa: E402
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata  # noqa: E402
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df  # noqa: E402

_ROW, _SINCE, _KEY = "__row", "__since", "__key_"


class AsofDuckDBOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """As Feast's."""

    type: Literal["ibook.edges.feast_duckdb.AsofDuckDBOfflineStore"] = "ibook.edges.feast_duckdb.AsofDuckDBOfflineStore"


class AsofDuckDBOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """Feast's DuckDB store; historical features come by an as-of join, in the order of the rows that ask."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig, feature_views: list[FeatureView], feature_refs: list[str], entity_df: Any, registry: Any,
        project: str, full_feature_names: bool = False, **more: Any,
    ) -> RetrievalJob:  # fmt: skip
        """Per row of `entity_df`, the newest row of its key that is not later; null where there is none.

        Views of anything but files, with a TTL, full names or another option than these: as Feast does it.
        """
        files = all(isinstance(each.batch_source, FileSource) and not each.ttl for each in feature_views)
        if not files or full_feature_names or any(more.values()) or not isinstance(entity_df, pd.DataFrame):
            return DuckDBOfflineStore.get_historical_features(
                config, feature_views, feature_refs, entity_df, registry, project, full_feature_names, **more
            )
        time_column = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        times = pd.to_datetime(entity_df[time_column], utc=True)
        return IbisRetrievalJob(
            table=_joined(entity_df.assign(**{time_column: times}), time_column, feature_views, feature_refs),
            on_demand_feature_views=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            full_feature_names=False,
            metadata=RetrievalMetadata(
                feature_refs, [name for name in entity_df.columns if name != time_column], times.min(), times.max()
            ),
            data_source_writer=None, staging_location=None, staging_location_endpoint_override=None,
            repo_path=str(config.repo_path),
        )  # fmt: skip


def _joined(asked: pd.DataFrame, time_column: str, views: Sequence[FeatureView], refs: Sequence[str]) -> ibis.Table:
    """The rows that ask, with the wanted columns of every view."""
    table = ibis.memtable(asked.assign(**{_ROW: range(len(asked))}))
    for view in views:
        name = view.projection.name_to_use()
        columns = [ref.split(":")[1] for ref in refs if ref.startswith(f"{name}:")]
        keys = view.projection.join_key_map or {each.name: each.name for each in view.entity_columns}
        rows = _rows(view, keys, columns)
        same = [table[asked_key] == rows[_KEY + key] for key, asked_key in keys.items()]
        joined = table.asof_join(rows, on=table[time_column] >= rows[_SINCE], predicates=same)
        table = joined.select(*table.columns, *columns)
    return table.order_by(_ROW).drop(_ROW)


def _rows(view: FeatureView, keys: dict[str, str], columns: Sequence[str]) -> ibis.Table:
    """The stored rows of a view; a file that was written before a column was declared has null there."""
    source = view.batch_source
    stored = ibis.read_parquet(source.path, union_by_name=True)
    since = stored[source.timestamp_field].cast("timestamp('UTC', 6)")
    return stored.select(
        *(stored[key].name(_KEY + key) for key in keys), since.name(_SINCE), *(stored[column] for column in columns)
    )
