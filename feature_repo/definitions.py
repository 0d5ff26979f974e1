"""All that is registered: the one file Feast reads. Feast looks at the names of the module, so each object gets one."""

from feast import Project

from feature_repo import entities, feature_services, feature_views
from ibook.edges.feast_config import PROJECT

project = Project(name=PROJECT, description="Fraud verdicts and prices for a ticket shop")
REGISTERED = [
    *entities.OF_STATES.values(), entities.updates_partition, entities.transaction,
    *feature_views.STATES.values(), *feature_views.OF_ENTITIES.values(), feature_views.purchase_features,
    feature_views.event_realtime_metrics, feature_views.event_historical_metrics,
    feature_views.user_purchase_behavior, feature_views.feature_heartbeat, feature_views.served_features,
    feature_services.fraud,
]  # fmt: skip
globals().update({each.name: each for each in REGISTERED})
