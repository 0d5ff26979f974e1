"""What an action costs the shop, when the purchase is fraud and when it is honest."""

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from ibook.messages import Action

ACTIONS: tuple[Action, ...] = ("approve", "review", "challenge", "decline")
"""The rows of every table of costs, from the mildest to the harshest."""
Money = NDArray[np.float64]


Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Minor = Annotated[float, Meta(ge=0.0, le=1e9)]


class Costs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What actions cost, in minor units or as shares. Assumed: nobody publishes them; change them to your own."""

    margin: Share = 0.12
    """Share of the amount a shop earns; lost with an honest buyer."""
    goodwill_minor: Minor = 1_000.0
    """Worth of an honest buyer's patience, lost with a wrong decline or an abandoned challenge."""
    chargeback_fee_minor: Minor = 2_000.0
    review_minor: Minor = 400.0
    """A reviewer's minutes."""
    review_errs: Share = 0.1
    challenge_minor: Minor = 0.0
    """What a challenge costs in itself: the provider's fee, and what it annoys."""
    challenge_abandoned: Share = 0.1
    """Share of honest buyers who give up at a challenge."""
    challenge_passed: Share = 0.1
    """Share of fraudsters who pass it."""
    reviews_per_day: Annotated[int, Meta(ge=0)] | None = None
    """How many the reviewers can do, rules' reviews included; None: as many as pay."""
    queue_minor: Minor = 0.0
    """What a review costs beyond its minutes because others then wait: the price at which no more than
    `reviews_per_day` are asked for. It steers, but nobody pays it. `ibook policies fit` finds it."""
    stale_odds: Annotated[float, Meta(ge=1.0)] = 1.5
    """How many times the score's odds of fraud are, when the score may not know the last minutes."""


def disputes(amounts: Money, costs: Costs) -> Money:
    """Expected loss to disputes of each action on fraud of these amounts, shape ``(4, n)``; minor units."""
    loss = amounts + costs.chargeback_fee_minor
    return np.stack([loss, costs.review_errs * loss, costs.challenge_passed * loss, 0 * loss])


def lost_sales(amounts: Money, costs: Costs) -> Money:
    """Expected loss of honest sales of each action on honest purchases, shape ``(4, n)``; minor units."""
    loss = costs.margin * amounts + costs.goodwill_minor
    return np.stack([0 * loss, costs.review_errs * loss, costs.challenge_abandoned * loss, loss])


def reviews(amounts: Money, costs: Costs) -> Money:
    """What looking at it, or asking for proof, costs, whatever it was, shape ``(4, n)``; minor units."""
    return np.outer([0.0, costs.review_minor, costs.challenge_minor, 0.0], np.ones_like(amounts))


def costs_of_actions(amounts: Money, is_fraud: NDArray[np.bool_], costs: Costs) -> Money:
    """Expected cost of every action for purchases of known kind, shape ``(4, n)``; minor units."""
    kind = np.where(is_fraud, disputes(amounts, costs), lost_sales(amounts, costs))
    return kind + reviews(amounts, costs)
