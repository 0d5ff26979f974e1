"""The feature list of each model version."""

from feast import FeatureService

from feature_repo.feature_views import (
    card_features,
    device_features,
    event_features,
    purchase_features,
    user_features,
)
from ibook.features import FEATURE_NAMES_HASH

fraud_v1 = FeatureService(
    name="fraud_v1",
    features=[card_features, device_features, user_features, event_features, purchase_features],
    description="Everything the fraud model sees, by name; `ibook.features.FEATURE_NAMES` gives the order.",
    tags={"feature_names_hash": FEATURE_NAMES_HASH},
)
