"""What the online store holds: one view per kind of row, named and typed once.

The workers write and read these views, `feature_repo/` registers them; both take names, keys and columns from here,
and those come from `ibook.features`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ibook.entities import EntityName
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES, RealtimeMetrics

if TYPE_CHECKING:
    from feast import Entity, FeatureView, Field
    from feast.data_source import DataSource

Column = type[bytes] | type[int] | type[float] | type[str]


@dataclass(frozen=True, kw_only=True)
class View:
    """A view of the online store: one row per key."""

    name: str
    entity: str
    join_key: str
    key_type: Column = str
    columns: Mapping[str, Column]
    description: str


STATE_VIEWS: dict[EntityName, View] = {
    # The column repeats the view's name: a read of several views returns columns by their own name alone.
    entity: View(
        name=f"{entity}_state", entity=entity, join_key=f"{entity}_id", columns={f"{entity}_state": bytes},
        description=f"Window state of a {entity}: tiles that `ibook.features` finishes as of an instant.",
    )
    for entity in ENTITY_FEATURES
}  # fmt: skip
HEARTBEAT_VIEW = View(
    name="feature_heartbeat", entity="updates_partition", join_key="updates_partition", key_type=int,
    columns={"heartbeat": bytes},
    description="How far the feature workers have pushed, per partition of entity-updates.",
)  # fmt: skip
REALTIME_VIEW = View(
    name="event_realtime_metrics", entity="event", join_key="event_id",
    columns={field.name: float if field.type in (float, "float") else int for field in fields(RealtimeMetrics)},
    description="What an event looks like now; pushed on a tick, so quiet windows empty out.",
)  # fmt: skip
SERVED_VIEW = View(
    name="served_features", entity="transaction", join_key="transaction_id",
    columns=dict.fromkeys(FEATURE_NAMES, float),
    description="What the fraud model was given when it judged a purchase, from the archive of the evidence.",
)  # fmt: skip
"""Offline alone."""
VIEWS: tuple[View, ...] = (*STATE_VIEWS.values(), HEARTBEAT_VIEW, REALTIME_VIEW)
"""Those of the online store."""


def feast_entity(view: View) -> "Entity":
    """The Feast entity whose rows a view holds."""
    from feast import Entity, ValueType

    value_type = ValueType.INT64 if view.key_type is int else ValueType.STRING
    return Entity(name=view.entity, join_keys=[view.join_key], value_type=value_type)


def feast_fields(view: View) -> "list[Field]":
    """Key and columns with their Feast types."""
    from feast import Field
    from feast.types import Bytes, Float64, Int64, String

    dtypes = {bytes: Bytes, int: Int64, float: Float64, str: String}
    columns = {view.join_key: view.key_type, **view.columns}
    return [Field(name=name, dtype=dtypes[column]) for name, column in columns.items()]


def feast_view(view: View, entity: "Entity", source: "DataSource | None" = None) -> "FeatureView":
    """The Feast view; reading and writing rows needs no source, registering does."""
    from feast import FeatureView

    return FeatureView(
        name=view.name, entities=[entity], schema=feast_fields(view), source=source, description=view.description,
        online=view in VIEWS,
    )  # fmt: skip
