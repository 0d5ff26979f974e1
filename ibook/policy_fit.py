"""Fits a policy's costs to a past: the price of the reviewers' queue, and how much exploration it can afford.

What the reviewers can do is a bound over a day, and a verdict knows no day. So the bound becomes a price (Lagrange's):
the least one at which the past's purchases would have asked for no more reviews than that. Every purchase is then
decided by itself, and the order of what is worth a look stays that of the money at stake.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from ibook.cheapest import expected
from ibook.costs import ACTIONS, Costs
from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES_HASH
from ibook.fraud import Decision, decide_all
from ibook.messages import Action, PurchaseRequested, VerdictEvidence
from ibook.rules import VerdictPolicy

CERTAIN_NOT_TO_EXPLORE = 1.0
LEAST = 200
"""Scored purchases below which a day's reviews are guesswork."""
DAY = timedelta(days=1)


@dataclass(frozen=True)
class ScoredPast:
    """Purchases that were scored in posture `normal`, oldest first: n of them, of some days."""

    purchases: Sequence[PurchaseRequested]
    scores: NDArray[np.float64]
    """Calibrated P(fraud), shape ``(n,)``."""
    matrix: NDArray[np.float32]
    """Shape ``(n, len(FEATURE_NAMES))``."""
    days: float
    at: datetime
    """By whose clock rules expire."""

    @property
    def amounts(self) -> NDArray[np.float64]:
        """In minor units, shape ``(n,)``."""
        return np.array([purchase.amount_minor for purchase in self.purchases], dtype=np.float64)


def scored_past(evidence: Iterable[VerdictEvidence], *, days: float) -> ScoredPast:
    """The purchases that were scored in posture `normal` on the last days that evidence tells of.

    Each transaction once. Raises ConfigurationError when they are too few to count anything by.
    """
    found: dict[str, VerdictEvidence] = {}
    for each in evidence:
        if each.posture == "normal" and each.purchase and each.feature_names_hash == FEATURE_NAMES_HASH:
            found.setdefault(each.transaction_id, each)
    last = max((each.occurred_at for each in found.values()), default=None)
    chosen = [each for each in found.values() if last is not None and each.occurred_at > last - days * DAY]
    if len(chosen) < LEAST or last is None:
        raise ConfigurationError(
            f"Only {len(chosen)} purchases were scored on today's features, at least {LEAST} are needed: let the"
            " platform run on, or load a history."
        )
    chosen.sort(key=lambda each: each.occurred_at)
    return ScoredPast(
        purchases=[each.purchase for each in chosen if each.purchase is not None],
        scores=np.array([each.score for each in chosen], dtype=np.float64),
        matrix=np.array([_row(each) for each in chosen], dtype=np.float32),
        days=max((last - chosen[0].occurred_at) / DAY, 1 / 24), at=last,
    )  # fmt: skip


def _row(evidence: VerdictEvidence) -> list[float]:
    return [np.nan if value is None else value for value in evidence.features]


@dataclass(frozen=True)
class Outlook:
    """What a policy would do with a past, per day."""

    actions: dict[Action, float]
    """Purchases per day."""
    cost_minor: float
    """Expected cost per purchase, by the costs of the policy and its scores."""
    declined_minor: float
    """Amount per day that exploration could approve: declined by score alone, up to its largest amount."""


@dataclass(frozen=True)
class Fitted:
    """What to write into the policy, and what it does then."""

    queue_minor: float
    share: float
    before: Outlook
    """With the policy as it is."""
    after: Outlook
    is_enough: bool
    """False: rules alone ask for more reviews than there are, whatever the price."""


def outlook(policy: VerdictPolicy, past: ScoredPast, costs: Costs) -> Outlook:
    """What a policy would have done with a past, exploration aside."""
    decisions = _decisions(policy, past)
    largest = policy.exploration.max_amount_minor
    explorable = np.array([each.action == "decline" and not each.rules for each in decisions])
    amounts = past.amounts
    done: list[Action] = [each.action for each in decisions]
    return Outlook(
        actions={action: done.count(action) / past.days for action in ACTIONS},
        cost_minor=float(expected(costs, past.scores, amounts, done).mean()),
        declined_minor=float(amounts[explorable & (amounts <= largest)].sum()) / past.days,
    )


def fit(policy: VerdictPolicy, past: ScoredPast) -> Fitted:
    """The least price of a review at which `reviews_per_day` suffice, and the share that exploration can afford.

    Raises ConfigurationError for a policy without costs.
    """
    if policy.costs is None:
        raise ConfigurationError(f"verdict policy {policy.version} has no [costs]: there is nothing to fit.")
    price, is_enough = _least_price(policy, past)
    after = outlook(_at_price(policy, price), past, policy.costs)
    return Fitted(
        queue_minor=price, share=_affordable_share(policy, after.declined_minor),
        before=outlook(policy, past, policy.costs), after=after, is_enough=is_enough,
    )  # fmt: skip


def _least_price(policy: VerdictPolicy, past: ScoredPast) -> tuple[float, bool]:
    """The price, by bisection, and whether the reviewers then suffice: not when rules alone ask for more."""
    assert policy.costs is not None
    if _suffices(policy, past, 0.0):
        return 0.0, True
    low, high = 0.0, np.ceil(past.amounts.max() + policy.costs.chargeback_fee_minor)
    if not _suffices(policy, past, high):
        return high, False
    while high - low > 1.0:
        middle = (low + high) // 2
        low, high = (low, middle) if _suffices(policy, past, middle) else (middle, high)
    return high, True


def _at_price(policy: VerdictPolicy, queue_minor: float) -> VerdictPolicy:
    assert policy.costs is not None
    return replace(policy, costs=structs.replace(policy.costs, queue_minor=queue_minor))


def _suffices(policy: VerdictPolicy, past: ScoredPast, queue_minor: float) -> bool:
    """Whether there are reviewers enough at this price of a review."""
    assert policy.costs is not None
    if policy.costs.reviews_per_day is None:
        return True
    decisions = _decisions(_at_price(policy, queue_minor), past)
    asked = sum(each.action == "review" for each in decisions)
    return asked / past.days <= policy.costs.reviews_per_day


def _affordable_share(policy: VerdictPolicy, declined_minor: float) -> float:
    share = policy.exploration.share
    return min(share, policy.exploration.max_per_day_minor / declined_minor) if declined_minor else share


def _decisions(policy: VerdictPolicy, past: ScoredPast) -> list[Decision]:
    draws = [CERTAIN_NOT_TO_EXPLORE] * len(past.purchases)
    return decide_all(past.scores.tolist(), past.matrix, past.purchases, policy, "normal", draws, past.at)
