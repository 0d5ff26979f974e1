"""Whether rings are found whose accounts each stay below every limit, at fixed rates of false alarms."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ibook.features import FEATURE_NAMES
from ibook.fraud import decide_all
from ibook.rules import VerdictPolicy
from simulator.profile.observed import Features, Observed

RING = "scalper-ring"
RULE = "ring_buys_out"
RATES = (0.0005, 0.001, 0.002)
"""Shares of honest purchases at which the catch rate is given. A shop that challenges one fan in a thousand is not
noticed; assumed."""
COLUMNS = (
    "subnet_distinct_cards_1h", "subnet_distinct_bins_1h", "subnet_tickets_1h", "user_first_seen_age_seconds",
)  # fmt: skip
MOST_ISSUERS = 4
FRESH_SECONDS = 86_400
FRESH_TIMES = 4.0
"""How many times more an account weighs that nobody saw before today: what the packaged rule's two bounds amount to."""


@dataclass(frozen=True)
class Rings:
    """What is caught of scalper rings, purchase by purchase; the first ones can't be, nobody knows of the ring yet."""

    n_ring: int
    n_honest: int
    recall_at: dict[float, float]
    """Share of false alarms among honest purchases -> share of the ring's that is caught by the number alone."""
    rule_recall: float | None
    """Of the policy's rule; None when no ring bought anything, or the policy has no such rule."""
    rule_false_alarms: float
    """Share of honest purchases that hit the rule."""
    mistaken: dict[str, int]
    """Who the honest ones were that hit it."""


def ring_numbers(features: Features) -> NDArray[np.float64]:
    """(Cards per issuer - 1) x tickets of the network within the hour, shape ``(n,)``.

    0 where nothing is known, and where so many issuers meet that it is no ring's network.
    """
    columns = [features[:, FEATURE_NAMES.index(name)].astype(np.float64) for name in COLUMNS]
    cards, issuers, tickets, first_seen = columns
    weight = np.where(first_seen < FRESH_SECONDS, FRESH_TIMES, 1.0) * (issuers <= MOST_ISSUERS)
    numbers = (cards / np.maximum(issuers, 1.0) - 1.0) * tickets * weight
    return np.where(np.isnan(numbers), 0.0, numbers)


def measure(observed: Observed, features: Features, policy: VerdictPolicy) -> Rings:
    """Judge the number at fixed rates of false alarms, and the policy's rule as it is."""
    truths = [observed.truth_of(purchase) for purchase in observed.purchases]
    is_ring = np.array([truth.pattern == RING for truth in truths], np.bool_)
    is_honest = np.array([not (truth.is_fraud or truth.is_abuse) for truth in truths], np.bool_)
    numbers, hit = ring_numbers(features), _hit(observed, features, policy)
    mistaken = np.flatnonzero(hit & is_honest)
    return Rings(
        n_ring=int(is_ring.sum()), n_honest=int(is_honest.sum()),
        recall_at={rate: _recall(numbers, is_ring, is_honest, rate) for rate in RATES} if is_ring.any() else {},
        rule_recall=float(hit[is_ring].mean()) if is_ring.any() and _has_rule(policy) else None,
        rule_false_alarms=float(hit[is_honest].mean()),
        mistaken=dict(Counter(truths[place].look_alike or "nobody in particular" for place in mistaken).most_common()),
    )  # fmt: skip


def _has_rule(policy: VerdictPolicy) -> bool:
    return any(rule.id == RULE for rule in policy.rules)


def _hit(observed: Observed, features: Features, policy: VerdictPolicy) -> NDArray[np.bool_]:
    n, last = len(features), observed.purchases[-1].occurred_at
    decisions = decide_all([0.0] * n, features, observed.purchases, policy, "normal", [1.0] * n, last)
    return np.array([RULE in decision.rules for decision in decisions], np.bool_)


def _recall(
    numbers: NDArray[np.float64], is_ring: NDArray[np.bool_], is_honest: NDArray[np.bool_], rate: float
) -> float:
    """Share of the ring's purchases above the number that no more than `rate` of the honest ones exceed."""
    honest: Sequence[float] = np.sort(numbers[is_honest])[::-1].tolist()
    bound = honest[int(rate * len(honest))]
    return float((numbers[is_ring] > bound).mean())
