"""Evidence for tests: of a purchase nobody minded."""

from datetime import timedelta

from ibook.features import FEATURE_NAMES, FEATURE_NAMES_HASH, vector
from ibook.messages import PurchaseRequested, VerdictEvidence


def evidence_for(purchase: PurchaseRequested, offset: int, *, score: float | None = 0.25) -> VerdictEvidence:
    """What a verdict worker would write about a first purchase, read from partition 0."""
    features = [None if value != value else value for value in vector(purchase, {}).tolist()]
    assert len(features) == len(FEATURE_NAMES)
    return VerdictEvidence(
        message_id=f"evidence-{offset}", occurred_at=purchase.occurred_at + timedelta(milliseconds=20),
        decision_id=f"0-{offset}", transaction_id=purchase.transaction_id, purchase=purchase,
        source=("ticket-purchases", 0, offset), action="approve", posture="normal", score=score, threshold=0.6,
        propensity=1.0, explored=False, rules=[], reasons=[], feature_names_hash=FEATURE_NAMES_HASH, features=features,
        states=[], staleness_seconds=0.1, model_version="1", policy_version="1",
    )  # fmt: skip
