"""One purchase, its features, and what the packaged policy decides about it."""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ibook.features import FEATURE_NAMES
from ibook.fraud import Decision, decide
from ibook.messages import Posture, PurchaseRequested
from ibook.rules import DEFAULT_POLICY_PATH, load_policy

POLICY = load_policy()
TEXT = DEFAULT_POLICY_PATH.read_text()
NO_LUCK = 0.999
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
PURCHASE = PurchaseRequested(
    message_id="m", occurred_at=NOON, transaction_id="t", user_id="u-1", card_id="c-1", device_id="d-1",
    ip="192.0.2.7", event_id="e", amount_minor=9_000, currency="EUR", n_tickets=2, ticket_type="standing",
    bin="400000", card_country="DE", ip_country="DE", email_domain="example.org", account_opened_at=NOON,
)  # fmt: skip
QUIET = {
    "amount_minor": 9_000, "n_tickets": 2, "amount_per_ticket_minor": 4_500, "account_age_seconds": 3e7,
    "country_mismatch": 0, "hour_of_day": 18, "card_attempts_1m": 1, "card_attempts_1h": 1, "device_attempts_1m": 1,
    "device_distinct_cards_1h": 1, "card_distinct_users_24h": 1, "device_first_seen_age_seconds": 1e6,
    "card_decline_ratio_1h": 0.0, "user_login_failures_1h": 0, "user_amount_sum_24h": 9_000,
}  # fmt: skip


def vector(**changed: float) -> NDArray[np.float32]:
    values = np.full(len(FEATURE_NAMES), np.nan, dtype=np.float32)
    for name, value in (QUIET | changed).items():
        values[FEATURE_NAMES.index(name)] = value
    return values


def decided(score: float | None, posture: Posture = "normal", draw: float = NO_LUCK, **changed: float) -> Decision:
    return decide(score, vector(**changed), PURCHASE, POLICY, posture, draw, NOON)
