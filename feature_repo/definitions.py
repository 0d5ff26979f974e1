"""All that is registered, imported by name: the one file Feast reads."""

from feast import Project

from feature_repo.entities import card, device, event, promoter, updates_partition, user
from feature_repo.feature_services import fraud_v1
from feature_repo.feature_views import (
    card_features,
    card_state,
    device_features,
    device_state,
    event_features,
    event_realtime_metrics,
    event_state,
    feature_heartbeat,
    purchase_features,
    user_features,
    user_state,
)
from ibook.edges.feast_config import PROJECT

__all__ = [
    "card", "card_features", "card_state", "device", "device_features", "device_state", "event", "event_features",
    "event_realtime_metrics", "event_state", "feature_heartbeat", "fraud_v1", "project", "promoter",
    "purchase_features", "updates_partition", "user", "user_features", "user_state",
]  # fmt: skip

project = Project(name=PROJECT, description="Fraud verdicts and prices for a ticket shop")
