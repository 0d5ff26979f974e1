"""Stored views hold window states; on-demand views turn them into numbers as of an instant given with the request."""

from typing import Any

from feast import Field
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64

from feature_repo import entities, sources
from ibook.edges.feast_views import HEARTBEAT_VIEW, REALTIME_VIEW, STATE_VIEWS, feast_view
from ibook.entities import EntityName
from ibook.features import ENTITY_FEATURES, REQUEST_FEATURES

card_state = feast_view(STATE_VIEWS["card"], entities.card, sources.card_states)
device_state = feast_view(STATE_VIEWS["device"], entities.device, sources.device_states)
user_state = feast_view(STATE_VIEWS["user"], entities.user, sources.user_states)
event_state = feast_view(STATE_VIEWS["event"], entities.event, sources.event_states)
feature_heartbeat = feast_view(HEARTBEAT_VIEW, entities.updates_partition, sources.heartbeats)
event_realtime_metrics = feast_view(REALTIME_VIEW, entities.event, sources.realtime_metrics)


def numbers(entity: EntityName) -> list[Field]:
    """The finished features of an entity."""
    return [Field(name=name, dtype=Float64) for name in ENTITY_FEATURES[entity].names]


# Feast keeps the source text of each function below and runs it elsewhere: it may use nothing of this module.
@on_demand_feature_view(sources=[card_state, sources.instant], schema=numbers("card"), mode="python")  # type: ignore[untyped-decorator]
def card_features(inputs: dict[str, Any]) -> dict[str, Any]:
    """How a card has been used, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("card", inputs)


@on_demand_feature_view(sources=[device_state, sources.instant], schema=numbers("device"), mode="python")  # type: ignore[untyped-decorator]
def device_features(inputs: dict[str, Any]) -> dict[str, Any]:
    """How a device has been used, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("device", inputs)


@on_demand_feature_view(sources=[user_state, sources.instant], schema=numbers("user"), mode="python")  # type: ignore[untyped-decorator]
def user_features(inputs: dict[str, Any]) -> dict[str, Any]:
    """What a user has done, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("user", inputs)


@on_demand_feature_view(sources=[event_state, sources.instant], schema=numbers("event"), mode="python")  # type: ignore[untyped-decorator]
def event_features(inputs: dict[str, Any]) -> dict[str, Any]:
    """How an event sells, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("event", inputs)


@on_demand_feature_view(  # type: ignore[untyped-decorator]
    sources=[sources.purchase_request, sources.instant],
    schema=[Field(name=name, dtype=Float64) for name in REQUEST_FEATURES],
    mode="python",
)
def purchase_features(inputs: dict[str, Any]) -> dict[str, Any]:
    """What the purchase itself says; its time is the instant."""
    from ibook.edges.feast_on_demand import purchase_columns

    return purchase_columns(inputs)
