"""How much of what is believed possible is tried out: as much as the offers still to come repay.

Let V be the variance of the best price under the posterior. To show prices that differ by a variance of b² V costs
b² V of each offer, in proportion; not to know the best price costs V of it; and each offer adds i b² V to the precision
1 / V. With one b for the n offers still to come, the k-th of them loses (1 + b²) V / sqrt(1 + 2 b² i V² k). Together
they lose least where b² = 1 - sqrt(2 / a), with a = i V² n: by how much n offers of Thompson sampling, which is b = 1,
would multiply the precision. Below a = 2 trying out is not repaid at all. Compare den Boer & Zwart (2014),
Simultaneously Learning and Optimizing Using Controlled Variance Pricing.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_BOLD = 0.35
"""However few are to come: demand may change, and more may come than are expected. Chapelle & Li (2011), An Empirical
Evaluation of Thompson Sampling, section 3, find 0.25 to 0.5 best."""


def boldness(gained: float) -> float:
    """Share of their distance from the mean that draws keep, where Thompson sampling would multiply the precision of
    the best price by 1 + `gained`.

    >>> boldness(1.0), round(boldness(8.0), 3), round(boldness(1e6), 3)
    (0.35, 0.707, 0.999)
    """
    return max(LEAST_BOLD, float(np.sqrt(1.0 - np.sqrt(2.0 / max(2.0, gained)))))


def gained_by_trying(prices: Floats, draws: Floats, *, slope_variance: float, offers_ahead: float) -> float:
    """By how much the precision of a ticket type's best price would grow if every price were as likely as it is best.

    `prices` are multiples of the list price, shape ``(n_prices,)``, and `draws` of P(sale | offer) have the shape
    ``(n_draws, n_prices)``; `slope_variance` is that of the log-odds of a sale per list price. The information of a
    logit curve's offers on its slope is P (1 - P) times the prices' variance.
    """
    best = prices[np.argmax(draws * prices, axis=1)]
    chance = float(np.interp(best.mean(), prices, draws.mean(axis=0)))
    return offers_ahead * chance * (1.0 - chance) * float(best.var()) * slope_variance
