"""The catalogue of reason codes, and how the model's contributions are mapped to them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ibook.features import FEATURE_NAMES, FEATURES
from ibook.messages import ReasonCode

MAX_REASONS = 3
_OF_REQUEST = {
    "amount_minor": "amount", "n_tickets": "n_tickets", "amount_per_ticket_minor": "amount",
    "account_age_seconds": "account_age", "country_mismatch": "country_mismatch", "hour_of_day": "hour_of_day",
    "days_to_event": "days_to_event", "price_over_list": "price_over_list",
}  # fmt: skip
REASONS: Mapping[str, str] = {feature.name: feature.why for feature in FEATURES if feature.for_model} | {
    "amount": "The amount, in all or per ticket, is unlike an honest order's.",
    "n_tickets": "The number of tickets is unlike an honest order's.",
    "account_age": "New accounts carry more risk.",
    "country_mismatch": "Card and address are of different countries.",
    "hour_of_day": "The hour is unusual.",
    "days_to_event": "Most fraud is for tonight.",
    "price_over_list": "The price paid is unlike the list price.",
    "listed": "Somebody put it on a list.",
}
"""The catalogue: reason code -> why it counts. A declared feature is its own code, all its windows together."""
_CODES = tuple(REASONS)
_CODE_OF = {name: feature.name for feature in FEATURES if feature.for_model for name in feature.names()} | _OF_REQUEST
_CODE_INDEX = np.array([_CODES.index(_CODE_OF.get(name, name)) for name in FEATURE_NAMES])


def codes_of(contributions: NDArray[np.float64]) -> list[ReasonCode]:
    """The codes that weighed most for fraud, `MAX_REASONS` at most; what speaks against it is no reason.

    `contributions` are log-odds of shape ``(len(FEATURE_NAMES),)``; the features of one code are added up.
    """
    weights = np.bincount(_CODE_INDEX, weights=contributions, minlength=len(_CODES))
    top = [int(index) for index in np.argsort(-weights, kind="stable")[:MAX_REASONS]]
    return [ReasonCode(code=_CODES[i], contribution=float(weights[i])) for i in top if weights[i] > 0]


def codes_of_rules(rules: Sequence[tuple[str, str]]) -> list[ReasonCode]:
    """One reason per rule that was hit, from (rule id, code)."""
    return [ReasonCode(code=code, contribution=0.0, rule=rule) for rule, code in rules]
