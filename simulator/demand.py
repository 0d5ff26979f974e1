"""Willingness to pay: a logit choice between buying at the shown price and leaving.

Every segment of visitors has a taste of its own for a ticket type. What it answers today depends on the days that are
left, on what a competitor asks, and on the mood of the market.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp, log
from random import Random
from typing import Literal, get_args

Segment = Literal["fans", "families", "tourists", "bargain_hunters"]
SEGMENTS: tuple[Segment, ...] = get_args(Segment)
ELASTICITIES = (-2.0, -0.3)
"""Range every own-price elasticity at list price is drawn from: studies of sport and culture differ this much."""
ELASTIC: Mapping[Segment, tuple[float, float]] = {
    "fans": (-1.7, -0.3), "families": (-1.9, -0.35), "tourists": (-1.8, -0.3), "bargain_hunters": (-2.0, -0.5),
}  # fmt: skip
"""The part of it that a segment's are drawn from. Assumed: fans mind least, bargain hunters most, and events differ by
more than segments do."""
BUYS: Mapping[Segment, tuple[float, float]] = {
    "fans": (0.5, 0.75), "families": (0.42, 0.66), "tourists": (0.42, 0.66), "bargain_hunters": (0.3, 0.55),
}  # fmt: skip
"""Range of P(buy | shown the list price). Assumed: nobody publishes it; it sets prices shown per purchase near 2."""
LATE_DAYS = 10.0
"""A taste turns from its early to its late form over so many days before the start. Assumed."""
RIVAL_WEIGHT, RIVAL_REACH = 1.0, 0.25
"""Log-odds of buying lost for each 100 % that our price lies above the competitor's, and how far above it all who
compare are gone. Assumed: at 15 % above, the odds fall by a seventh. Just above the competitor's price this makes
demand steeper than its own elasticity."""


@dataclass(frozen=True, slots=True)
class Demand:
    """P(buy | price) = 1 / (1 + exp(-(intercept + slope * price))), price in minor units, slope below 0.

    Where a competitor asks `rival_minor`, a price above it takes off another RIVAL_WEIGHT * (price / rival - 1), the
    bracket being at most RIVAL_REACH.
    """

    intercept: float
    slope: float
    rival_minor: int | None = None

    @classmethod
    def at_list(cls, list_price_minor: int, *, probability: float, elasticity: float) -> "Demand":
        """The curve with this purchase probability and own-price elasticity at the list price.

        The own-price elasticity of a logit choice is slope * price * (1 - P); Train (2009), Discrete Choice
        Methods with Simulation, section 3.6. Raises ValueError unless 0 < probability < 1 and elasticity < 0.

        >>> curve = Demand.at_list(5000, probability=0.4, elasticity=-1.2)
        >>> round(curve.probability(5000), 6), round(curve.elasticity(5000), 6)
        (0.4, -1.2)
        """
        if not 0 < probability < 1 or elasticity >= 0:
            raise ValueError(f"no logit demand with probability {probability} and elasticity {elasticity}")
        slope = elasticity / (list_price_minor * (1 - probability))
        return cls(intercept=log(probability / (1 - probability)) - slope * list_price_minor, slope=slope)

    def beside(self, rival_minor: int) -> "Demand":
        """The same visitors with a competitor's price in mind."""
        return replace(self, rival_minor=rival_minor)

    def scaled(self, factor: float) -> "Demand":
        """Visitors who are willing to pay `factor` times as much. Raises ValueError unless the factor is above 0."""
        if factor <= 0:
            raise ValueError(f"willingness to pay can't be {factor} times what it was")
        return replace(self, slope=self.slope / factor)

    def probability(self, price_minor: float) -> float:
        """P(buy) of one visitor who is shown this price."""
        log_odds = self.intercept + self.slope * price_minor
        if self.rival_minor is not None and price_minor > self.rival_minor:
            log_odds -= RIVAL_WEIGHT * min(RIVAL_REACH, price_minor / self.rival_minor - 1)
        return 1 / (1 + exp(-log_odds))

    def elasticity(self, price_minor: float) -> float:
        """Own-price elasticity of P(buy) at this price; the competitor's plays a part only a little above it."""
        slope = self.slope
        if self.rival_minor is not None and 0 < price_minor / self.rival_minor - 1 < RIVAL_REACH:
            slope -= RIVAL_WEIGHT / self.rival_minor
        return slope * price_minor * (1 - self.probability(price_minor))


@dataclass(frozen=True, slots=True)
class Taste:
    """What a segment answers at list price: P(buy) and own-price elasticity, long before the event and at its start."""

    early: tuple[float, float]
    late: tuple[float, float]

    def on(self, days_to_start: float) -> tuple[float, float]:
        """P(buy) and elasticity at list price so many days before the start.

        >>> Taste((0.4, -1.0), (0.5, -0.8)).on(0)
        (0.5, -0.8)
        """
        late = exp(-max(0.0, days_to_start) / LATE_DAYS)
        (p_early, e_early), (p_late, e_late) = self.early, self.late
        return p_early + late * (p_late - p_early), e_early + late * (e_late - e_early)

    def demand(self, list_price_minor: int, days_to_start: float) -> Demand:
        """The curve of that day, without a competitor."""
        probability, elasticity = self.on(days_to_start)
        return Demand.at_list(list_price_minor, probability=probability, elasticity=elasticity)


def draw_tastes(rng: Random) -> dict[Segment, Taste]:
    """The tastes of all segments for one ticket type. What one minds the others mind too, each in its own range."""
    minds, likes = rng.random(), rng.random()
    return {segment: _draw_taste(rng, segment, minds, likes) for segment in SEGMENTS}


def _draw_taste(rng: Random, segment: Segment, minds: float, likes: float) -> Taste:
    def within(span: tuple[float, float], where: float) -> float:
        return span[0] + (span[1] - span[0]) * min(1.0, max(0.0, where + rng.uniform(-0.15, 0.15)))

    elasticity, probability = within(ELASTIC[segment], minds), within(BUYS[segment], likes)
    late = min(ELASTICITIES[1], max(ELASTICITIES[0], elasticity * rng.uniform(0.7, 1.1)))
    return Taste((probability, elasticity), (min(0.85, probability * rng.uniform(1.0, 1.2)), late))
