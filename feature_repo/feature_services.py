"""The feature list of each model version."""

from feast import FeatureService

from feature_repo.feature_views import OF_ENTITIES, purchase_features
from ibook.features import ENTITY_FEATURES, FEATURE_NAMES_HASH

fraud = FeatureService(
    name=f"fraud_{FEATURE_NAMES_HASH}",
    features=[
        *(OF_ENTITIES[entity][declared.model_names] for entity, declared in ENTITY_FEATURES.items()),
        purchase_features,
    ],
    description="All that a fraud model of this feature list sees; `ibook.features.FEATURE_NAMES` gives the order.",
    tags={"feature_names_hash": FEATURE_NAMES_HASH, "model": "fraud"},
)
