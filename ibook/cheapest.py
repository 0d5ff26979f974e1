"""What an action is expected to cost for an amount and a calibrated score, and which one costs least.

Each action's expected cost is a straight line in P(fraud), so the cheapest of four is the lower envelope of four lines,
and where two of them cross is a threshold: of this amount, since a large one is worth a look at a lower score.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ibook.costs import ACTIONS, Costs, disputes, lost_sales, reviews
from ibook.messages import Action


class Line(NamedTuple):
    """An action's cost: of an honest purchase, and of a fraudulent one. In between it is straight."""

    honest: float
    fraud: float

    @property
    def slope(self) -> float:
        """How much it grows from P(fraud) 0 to 1."""
        return self.fraud - self.honest

    def at(self, score: float) -> float:
        """Expected cost at P(fraud) = `score`."""
        return self.honest + score * self.slope


def lines(costs: Costs, amount_minor: float) -> tuple[Line, Line, Line, Line]:
    """The costs of `ACTIONS` for an amount, in minor units, with the price of the queue."""
    lost_sale = costs.margin * amount_minor + costs.goodwill_minor
    fraud_loss = amount_minor + costs.chargeback_fee_minor
    review = costs.review_minor + costs.queue_minor
    return (
        Line(0.0, fraud_loss),
        Line(review + costs.review_errs * lost_sale, review + costs.review_errs * fraud_loss),
        Line(costs.challenge_minor + costs.challenge_abandoned * lost_sale,
             costs.challenge_minor + costs.challenge_passed * fraud_loss),
        Line(lost_sale, 0.0),
    )  # fmt: skip


def cheapest(costs: Costs, score: float, amount_minor: float) -> tuple[Action, float]:
    """The action of least expected cost, and its threshold: the score from which it is.

    The threshold of `approve` is the one at which something else begins.

    >>> [cheapest(Costs(), score, 10_000)[0] for score in (0.001, 0.05, 0.9)]
    ['approve', 'challenge', 'decline']
    """
    each = lines(costs, amount_minor)
    best = min(range(len(ACTIONS)), key=lambda place: each[place].at(score))
    if best == 0:
        return "approve", min(1.0, *(_crossing(each[0], line) for line in each[1:]))
    begins = [_crossing(line, each[best]) for line in each if line.slope > each[best].slope]
    return ACTIONS[best], max(0.0, max(begins, default=0.0))


def _crossing(steeper: Line, flatter: Line) -> float:
    """P(fraud) from which the flatter line is the lower one; infinite where that never is."""
    gap = steeper.slope - flatter.slope
    return (flatter.honest - steeper.honest) / gap if gap > 0.0 else float("inf")


def with_odds(score: float, times: float) -> float:
    """The probability whose odds are so many times those of `score`.

    >>> round(with_odds(0.5, 2.0), 3), round(with_odds(with_odds(0.2, 3.0), 1 / 3.0), 3)
    (0.667, 0.2)
    """
    return times * score / (1.0 - score + times * score)


def expected(
    costs: Costs, scores: NDArray[np.float64], amounts: NDArray[np.float64], actions: Sequence[Action]
) -> NDArray[np.float64]:
    """Expected cost of what was done with each of n purchases, shape ``(n,)``, if the scores are calibrated."""
    own = np.array([ACTIONS.index(action) for action in actions]), np.arange(len(actions))
    fixed, fraud, honest = (part(amounts, costs)[own] for part in (reviews, disputes, lost_sales))
    return np.asarray(fixed + scores * fraud + (1.0 - scores) * honest, dtype=np.float64)
