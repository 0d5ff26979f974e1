"""The linear programme of a price decision: which mixture of prices earns most from the seats there are.

Ferreira, Simchi-Levi & Wang (2018), Online Network Revenue Management Using Thompson Sampling, algorithm 1: draw the
demand from the posterior, then solve for the share of offers each price gets,

    maximise    sum over types t, prices i   w_t x_ti p_ti q_ti
    subject to  sum over types t, prices i   w_t x_ti q_ti  <=  seats per offer,   sum_i x_ti <= 1,   x >= 0,

with w_t the share of offers that are for type t and q_ti = P(sale | offer). There is one capacity, so the optimum is a
mixture of two of its Lagrangian's solutions; finding them for all draws at once is some hundred times faster than a
solver's call per draw, and gives the same optimum (the tests compare it with HiGHS).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BISECTIONS = 22


def solve(prices: Sequence[Floats], chances: Sequence[Floats], weights: Floats,
          seats_per_offer: float | Floats) -> list[Floats]:  # fmt: skip
    """Shares of the prices of each ticket type, per draw: arrays of shape ``(n_draws, n_prices)``, rows sum to <= 1.

    `prices` are ``(n_prices,)`` per type, `chances` ``(n_draws, n_prices)``, `weights` ``(n_types,)``;
    `seats_per_offer` is one number, or one per draw. What a row leaves is offers that should better not be made at
    these prices.
    """
    free = _best(prices, chances, np.zeros(len(chances[0])))
    sold_free = _sold(chances, weights, free)
    if np.all(sold_free <= seats_per_offer):
        return free
    low, high = np.zeros(len(sold_free)), np.full(len(sold_free), float(max(one.max() for one in prices)) + 1.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_many = _sold(chances, weights, _best(prices, chances, middle)) > seats_per_offer
        low, high = np.where(too_many, middle, low), np.where(too_many, high, middle)
    return _mix(prices, chances, weights, seats_per_offer, low=low, high=high, free=free)


def _mix(prices: Sequence[Floats], chances: Sequence[Floats], weights: Floats, seats_per_offer: float | Floats, *,
         low: Floats, high: Floats, free: list[Floats]) -> list[Floats]:  # fmt: skip
    """As much of the cheaper solution (a seat is worth a little less) as there are seats for."""
    cheaper, dearer = _best(prices, chances, low), _best(prices, chances, high)
    more, less = _sold(chances, weights, cheaper), _sold(chances, weights, dearer)
    share = np.clip((seats_per_offer - less) / np.maximum(more - less, 1e-12), 0.0, 1.0)[:, None]
    enough = (_sold(chances, weights, free) <= seats_per_offer)[:, None]
    return [
        np.where(enough, at_zero, share * one + (1.0 - share) * other)
        for at_zero, one, other in zip(free, cheaper, dearer, strict=True)
    ]


def _best(prices: Sequence[Floats], chances: Sequence[Floats], worth: Floats) -> list[Floats]:
    """The price that earns most beyond what a seat is worth, as shares; none where nothing does."""
    chosen = []
    for price, chance in zip(prices, chances, strict=True):
        gain = (price[None, :] - worth[:, None]) * chance
        best = np.argmax(gain, axis=1)
        share = np.zeros_like(chance)
        share[np.arange(len(best)), best] = gain.max(axis=1) > 0.0
        chosen.append(share)
    return chosen


def _sold(chances: Sequence[Floats], weights: Floats, shares: Sequence[Floats]) -> Floats:
    """Sales per offer, shape ``(n_draws,)``."""
    sold = np.zeros(len(chances[0]))
    for weight, chance, share in zip(weights, chances, shares, strict=True):
        sold += weight * (chance * share).sum(axis=1)
    return sold


def to_probabilities(shares: Floats) -> Floats:
    """Mean shares over all draws, shape ``(n_prices,)``, that sum to 1: what is left goes to the highest price.

    Prices ascend. A buyer who had better not be served is shown the price at which fewest buy.

    >>> to_probabilities(np.array([[0.0, 0.5, 0.0], [0.0, 1.0, 0.0]])).tolist()
    [0.0, 0.75, 0.25]
    """
    average: Floats = np.asarray(shares, dtype=np.float64).mean(axis=0)
    average[-1] += max(0.0, 1.0 - float(average.sum()))
    return average
