"""What an action costs the shop, when the purchase is fraud and when it is honest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ibook.messages import Action

ACTIONS: tuple[Action, ...] = ("approve", "review", "challenge", "decline")
"""The rows of every table of costs, from the mildest to the harshest."""
Money = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What actions cost, in minor units or as shares. Assumed: nobody publishes them; change them to your own."""

    margin: float = 0.12
    """Share of the amount a shop earns; lost with an honest buyer."""
    goodwill_minor: float = 1_000.0
    """Worth of an honest buyer's patience, lost with a wrong decline or an abandoned challenge."""
    chargeback_fee_minor: float = 2_000.0
    review_minor: float = 400.0
    """A reviewer's minutes."""
    review_errs: float = 0.1
    challenge_abandoned: float = 0.1
    """Share of honest buyers who give up at a challenge."""
    challenge_passed: float = 0.1
    """Share of fraudsters who pass it."""


def disputes(amounts: Money, costs: Costs) -> Money:
    """Expected loss to disputes of each action on fraud of these amounts, shape ``(4, n)``; minor units."""
    loss = amounts + costs.chargeback_fee_minor
    return np.stack([loss, costs.review_errs * loss, costs.challenge_passed * loss, 0 * loss])


def lost_sales(amounts: Money, costs: Costs) -> Money:
    """Expected loss of honest sales of each action on honest purchases, shape ``(4, n)``; minor units."""
    loss = costs.margin * amounts + costs.goodwill_minor
    return np.stack([0 * loss, costs.review_errs * loss, costs.challenge_abandoned * loss, loss])


def reviews(amounts: Money, costs: Costs) -> Money:
    """What looking at it costs, whatever it was, shape ``(4, n)``; minor units."""
    return np.outer([0.0, costs.review_minor, 0.0, 0.0], np.ones_like(amounts))


def costs_of_actions(amounts: Money, is_fraud: NDArray[np.bool_], costs: Costs) -> Money:
    """Expected cost of every action for purchases of known kind, shape ``(4, n)``; minor units."""
    kind = np.where(is_fraud, disputes(amounts, costs), lost_sales(amounts, costs))
    return kind + reviews(amounts, costs)
