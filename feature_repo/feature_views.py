"""Stored views hold window states; on-demand views turn them into numbers as of an instant given with the request."""

from collections.abc import Callable, Mapping
from inspect import getdoc
from typing import Any

from feast import Field, OnDemandFeatureView, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, String

from feature_repo import entities, sources
from ibook.edges.feast_on_demand import EVENT_HISTORY, USER_BEHAVIOR
from ibook.edges.feast_views import HEARTBEAT_VIEW, REALTIME_VIEW, SERVED_VIEW, STATE_VIEWS, feast_view
from ibook.entities import EntityName
from ibook.features import ENTITY_FEATURES, REQUEST_FEATURES

STATES = {
    entity: feast_view(view, entities.OF_STATES[entity], sources.STATES[entity]) for entity, view in STATE_VIEWS.items()
}
feature_heartbeat = feast_view(HEARTBEAT_VIEW, entities.updates_partition, sources.heartbeats)
event_realtime_metrics = feast_view(REALTIME_VIEW, entities.OF_STATES["event"], sources.realtime_metrics)
served_features = feast_view(SERVED_VIEW, entities.transaction, sources.served)

Columns = dict[str, list[object]]
Function = Callable[[Columns], Columns]


def finished(
    *of: EntityName, columns: Mapping[str, Any], request: RequestSource | None = None
) -> Callable[[Function], OnDemandFeatureView]:
    """A view whose columns are computed when they are read: from states of entities, or from a request."""
    read = [*(STATES[entity] for entity in of), *([request] if request else []), sources.instant]
    schema = [Field(name=name, dtype=dtype) for name, dtype in columns.items()]

    def register(function: Function) -> OnDemandFeatureView:
        described = on_demand_feature_view(sources=read, schema=schema, mode="python", description=getdoc(function))
        return described(function)

    return register


def numbers(entity: EntityName) -> dict[str, Any]:
    """The finished features of an entity, with their type."""
    return dict.fromkeys(ENTITY_FEATURES[entity].names, Float64)


# Feast keeps the source text of each function below and runs it elsewhere. It may use nothing of this module, not even
# in its annotations: what can't be run as text is kept as bytecode, which another version of Python can't run.
@finished("user", columns=numbers("user"))
def user_features(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """What an account has done, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("user", inputs)


@finished("card", columns=numbers("card"))
def card_features(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """How a card has been used, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("card", inputs)


@finished("device", columns=numbers("device"))
def device_features(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """How a device has been used, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("device", inputs)


@finished("ip", columns=numbers("ip"))
def ip_features(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """What came from an address, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("ip", inputs)


@finished("subnet", columns=numbers("subnet"))
def subnet_features(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """What came from a network (/24, or /48 of IPv6), as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("subnet", inputs)


@finished("bin", columns=numbers("bin"))
def bin_features(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """How the cards of one issuer's number range have been used, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("bin", inputs)


@finished("event", columns=numbers("event"))
def event_features(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """How an event sells, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("event", inputs)


@finished("promoter", columns=numbers("promoter"))
def promoter_features(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """How a promoter's events sell, as of an instant."""
    from ibook.edges.feast_on_demand import entity_columns

    return entity_columns("promoter", inputs)


OF_ENTITIES: dict[EntityName, OnDemandFeatureView] = {
    "user": user_features, "card": card_features, "device": device_features, "ip": ip_features,
    "subnet": subnet_features, "bin": bin_features, "event": event_features, "promoter": promoter_features,
}  # fmt: skip


@finished(columns=dict.fromkeys(REQUEST_FEATURES, Float64), request=sources.purchase_request)
def purchase_features(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """What the purchase itself says; its time is the instant."""
    from ibook.edges.feast_on_demand import purchase_columns

    return purchase_columns(inputs)


@finished("event", "promoter", columns=dict.fromkeys(EVENT_HISTORY, Float64))
def event_historical_metrics(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """What an event has sold up to an instant, and how its promoter's events sold."""
    from ibook.edges.feast_on_demand import event_history_columns

    return event_history_columns(inputs)


@finished("user", columns={name: String if type_ is str else Float64 for name, type_ in USER_BEHAVIOR.items()})
def user_purchase_behavior(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """What an account buys, up to an instant, and what was thought of its purchases."""
    from ibook.edges.feast_on_demand import user_behavior_columns

    return user_behavior_columns(inputs)
